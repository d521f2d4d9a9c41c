"""botocore's own client does as s3fs's would: endpoint, options, credentials."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiobotocore.credentials import AioRefreshableCredentials
from aiobotocore.session import AioSession
from s3fs import S3FileSystem

from mrcdist.errors import ArgumentError
from mrcdist.storage.location import Location
from mrcdist.write.s3_client import new_client, run_together

ENDPOINT = "http://127.0.0.1:1"


def filesystem(**options: Any) -> S3FileSystem:
    return S3FileSystem(skip_instance_cache=True, **options)


def signed_by(client: Any) -> str:
    """The key that a request names."""
    url = client.generate_presigned_url("upload_part", {
        "Bucket": "b", "Key": "a.mrc", "UploadId": "1", "PartNumber": 1
    })  # fmt: skip
    query = parse_qs(urlsplit(url).query)
    [names] = query.get("X-Amz-Credential") or query.get("AWSAccessKeyId") or [""]
    return names.partition("/")[0]


@pytest.mark.parametrize(
    "where",
    [{"endpoint_url": ENDPOINT}, {"client_kwargs": {"endpoint_url": ENDPOINT}}],
    ids=["option", "client"],
)
def test_endpoint_region_and_options_are_those_that_were_given(where: dict[str, Any]) -> None:
    client_kwargs = {"region_name": "eu-central-1", **where.pop("client_kwargs", {})}
    config = {
        "read_timeout": 7.0,
        "max_pool_connections": 33,
        "s3": {"addressing_style": "virtual"},
        "request_checksum_calculation": "when_required",
        "retries": {"total_max_attempts": 1, "mode": "standard"},
    }
    fs = filesystem(key="a", secret="b", client_kwargs=client_kwargs, config_kwargs=config, **where)
    client = new_client(fs, "b")
    assert client.meta.endpoint_url == ENDPOINT
    assert client.meta.region_name == "eu-central-1"
    found = client.meta.config
    assert (found.read_timeout, found.max_pool_connections) == (7.0, 33)
    assert found.s3["addressing_style"] == "virtual"
    assert found.request_checksum_calculation == "when_required"
    assert found.retries["total_max_attempts"] == 1
    assert new_client(fs, "b", patience=300.0).meta.config.read_timeout == 300.0


@pytest.mark.parametrize(
    "options",
    [
        {"key": "mine", "secret": "b"},
        {"client_kwargs": {"aws_access_key_id": "mine", "aws_secret_access_key": "b"}},
    ],
    ids=["option", "client"],
)
def test_key_is_the_one_that_was_given(options: dict[str, Any]) -> None:
    assert signed_by(new_client(filesystem(endpoint_url=ENDPOINT, **options), "b")) == "mine"


def test_key_of_the_environment_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    assert signed_by(new_client(filesystem(endpoint_url=ENDPOINT), "b")) == "mine"


def test_nothing_is_signed_without_a_login() -> None:
    assert signed_by(new_client(filesystem(anon=True, endpoint_url=ENDPOINT), "b")) == ""


def test_keys_that_expire_are_renewed_by_the_session_of_s3fs() -> None:
    renewals = []

    async def renew() -> dict[str, str]:
        renewals.append(threading.current_thread().name)
        # So soon that the next request asks again.
        soon = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
        key = f"key{len(renewals)}"
        return {"access_key": key, "secret_key": "b", "token": "c", "expiry_time": soon}

    class Session(AioSession):
        async def get_credentials(self) -> Any:
            return AioRefreshableCredentials.create_from_metadata(
                await renew(), refresh_using=renew, method="test"
            )

    client = new_client(filesystem(session=Session(), endpoint_url=ENDPOINT), "b")
    assert signed_by(client) != signed_by(client) == f"key{len(renewals)}"
    assert set(renewals) == {"fsspecIO"}


def test_calls_that_have_not_begun_are_left_out_after_a_failure() -> None:
    begun: list[int] = []

    def call(number: int) -> None:
        begun.append(number)
        raise ArgumentError("a value does not fit", code="value-does-not-fit")

    with pytest.raises(ArgumentError, match="does not fit"):
        run_together(Location("s3://b/a.mrc"), [lambda n=n: call(n) for n in range(9)], slots=1)
    assert begun == [0]
