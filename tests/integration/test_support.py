"""The test servers, counting proxy, clusters and processes that other tests rely on."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import dask
import fsspec
import psutil
import pytest
import s3fs
from botocore.exceptions import ClientError, HTTPClientError
from distributed import Client

from tests.support.cluster import dask_cluster
from tests.support.http_log import CountingProxy, Exchange, Fault, first
from tests.support.processes import ROOT, ProcessDiedError, Processes
from tests.support.s3 import WRONG_SECRET, Bucket, S3Server, forget_s3, moto_server, radosgw_server

DATA = bytes(range(256)) * 4096  # 1 MiB, no two adjacent bytes alike


def status_of(call: Callable[..., object], **arguments: object) -> int:
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    status: int = refused.value.response["ResponseMetadata"]["HTTPStatusCode"]
    return status


def has_ended(pid: int) -> bool:
    """Return whether a process has ended; a zombie, not yet reaped by its parent, has."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def wait_until(ready: Callable[[], bool]) -> None:
    for _ in range(400):
        if ready():
            return
        time.sleep(0.05)
    pytest.fail("condition not met within 20 s")


class TestS3Server:
    def test_object_that_was_put_is_read_back(self, s3_bucket: Bucket) -> None:
        url = s3_bucket.put("folder/Virt 0 é+.mrc", DATA)
        with fsspec.open(url, **s3_bucket.storage_options()) as file:
            assert file.read() == DATA

    def test_server_answers_a_range_with_206_and_only_its_bytes(self, s3_bucket: Bucket) -> None:
        s3_bucket.put("k", DATA)
        answer = s3_bucket.server.client.get_object(
            Bucket=s3_bucket.name, Key="k", Range="bytes=1000-1009"
        )
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert answer["ContentRange"] == f"bytes 1000-1009/{len(DATA)}"
        assert answer["Body"].read() == DATA[1000:1010]

    def test_server_refuses_a_range_past_the_end_with_416(self, s3_bucket: Bucket) -> None:
        s3_bucket.put("k", b"12345")
        get = s3_bucket.server.client.get_object
        assert status_of(get, Bucket=s3_bucket.name, Key="k", Range="bytes=5-9") == 416

    def test_server_refuses_an_outdated_etag_with_412(self, s3_bucket: Bucket) -> None:
        get = s3_bucket.server.client.get_object
        s3_bucket.put("k", b"older")
        etag = get(Bucket=s3_bucket.name, Key="k")["ETag"]
        assert get(Bucket=s3_bucket.name, Key="k", IfMatch=etag)["Body"].read() == b"older"
        s3_bucket.put("k", b"newer")
        assert status_of(get, Bucket=s3_bucket.name, Key="k", IfMatch=etag) == 412

    def test_deleted_object_is_not_found(self, s3_bucket: Bucket) -> None:
        s3_bucket.put("k", b"12345")
        s3_bucket.delete("k")
        get = s3_bucket.server.client.get_object
        assert status_of(get, Bucket=s3_bucket.name, Key="k") == 404

    def test_environment_variables_suffice_to_connect(
        self, s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = s3_bucket.put("k", b"12345")
        for name, value in s3_bucket.server.environment().items():
            monkeypatch.setenv(name, value)
        with fsspec.open(url) as file:
            assert file.read() == b"12345"

    def test_bucket_is_deleted_with_all_versions_at_the_end_of_its_block(
        self, s3: S3Server
    ) -> None:
        with s3.bucket() as bucket:
            s3.client.put_bucket_versioning(
                Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"}
            )
            bucket.put("k", b"1")
            bucket.put("k", b"2")
            bucket.delete("k")
        assert status_of(s3.client.head_bucket, Bucket=bucket.name) == 404

    def test_ceph_refuses_requests_signed_with_a_wrong_secret(self, radosgw: S3Server) -> None:
        with radosgw.bucket() as bucket:
            bucket.put("k", b"12345")
            impostor = radosgw.with_secret(WRONG_SECRET)
            assert status_of(impostor.client.get_object, Bucket=bucket.name, Key="k") == 403

    def test_forget_s3_clears_the_caches_of_s3fs(self) -> None:
        fs = s3fs.S3FileSystem(anon=True)
        fs.dircache["bucket"] = []
        assert s3fs.S3FileSystem._cache
        forget_s3()
        assert not s3fs.S3FileSystem._cache
        assert not fs.dircache


class TestCountingProxy:
    def test_proxy_counts_each_request_and_each_byte(
        self, s3_proxy: CountingProxy, s3_bucket: Bucket
    ) -> None:
        s3_bucket.put("a b.mrc", DATA)
        get = s3_proxy.server.client.get_object
        whole = get(Bucket=s3_bucket.name, Key="a b.mrc")
        assert whole["Body"].read() == DATA
        part = get(
            Bucket=s3_bucket.name, Key="a b.mrc", Range="bytes=7-1006", IfMatch=whole["ETag"]
        )
        assert part["Body"].read() == DATA[7:1007]
        s3_proxy.server.client.head_object(Bucket=s3_bucket.name, Key="a b.mrc")

        path = f"/{s3_bucket.name}/a%20b.mrc"
        done = partial(Exchange, complete=True)
        assert s3_proxy.requests == [
            done("GET", path, "", None, None, status=200, body_bytes=len(DATA)),
            done("GET", path, "", "bytes=7-1006", whole["ETag"], status=206, body_bytes=1000),
            done("HEAD", path, "", None, None, status=200, body_bytes=0),
        ]
        s3_proxy.clear()
        assert s3_proxy.requests == []

    def test_proxy_passes_refusals_on_unchanged(
        self, s3_proxy: CountingProxy, s3_bucket: Bucket
    ) -> None:
        s3_bucket.put("k", b"12345")
        get = s3_proxy.server.client.get_object
        assert status_of(get, Bucket=s3_bucket.name, Key="k", Range="bytes=5-9") == 416
        assert status_of(get, Bucket=s3_bucket.name, Key="k", IfMatch='"0"') == 412
        assert [exchange.status for exchange in s3_proxy.requests] == [416, 412]

    def test_proxy_passes_listing_and_writing_on(
        self, s3_proxy: CountingProxy, s3_bucket: Bucket
    ) -> None:
        fs = s3fs.S3FileSystem(**s3_proxy.server.storage_options())
        fs.pipe_file(f"{s3_bucket.name}/folder/a.mrc", DATA * 3)
        assert fs.ls(f"{s3_bucket.name}/folder") == [f"{s3_bucket.name}/folder/a.mrc"]
        s3_proxy.clear()
        assert fs.cat_file(f"{s3_bucket.name}/folder/a.mrc", start=10, end=30) == DATA[10:30]
        assert [(e.range, e.body_bytes) for e in s3_proxy.requests] == [("bytes=10-29", 20)]

    def test_ceph_checks_signatures_behind_the_proxy(self, radosgw: S3Server) -> None:
        with radosgw.bucket() as bucket, CountingProxy(radosgw) as proxy:
            bucket.put("k", b"12345")
            impostor = proxy.server.with_secret(WRONG_SECRET)
            assert status_of(impostor.client.get_object, Bucket=bucket.name, Key="k") == 403

    def test_proxy_responds_502_if_the_server_is_stopped(self, moto: S3Server) -> None:
        with CountingProxy("http://127.0.0.1:1") as proxy:
            assert raw_get(proxy.endpoint, "/k").status == 502

    def test_proxy_stops_listening_at_the_end_of_its_block(self, moto: S3Server) -> None:
        with CountingProxy(moto) as proxy:
            assert raw_get(proxy.endpoint, "/").status == 200
        with pytest.raises(ConnectionRefusedError):
            raw_get(proxy.endpoint, "/")


def raw_get(endpoint: str, path: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=30)
    connection.request("GET", path)
    return connection.getresponse()


def raw_request(endpoint: str) -> socket.socket:
    address = urlsplit(endpoint)
    connection = socket.create_connection((address.hostname, address.port), timeout=30)
    connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    return connection


def read_to_end(connection: socket.socket) -> bytes:
    received = b""
    while part := connection.recv(65536):
        received += part
    return received


class TestFault:
    @pytest.fixture
    def broken(self, s3_proxy: CountingProxy, s3_bucket: Bucket) -> Callable[[Fault], bytes]:
        """Return a function that reads an object through a proxy with a given fault."""
        s3_bucket.put("k", DATA)

        def read(fault: Fault) -> bytes:
            s3_proxy.respond = first(1, fault)
            answer = s3_proxy.server.client.get_object(
                Bucket=s3_bucket.name, Key="k", Range="bytes=0-99999"
            )
            body: bytes = answer["Body"].read()
            return body

        return read

    @pytest.mark.parametrize("status", [500, 503])
    def test_status_fault_is_the_response_to_the_client(
        self, broken: Callable[[Fault], bytes], s3_proxy: CountingProxy, status: int
    ) -> None:
        assert status_of(broken, fault=Fault("status", status=status)) == status
        assert [e.status for e in s3_proxy.requests] == [status]

    @pytest.mark.parametrize("kind", ["reset", "truncate"])
    def test_client_raises_an_error_if_there_is_no_response(
        self, broken: Callable[[Fault], bytes], s3_proxy: CountingProxy, kind: str
    ) -> None:
        with pytest.raises(HTTPClientError):
            broken(Fault(kind))  # type: ignore[arg-type]
        assert [(e.status, e.body_bytes) for e in s3_proxy.requests] == [(None, 0)]

    @pytest.mark.parametrize("after", [0, 10])
    def test_reset_breaks_the_connection_and_truncation_ends_it(
        self, moto: S3Server, after: int
    ) -> None:
        with CountingProxy(moto) as proxy:
            proxy.respond = first(1, Fault("reset", after=after))
            with raw_request(proxy.endpoint) as connection, pytest.raises(ConnectionResetError):
                read_to_end(connection)
            proxy.respond = first(1, Fault("truncate", after=after))
            with raw_request(proxy.endpoint) as connection:
                answer = read_to_end(connection)
            assert len(answer.partition(b"\r\n\r\n")[2]) == after
            assert bool(answer) == (after > 0)

    @pytest.mark.parametrize("kind", ["reset", "truncate"])
    def test_client_raises_an_error_for_half_a_body(
        self, broken: Callable[[Fault], bytes], s3_proxy: CountingProxy, kind: str
    ) -> None:
        with pytest.raises(HTTPClientError):
            broken(Fault(kind, after=50_000))  # type: ignore[arg-type]
        [exchange] = s3_proxy.requests
        assert (exchange.status, exchange.body_bytes, exchange.complete) == (206, 50_000, False)

    @pytest.mark.parametrize("after", [0, 1, 99_999])
    def test_short_body_is_not_noticed_by_the_client(
        self, broken: Callable[[Fault], bytes], after: int
    ) -> None:
        assert broken(Fault("short", after=after)) == DATA[:after]

    @pytest.mark.parametrize("after", [0, 10])
    def test_stalled_response_times_out_and_does_not_delay_stopping_the_proxy(
        self, moto: S3Server, after: int
    ) -> None:
        with CountingProxy(moto, lambda _: Fault("stall", after=after, seconds=600)) as proxy:
            with raw_request(proxy.endpoint) as connection:
                connection.settimeout(1)
                with pytest.raises(TimeoutError):
                    read_to_end(connection)
            assert [e.complete for e in proxy.requests] == [False]

    @pytest.mark.parametrize("after", [0, 1, 99_999])
    def test_response_is_complete_after_a_short_stall(
        self, broken: Callable[[Fault], bytes], s3_proxy: CountingProxy, after: int
    ) -> None:
        assert broken(Fault("stall", after=after, seconds=0.1)) == DATA[:100_000]
        assert [e.complete for e in s3_proxy.requests] == [True]

    def test_ignored_range_returns_the_whole_object_with_200(
        self, broken: Callable[[Fault], bytes], s3_proxy: CountingProxy
    ) -> None:
        assert broken(Fault("ignore_range")) == DATA
        assert [(e.status, e.body_bytes) for e in s3_proxy.requests] == [(200, len(DATA))]

    def test_fault_can_be_limited_to_the_first_requests(
        self, broken: Callable[[Fault], bytes], s3_proxy: CountingProxy, s3_bucket: Bucket
    ) -> None:
        status_of(broken, fault=Fault("status"))
        answer = s3_proxy.server.client.get_object(Bucket=s3_bucket.name, Key="k")
        assert answer["Body"].read() == DATA


class TestCluster:
    def test_cluster_has_two_worker_processes(self, cluster: Client) -> None:
        pids = set(cluster.run(os.getpid).values())
        assert len(pids) == 2
        assert os.getpid() not in pids

    def test_cluster_is_the_default_scheduler_of_tests_that_request_it(
        self, cluster: Client
    ) -> None:
        assert dask.delayed(os.getpid)().compute() in cluster.run(os.getpid).values()

    def test_cluster_is_not_the_default_scheduler_of_other_tests(self) -> None:
        assert dask.delayed(os.getpid)().compute(scheduler=None) == os.getpid()

    def test_workers_have_neither_folder_nor_credentials_of_the_client(
        self, cluster: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client_folder = os.getcwd()  # noqa: PTH109 - os.getcwd itself is sent to the workers
        assert client_folder not in cluster.run(os.getcwd).values()
        assert not any(cluster.run(os.getenv, "AWS_ACCESS_KEY_ID").values())

    def test_proxy_counts_requests_of_workers(
        self, cluster: Client, s3_proxy: CountingProxy, s3_bucket: Bucket
    ) -> None:
        url, options = s3_bucket.put("k", DATA), s3_proxy.server.storage_options()
        parts = cluster.map(_range_of, range(0, 80, 10), url=url, options=options)
        assert b"".join(cluster.gather(parts)) == DATA[:80]
        assert sorted(e.range or "" for e in s3_proxy.requests if e.method == "GET") == sorted(
            f"bytes={start}-{start + 9}" for start in range(0, 80, 10)
        )

    def test_forget_s3_clears_the_caches_of_workers(self, cluster: Client) -> None:
        cluster.run(_open_s3)
        assert all(cluster.run(_cached_s3).values())
        cluster.run(forget_s3)
        assert not any(cluster.run(_cached_s3).values())

    def test_cluster_sets_environment_folder_threads_and_memory_of_its_workers(
        self, tmp_path: Path
    ) -> None:
        hidden, folder = tmp_path / "hidden", tmp_path / "work"
        hidden.mkdir()
        folder.mkdir()
        (hidden / "movie.mrc").write_bytes(b"12345")
        with dask_cluster(
            tmp_path / "cluster",
            environment={"AWS_DEFAULT_REGION": "nowhere"},
            working_folder=folder,
            hidden=hidden,
            memory_limit="300 MiB",
            threads=2,
        ) as client:
            pids = [client.run_on_scheduler(os.getpid), *client.run(os.getpid).values()]
            assert set(client.run(os.getenv, "AWS_DEFAULT_REGION").values()) == {"nowhere"}
            assert set(client.run(os.getcwd).values()) == {str(folder)}
            assert list(client.run(os.listdir, str(hidden)).values()) == [[], []]
            assert client.run_on_scheduler(os.listdir, str(hidden)) == []
            assert set(client.ncores().values()) == {2}
            limits = [w["memory_limit"] for w in client.scheduler_info()["workers"].values()]
            assert limits == [300 * 2**20] * 2
        assert len(pids) == 3
        assert all(map(has_ended, pids))
        assert (hidden / "movie.mrc").read_bytes() == b"12345"

    def test_folder_used_by_the_workers_cannot_be_hidden(self, tmp_path: Path) -> None:
        with (
            pytest.raises(ValueError, match="used by the workers"),
            dask_cluster(tmp_path / "cluster", hidden=tmp_path),
        ):
            pass

    def test_error_for_a_worker_that_cannot_start_has_the_reason_and_leaves_no_process(
        self, tmp_path: Path
    ) -> None:
        with (
            pytest.raises(ProcessDiedError, match="memory"),
            dask_cluster(tmp_path / "cluster", workers=1, memory_limit="much"),
        ):
            pass
        assert not any(str(tmp_path) in " ".join(line) for line in command_lines())

    def test_nanny_and_its_worker_end_with_the_cluster(self, tmp_path: Path) -> None:
        with dask_cluster(tmp_path / "cluster", workers=1, nanny=True) as client:
            [worker] = client.run(os.getpid).values()
            nanny = psutil.Process(worker).ppid()
        assert has_ended(nanny)
        wait_until(lambda: has_ended(worker))


def _range_of(start: int, url: str, options: dict[str, object]) -> bytes:
    data: bytes = s3fs.S3FileSystem(**options).cat_file(url, start=start, end=start + 10)
    return data


def _open_s3() -> None:
    s3fs.S3FileSystem(anon=True)


def _cached_s3() -> int:
    return len(s3fs.S3FileSystem._cache)


def command_lines() -> list[list[str]]:
    return [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]


class TestProcesses:
    SLEEP: ClassVar = [sys.executable, "-c", "import time; time.sleep(600)"]

    def test_processes_end_with_their_block_even_after_an_exception(self, tmp_path: Path) -> None:
        def start_and_fail(processes: Processes) -> None:
            pids.append(processes.start("sleep", self.SLEEP))
            assert not has_ended(pids[0])
            raise ZeroDivisionError

        pids: list[int] = []
        with pytest.raises(ZeroDivisionError), Processes(tmp_path) as processes:
            start_and_fail(processes)
        assert has_ended(pids[0])

    def test_process_that_ignores_sigterm_is_killed_with_its_children(self, tmp_path: Path) -> None:
        stubborn = 'trap "" TERM; sleep 600 & echo $!; while :; do wait; done'
        with Processes(tmp_path, grace=0.2) as processes:
            pid = processes.start("stubborn", ["sh", "-c", stubborn])
            wait_until(lambda: (tmp_path / "stubborn.out").read_text().endswith("\n"))
            child = int((tmp_path / "stubborn.out").read_text())
        assert has_ended(pid)
        wait_until(lambda: has_ended(child))

    def test_error_for_a_process_that_ends_early_has_its_status_and_log(
        self, tmp_path: Path
    ) -> None:
        with Processes(tmp_path) as processes:
            processes.start("server", ["sh", "-c", "echo no disk; exit 3"])
            with pytest.raises(ProcessDiedError, match=r"(?s)ended with 3.*no disk"):
                processes.wait_until(lambda: False, "server")

    def test_error_for_a_failing_command_has_its_output(self, tmp_path: Path) -> None:
        with Processes(tmp_path) as processes, pytest.raises(ProcessDiedError, match="no disk"):
            processes.run(["sh", "-c", "echo no disk; exit 3"])

    @pytest.mark.skipif(sys.platform != "linux", reason="requires Linux's parent-death signal")
    def test_server_does_not_outlive_a_killed_test_run(self, tmp_path: Path) -> None:
        server = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
        run = (
            "import sys, time; from pathlib import Path\n"
            "from tests.support.processes import Processes\n"
            f"with Processes(Path({str(tmp_path)!r})) as processes:\n"
            f"    processes.start('server', [sys.executable, '-c', {server!r}])\n"
            "    time.sleep(600)"
        )
        log = tmp_path / "server.out"
        with subprocess.Popen([sys.executable, "-c", run], cwd=ROOT) as tests:
            try:
                wait_until(lambda: log.exists() and log.read_text().endswith("\n"))
            finally:
                tests.kill()
        wait_until(lambda: has_ended(int(log.read_text())))

    def test_s3_server_stops_at_the_end_of_its_block(self, tmp_path: Path) -> None:
        with moto_server(tmp_path) as server:
            assert raw_get(server.endpoint, "/").status == 200
        with pytest.raises(ConnectionRefusedError):
            raw_get(server.endpoint, "/")

    @pytest.mark.usefixtures("radosgw")
    def test_failing_start_of_ceph_leaves_no_process_or_folder(self, tmp_path: Path) -> None:
        started: list[int] = []

        def no_gateway(processes: Processes, folder: Path, server: S3Server) -> None:
            (folder / "osd").mkdir()
            started.append(processes.start("mon", self.SLEEP))
            raise ProcessDiedError("no gateway")

        with pytest.raises(ProcessDiedError), radosgw_server(tmp_path, no_gateway):
            pass
        assert has_ended(started[0])
        assert not (tmp_path / "osd").exists()
