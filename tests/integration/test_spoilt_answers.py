"""Unexplained responses, such as those of a broken proxy, are retried a few times."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import dask
import numpy as np
import pytest

from mrcdist import plan_mrc, stats
from mrcdist.errors import ReadError
from tests.support.mrc_files import counting, mrc_bytes
from tests.support.serving import refusing, serving

NUMBERS = counting((40, 16, 16), "uint16")
CONTENT = mrc_bytes(NUMBERS)


def send(request: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    request.send_response(status)
    for key, value in {**headers, "Content-Length": str(len(body))}.items():
        request.send_header(key.replace("_", "-"), value)
    request.end_headers()
    request.wfile.write(body)


def send_garbage(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"\x16\x03\x01\r\n\r\n")
    request.close_connection = True


def send_range(request: BaseHTTPRequestHandler) -> None:
    first, _, last = request.headers["Range"].removeprefix("bytes=").partition("-")
    part = CONTENT[int(first) : int(last) + 1]
    span = f"bytes {first}-{int(first) + len(part) - 1}/{len(CONTENT)}"
    send(request, 206, part, Content_Range=span, ETag='"1"')


GARBAGE: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {
    "400": lambda request: send(request, 400, b"<html>Bad Request</html>"),
    "409": lambda request: send(request, 409, b""),
    "not HTTP": send_garbage,
}


def locate(endpoint: str, protocol: str) -> tuple[str, dict[str, Any]]:
    """Return URL and storage options of the file on a server."""
    if protocol == "http":
        return f"{endpoint}/bucket/a.mrc", {}
    return "s3://bucket/a.mrc", {"endpoint_url": endpoint, "anon": True}


@pytest.mark.parametrize("protocol", ["http", "s3"])
@pytest.mark.parametrize("garbage", GARBAGE)
def test_reads_succeed_if_a_proxy_garbles_one_response_in_five(garbage: str, protocol: str) -> None:
    arrived = itertools.count()

    def do_get(request: BaseHTTPRequestHandler) -> None:
        (GARBAGE[garbage] if next(arrived) % 5 == 0 else send_range)(request)

    before = stats.snapshot().retries
    with serving(do_get) as endpoint, dask.config.set({"mrcdist.sub-range": "2 KiB"}):
        url, options = locate(endpoint, protocol)
        plan = plan_mrc([url], storage_options=options, metadata_file=None, tilt_file=None)
        np.testing.assert_array_equal(plan.source[...], NUMBERS)
    assert stats.snapshot().retries - before >= 3  # of some 11 ranges and a header


@pytest.mark.parametrize("protocol", ["http", "s3"])
def test_persistent_unexplained_response_is_an_error_after_six_requests(protocol: str) -> None:
    requests: list[str] = []
    with refusing(400, b"", requests=requests) as endpoint:
        url, options = locate(endpoint, protocol)
        with pytest.raises(ReadError, match="HTTP 400"):
            plan_mrc([url], storage_options=options, metadata_file=None, tilt_file=None)
    assert len(requests) == 6


def test_refusal_with_a_reason_is_not_retried() -> None:
    reason = b"<Error><Code>InvalidRequest</Code><Message>no such kind of key</Message></Error>"
    requests: list[str] = []
    with refusing(400, reason, requests=requests) as endpoint:
        url, options = locate(endpoint, "s3")
        with pytest.raises(ReadError, match="no such"):
            plan_mrc([url], storage_options=options, metadata_file=None, tilt_file=None)
    assert len(requests) == 1
