"""A bucket whose readers pay: every request says so, whatever way a file is read."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mrcdist
from mrcdist.errors import AccessDeniedError
from tests.support.http_log import CountingProxy, Exchange, Fault
from tests.support.mrc_files import counting, mrc_bytes
from tests.support.s3 import Bucket, S3Server

pytestmark = pytest.mark.filterwarnings("ignore::mrcdist.errors.MrcdistWarning")

NUMBERS = counting((6, 16, 16), "uint16")


def zipped() -> bytes:
    with zipfile.ZipFile(raw := io.BytesIO(), "w") as archive:
        archive.writestr("a.mrc", mrc_bytes(NUMBERS))
    return raw.getvalue()


@pytest.fixture
def bucket(moto: S3Server) -> Iterator[Bucket]:
    with moto.bucket() as bucket:
        bucket.put("a_movie.mrc", mrc_bytes(NUMBERS))
        bucket.put("a.mrc.gz", gzip.compress(mrc_bytes(NUMBERS), mtime=0))
        bucket.put("a.zip", zipped())
        for part in range(2):
            name = f"20260101_00001_{part}_movie.mrc"
            bucket.put(name, mrc_bytes(NUMBERS[3 * part : 3 * part + 3]))
        yield bucket


@pytest.fixture
def paid(bucket: Bucket) -> Iterator[CountingProxy]:
    """A way to the bucket on which every request that pays nothing is refused."""

    def refuse(exchange: Exchange) -> Fault | None:
        return None if exchange.request_payer == "requester" else Fault("status", status=403)

    with CountingProxy(bucket.server, refuse) as proxy:
        yield proxy


def options_for(url: str, options: dict[str, Any]) -> dict[str, Any]:
    return {"s3": options} if "::" in url else options


WAYS = {
    "one object": "s3://{}/a_movie.mrc",
    "parts": "s3://{}/20260101_00001_0_movie.mrc",
    "pattern": "s3://{}/20260101_00001_*_movie.mrc",
    "gzip": "s3://{}/a.mrc.gz",
    "copy": "simplecache::s3://{}/a_movie.mrc",
    "archive": "zip://a.mrc::s3://{}/a.zip",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_reader_that_pays_may_read(bucket: Bucket, paid: CountingProxy, way: str) -> None:
    url = WAYS[way].format(bucket.name)
    options = {**paid.server.storage_options(), "requester_pays": True}
    [ds] = mrcdist.read_mrc(url, storage_options=options_for(url, options))
    np.testing.assert_array_equal(ds["data"].compute(scheduler="sync"), NUMBERS)
    assert len(paid.requests) > 1
    assert {exchange.request_payer for exchange in paid.requests} == {"requester"}


@pytest.mark.parametrize("way", WAYS)
def test_a_reader_that_does_not_pay_is_refused(
    bucket: Bucket, paid: CountingProxy, way: str
) -> None:
    url = WAYS[way].format(bucket.name)
    with pytest.raises(AccessDeniedError):
        mrcdist.read_mrc(url, storage_options=options_for(url, paid.server.storage_options()))
