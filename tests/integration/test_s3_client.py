"""The botocore client uses the endpoint, options and credentials of s3fs."""

from __future__ import annotations

import _thread
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from aiobotocore.credentials import AioRefreshableCredentials
from aiobotocore.session import AioSession
from s3fs import S3FileSystem

from mrcdist.errors import ArgumentError
from mrcdist.storage.location import Location
from mrcdist.write.s3_client import Body, call_once, ignored_options, new_client, run_together
from tests.support.processes import ROOT

ENDPOINT = "http://127.0.0.1:1"


@dataclass
class Puts:
    """A server that accepts every object and records the requests."""

    endpoint: str = ""
    bodies: list[bytes] = field(default_factory=list)
    expected: list[str | None] = field(default_factory=list)
    connections: set[int] = field(default_factory=set)
    in_flight: set[int] = field(default_factory=set)
    most_in_flight: int = 0
    enough: threading.Barrier | None = None

    def location(self, **options: Any) -> Location:
        client = {"endpoint_url": self.endpoint, "region_name": "us-east-1"}
        return Location.of(
            "s3://b/a.mrc", {"key": "a", "secret": "b", "client_kwargs": client, **options}
        )


@pytest.fixture
def puts() -> Iterator[Puts]:
    puts = Puts()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            puts.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            puts.expected.append(self.headers.get("Expect"))
            puts.connections.add(self.client_address[1])
            puts.in_flight.add(threading.get_ident())
            puts.most_in_flight = max(len(puts.in_flight), puts.most_in_flight)
            if puts.enough is not None:
                puts.enough.wait(60)
                time.sleep(0.1)  # more requests would arrive now
            puts.in_flight.remove(threading.get_ident())
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...

    class Server(ThreadingHTTPServer):
        request_queue_size = 64  # connections that do not fit in the queue are retried after 1 s

    with Server(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        puts.endpoint = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield puts
        server.shutdown()


def filesystem(**options: Any) -> S3FileSystem:
    return S3FileSystem(skip_instance_cache=True, **options)


def signed_by(client: Any) -> str:
    """Return the access key of a signed request."""
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
def test_endpoint_region_and_options_are_those_of_s3fs(where: dict[str, Any]) -> None:
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
    config_used = client.meta.config
    assert (config_used.read_timeout, config_used.max_pool_connections) == (7.0, 33)
    assert config_used.s3["addressing_style"] == "virtual"
    assert config_used.request_checksum_calculation == "when_required"
    assert config_used.retries["total_max_attempts"] == 1
    assert new_client(fs, "b", timeout=300.0).meta.config.read_timeout == 300.0


def test_timeout_of_slow_requests_is_taken_from_the_options() -> None:
    def timeouts(**config: float) -> tuple[float, float]:
        fs = filesystem(key="a", secret="b", endpoint_url=ENDPOINT, config_kwargs=config)
        found = new_client(fs, "b").meta.config
        return found.connect_timeout, found.read_timeout

    assert timeouts(read_timeout=7.0) == (7.0, 7.0)
    assert timeouts(read_timeout=7.0, connect_timeout=3.0) == (3.0, 7.0)


@pytest.mark.parametrize(
    ("config", "algorithm"),
    [({}, "v4-s3express"), ({"signature_version": "s3v4"}, "s3v4")],
    ids=["default of the store", "in options"],
)
def test_signature_version_depends_on_the_bucket_unless_given(
    config: dict[str, str], algorithm: str
) -> None:
    fs = filesystem(
        key="a", secret="b", client_kwargs={"region_name": "us-east-1"}, config_kwargs=config
    )
    signed: list[str] = []
    client = new_client(fs, "scans--use1-az4--x-s3")

    def choose(signing_name: str, signature_version: str, **_: Any) -> None:
        signed.append(signature_version)
        raise KeyboardInterrupt  # nothing is sent

    client.meta.events.register_first("choose-signer.s3.*", choose)
    with pytest.raises(KeyboardInterrupt):
        client.put_object(Bucket="scans--use1-az4--x-s3", Key="a.mrc", Body=b"")
    assert signed == [algorithm]


def test_options_that_do_not_apply_to_writing_are_reported() -> None:
    args = {"connector_args": {"use_dns_cache": False}, "proxies": {}}
    location = Location.of("s3://b/a.mrc", {"anon": True, "config_kwargs": args})
    [message] = ignored_options(location)
    assert "connector_args" in message


@pytest.mark.parametrize(
    "options",
    [
        {"key": "mine", "secret": "b"},
        {"client_kwargs": {"aws_access_key_id": "mine", "aws_secret_access_key": "b"}},
    ],
    ids=["option", "client"],
)
def test_access_key_is_taken_from_the_options(options: dict[str, Any]) -> None:
    assert signed_by(new_client(filesystem(endpoint_url=ENDPOINT, **options), "b")) == "mine"


def test_access_key_is_found_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    assert signed_by(new_client(filesystem(endpoint_url=ENDPOINT), "b")) == "mine"


@pytest.mark.parametrize(
    "options",
    [{"key": "mine", "secret": "b"}, {"anon": True}],
    ids=["key", "anonymous"],
)
def test_credentials_are_looked_up_only_if_none_are_given(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text("[default]\ncredential_process = no-such-program\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    new_client(filesystem(endpoint_url=ENDPOINT, **options), "b")
    with pytest.raises(FileNotFoundError):
        new_client(filesystem(endpoint_url=ENDPOINT), "b")


def test_filesystems_with_the_same_options_share_a_client(puts: Puts) -> None:
    location = puts.location(skip_instance_cache=True)
    assert location.filesystem()[0] is not location.filesystem()[0]
    for _ in range(2):
        call_once(location, "put_object", Body=b"mrc")
    assert puts.bodies == [b"mrc"] * 2
    assert len(puts.connections) == 1


@pytest.mark.parametrize(("pool", "concurrent"), [(None, 12), (0, 12), (12, 12), (6, 6)])
def test_concurrent_requests_are_limited_by_the_connection_pool(
    puts: Puts, pool: int | None, concurrent: int
) -> None:
    location = puts.location(config_kwargs={"max_pool_connections": pool})
    puts.enough = threading.Barrier(concurrent)

    def put() -> None:
        call_once(location, "put_object", Body=b"mrc")

    run_together(location, [put] * 12, slots=12)
    assert puts.most_in_flight == concurrent


def test_bodies_are_sent_without_waiting_for_100_continue(puts: Puts) -> None:
    location = puts.location()
    call_once(location, "put_object", Body=b"record")
    part = memoryview(b"pixels")
    call_once(location, "upload_part", UploadId="1", PartNumber=1, Body=part)
    assert puts.bodies == [b"record", b"pixels"]
    assert puts.expected == [None, None]


def test_body_in_memory_is_hashed_and_sent_without_copies() -> None:
    part = bytes(range(256)) * 16
    body = Body.of(part)
    pieces = []
    while piece := body.read(1000):
        pieces.append(piece)
    assert b"".join(pieces) == part
    assert all(np.shares_memory(np.frombuffer(p, "u1"), np.frombuffer(part, "u1")) for p in pieces)
    body.seek(-6, io.SEEK_END)
    assert bytes(body.read()) == part[-6:]


def test_pieces_of_a_body_are_encoded_once_although_smaller_ones_are_read() -> None:
    part, encoded = memoryview(bytes(range(250)) * 40), []

    def between(start: int, stop: int) -> memoryview:
        encoded.append((start, stop))
        return part[start:stop]

    body = Body(10_000, between, window=4000)
    for size in (1000, 700, 6000):
        encoded.clear()
        body.seek(0)
        assert b"".join(iter(lambda n=size: body.read(n), b"")) == bytes(part)  # type: ignore[misc]
        assert sum(stop - start for start, stop in encoded) <= 11_000
    assert encoded == [(0, 6000), (6000, 10_000)]


def test_encoding_error_while_a_body_is_sent_is_raised_unchanged(
    puts: Puts,
) -> None:
    read: list[int] = []

    def between(start: int, stop: int) -> memoryview:
        read.append(start)
        if read.count(0) == 3:  # read twice before, for its checksum and its signature
            raise ArgumentError("70000 does not fit", code="value-does-not-fit")
        return memoryview(bytes(stop - start))

    with pytest.raises(ArgumentError, match="does not fit"):
        call_once(puts.location(), "put_object", Body=Body(10, between))
    assert read.count(0) == 3


def test_client_and_its_connection_outlive_the_instance_cache_of_fsspec(puts: Puts) -> None:
    for _ in range(2):
        call_once(puts.location(), "put_object", Body=b"mrc")
        S3FileSystem.clear_instance_cache()
    assert puts.bodies == [b"mrc"] * 2
    assert len(puts.connections) == 1


def test_anonymous_requests_are_not_signed() -> None:
    assert signed_by(new_client(filesystem(anon=True, endpoint_url=ENDPOINT), "b")) == ""


def test_expiring_keys_are_renewed_by_the_session_of_s3fs() -> None:
    renewals = []

    async def renew() -> dict[str, str]:
        renewals.append(threading.current_thread().name)
        # So soon that the next request renews them.
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


def test_no_calls_are_started_after_one_has_failed() -> None:
    started: list[int] = []

    def call(number: int) -> None:
        started.append(number)
        raise ArgumentError("a value does not fit", code="value-does-not-fit")

    with pytest.raises(ArgumentError, match="does not fit"):
        run_together(Location("s3://b/a.mrc"), [lambda n=n: call(n) for n in range(9)], slots=1)
    assert started == [0]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Restore Ctrl-C, which processes of pytest-xdist ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_no_calls_are_started_after_an_interrupt() -> None:
    started: list[int] = []

    def call(number: int) -> None:
        started.append(number)
        threading.Event().wait(0.01)
        if number % 50 == 0:  # repeated, as Python may raise it where exceptions are ignored
            _thread.interrupt_main()

    calls = [lambda n=n: call(n) for n in range(500)]
    with pytest.raises(KeyboardInterrupt):
        run_together(Location("s3://b/a.mrc"), calls, slots=1)
    assert len(started) < len(calls)


@pytest.mark.usefixtures("interruptible")
def test_interrupt_neither_waits_for_a_store_nor_retries() -> None:
    location, response, ended = Location("s3://b/a.mrc"), threading.Event(), threading.Event()
    attempts: list[threading.Thread] = []

    def send_request() -> None:
        attempts.append(threading.current_thread())
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        response.wait(30)
        raise ConnectionResetError

    def call() -> None:
        try:
            # Like a call that itself sends several requests.
            run_together(location, [lambda: location.retried(send_request)])
        finally:
            ended.set()

    with pytest.raises(KeyboardInterrupt):
        run_together(location, [call])
    assert not ended.is_set()
    assert attempts[0].daemon  # so that Python does not wait for it at exit
    response.set()
    assert ended.wait(10)
    assert len(attempts) == 1


INTERRUPTED = """
import threading
from concurrent.futures import ThreadPoolExecutor
from mrcdist.storage.location import Location
from mrcdist.write.s3_client import run_together

requested = threading.Event()

def send_request():
    requested.set()
    threading.Event().wait()

ThreadPoolExecutor(1).submit(run_together, Location("s3://b/a.mrc"), [send_request])
requested.wait()
raise KeyboardInterrupt
"""


def test_interrupted_program_exits_although_pool_threads_wait_for_a_store() -> None:
    """Threads of dask wait so, and Python joins them when it exits."""
    program = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    assert program.returncode == -signal.SIGINT, program.stderr
