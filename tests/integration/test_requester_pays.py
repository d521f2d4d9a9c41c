"""With `requester_pays`, every request to S3 says so, however a file is read."""

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
def paying_proxy(bucket: Bucket) -> Iterator[CountingProxy]:
    """A proxy that refuses every request without the header x-amz-request-payer."""

    def refuse(exchange: Exchange) -> Fault | None:
        return None if exchange.request_payer == "requester" else Fault("status", status=403)

    with CountingProxy(bucket.server, refuse) as proxy:
        yield proxy


def options_for(url: str, options: dict[str, Any]) -> dict[str, Any]:
    return {"s3": options} if "::" in url else options


URLS = {
    "one object": "s3://{}/a_movie.mrc",
    "parts": "s3://{}/20260101_00001_0_movie.mrc",
    "pattern": "s3://{}/20260101_00001_*_movie.mrc",
    "gzip": "s3://{}/a.mrc.gz",
    "copy": "simplecache::s3://{}/a_movie.mrc",
    "archive": "zip://a.mrc::s3://{}/a.zip",
}


@pytest.mark.parametrize("kind", URLS)
def test_every_request_of_a_requester_that_pays_says_so(
    bucket: Bucket, paying_proxy: CountingProxy, kind: str
) -> None:
    url = URLS[kind].format(bucket.name)
    options = {**paying_proxy.server.storage_options(), "requester_pays": True}
    [ds] = mrcdist.read_mrc(url, storage_options=options_for(url, options))
    np.testing.assert_array_equal(ds["data"].compute(scheduler="sync"), NUMBERS)
    assert len(paying_proxy.requests) > 1
    assert {exchange.request_payer for exchange in paying_proxy.requests} == {"requester"}


@pytest.mark.parametrize("kind", URLS)
def test_reading_without_requester_pays_is_refused(
    bucket: Bucket, paying_proxy: CountingProxy, kind: str
) -> None:
    url = URLS[kind].format(bucket.name)
    with pytest.raises(AccessDeniedError):
        mrcdist.read_mrc(
            url, storage_options=options_for(url, paying_proxy.server.storage_options())
        )
