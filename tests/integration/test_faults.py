"""Arrays are exact after transient faults of a store; permanent faults give a clear error.

A proxy in front of a real S3 server causes the faults, and counts the requests.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from distributed import Client
from numpy.typing import NDArray

from mrcdist import (
    AccessDeniedError,
    FileChangedError,
    MissingFileError,
    ReadError,
    plan_mrc,
    stats,
)
from mrcdist.read.source import MrcSource
from mrcdist.read_plan import Plan
from mrcdist.storage.store_errors import response_error
from mrcdist.testing.acquisition import write_acquisition
from tests.support.cluster import dask_cluster
from tests.support.http_log import CountingProxy, Exchange, Fault, first
from tests.support.mrc_files import mrc_bytes
from tests.support.s3 import Bucket, S3Server, forget_s3
from tests.support.serving import file_server, refusing

Array = NDArray[Any]

SUB_RANGE = 4096
NUMBERS = np.random.default_rng(1).integers(0, 2**16, (64, 16, 16), np.uint16)
PARTS = NUMBERS.nbytes // SUB_RANGE

# Stall timeouts in s. The long one, where requests are counted, is not exceeded by a busy machine.
SHORT = {"mrcdist.stall": 1.5}
LONG = {"mrcdist.stall": 5.0}


@pytest.fixture(scope="module")
def bucket(radosgw: S3Server) -> Iterator[Bucket]:
    with radosgw.bucket() as bucket:
        yield bucket


@pytest.fixture
def proxy(radosgw: S3Server) -> Iterator[CountingProxy]:
    with CountingProxy(radosgw) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def _small_requests() -> Iterator[None]:
    with dask.config.set({"mrcdist.sub-range": SUB_RANGE}):
        yield


@pytest.fixture(scope="module")
def movie(bucket: Bucket) -> str:
    return bucket.put("movie.mrc", mrc_bytes(NUMBERS))


@pytest.fixture
def plan(movie: str, proxy: CountingProxy) -> Plan:
    """Plan of a movie, made before any fault."""
    plan = plan_mrc(movie, storage_options=proxy.server.storage_options())
    proxy.clear()
    return plan


def gets(proxy: CountingProxy) -> Counter[str | None]:
    return Counter(exchange.range for exchange in proxy.requests if exchange.method == "GET")


TRANSIENT = {
    "500": Fault("status", status=500),
    "503 SlowDown": Fault("status", status=503),
    "reset before the response": Fault("reset"),
    "reset within the body": Fault("reset", after=200),
    "end before the response": Fault("truncate"),
    "end within the body": Fault("truncate", after=200),
    "empty body, matching length": Fault("short"),
    "short body, matching length": Fault("short", after=200),
    "stall before the response": Fault("stall", seconds=600),
    "stall within the body": Fault("stall", after=200, seconds=600),
}


class TestTransientFaults:
    @pytest.mark.parametrize("name", TRANSIENT)
    def test_array_is_exact_after_transient_faults(
        self, plan: Plan, proxy: CountingProxy, name: str
    ) -> None:
        proxy.respond = first(2, TRANSIENT[name])
        with dask.config.set(SHORT):
            np.testing.assert_array_equal(plan.source[...], NUMBERS)

    @pytest.mark.parametrize(
        "name", sorted(set(TRANSIENT) - {"reset before the response", "end before the response"})
    )
    def test_only_failed_requests_are_retried(
        self, plan: Plan, proxy: CountingProxy, name: str
    ) -> None:
        before = stats.snapshot()
        proxy.respond = first(1, TRANSIENT[name])
        with dask.config.set(LONG):
            plan.source[...]
        assert sorted(gets(proxy).values()) == [1] * (PARTS - 1) + [2]
        assert stats.snapshot().retries == before.retries + 1
        assert stats.snapshot().requests == before.requests + PARTS

    def test_pauses_shorter_than_the_stall_timeout_are_tolerated(
        self, plan: Plan, proxy: CountingProxy
    ) -> None:
        proxy.respond = first(PARTS, Fault("stall", after=200, seconds=0.2))
        plan.source[...]
        assert set(gets(proxy).values()) == {1}

    def test_stall_timeout_is_independent_of_the_timeouts_of_the_client(
        self, movie: str, proxy: CountingProxy
    ) -> None:
        options = {**proxy.server.storage_options(), "config_kwargs": {"read_timeout": 600}}
        plan = plan_mrc(movie, storage_options=options)
        proxy.respond = first(1, Fault("stall", after=200, seconds=600))
        with dask.config.set(SHORT):
            np.testing.assert_array_equal(plan.source[...], NUMBERS)

    def test_steady_response_may_take_longer_than_the_deadline(self) -> None:
        before = stats.snapshot()
        with file_server(mrc_bytes(NUMBERS), pieces=12, pause=0.2) as url:
            source = plan_mrc(url, metadata_file=None).source
            with dask.config.set({"mrcdist.deadline": 1.5, "mrcdist.stall": 10}):
                np.testing.assert_array_equal(source[:8], NUMBERS[:8])
        assert stats.snapshot().retries == before.retries

    def test_array_is_exact_if_one_request_in_twenty_fails(
        self, thousand: tuple[Plan, Array], proxy: CountingProxy
    ) -> None:
        plan, numbers = thousand
        faults = one_in_twenty(list(TRANSIENT.values()))
        proxy.respond = in_turn(faults)
        with dask.config.set(SHORT):
            np.testing.assert_array_equal(plan.source[...], numbers)
        requests = gets(proxy)
        failed = sum(fault is not None for fault in faults[: requests.total()])
        assert len(requests) == 1000
        assert requests.total() >= 1000 + failed
        assert failed > 30

    def test_only_failed_requests_of_a_thousand_are_retried(
        self, thousand: tuple[Plan, Array], proxy: CountingProxy
    ) -> None:
        """Without stalls, which depend on timing, the count is exact."""
        plan, numbers = thousand
        faults = one_in_twenty([fault for fault in TRANSIENT.values() if fault.kind != "stall"])
        proxy.respond = in_turn(faults)
        with dask.config.set({"mrcdist.stall": 60}):
            np.testing.assert_array_equal(plan.source[...], numbers)
        requests = gets(proxy)
        failed = sum(fault is not None for fault in faults[: requests.total()])
        assert len(requests) == 1000
        assert requests.total() == 1000 + failed
        assert failed > 30

    @pytest.fixture
    def thousand(self, bucket: Bucket, proxy: CountingProxy) -> Iterator[tuple[Plan, Array]]:
        """Plan a file of 1,000 requests, up to 32 of which are in flight."""
        numbers = np.random.default_rng(2).integers(0, 2**16, (1000, 16, 16), np.uint16)
        url = bucket.put("long.mrc", mrc_bytes(numbers))
        plan = plan_mrc(url, storage_options=proxy.server.storage_options())
        proxy.clear()
        many = {"mrcdist.concurrency": 32, "mrcdist.process-concurrency": 32}
        with dask.config.set({**many, "mrcdist.sub-range": 512}):
            yield plan, numbers


def one_in_twenty(kinds: list[Fault]) -> list[Fault | None]:
    """Return faults for about every twentieth of 2,000 requests."""
    rng = random.Random(3)
    return [rng.choice(kinds) if rng.random() < 0.05 else None for _ in range(2000)]


def in_turn(faults: list[Fault | None]) -> Callable[[Exchange], Fault | None]:
    arrived = iter(faults)
    return lambda _: next(arrived)


class TestRequestLimits:
    """The number of requests in flight is limited per process."""

    def test_failing_store_does_not_block_others_between_attempts(
        self, movie: str, proxy: CountingProxy
    ) -> None:
        """With one request at a time, one store is read between the attempts at another."""
        recovered = threading.Event()
        limits = {"mrcdist.retries": 10**6, "mrcdist.deadline": 20}
        with (
            file_server(mrc_bytes(NUMBERS)) as url,
            ThreadPoolExecutor(1) as pool,
            dask.config.set({"mrcdist.process-concurrency": 1, **limits}),
        ):
            healthy = plan_mrc(url, metadata_file=None).source
            failing = plan_mrc(movie, storage_options=proxy.server.storage_options()).source
            proxy.respond = lambda _: None if recovered.is_set() else Fault("status", status=503)
            proxy.clear()
            future = pool.submit(lambda: failing[...])
            while len(proxy.requests) < 5:
                time.sleep(0.01)
            np.testing.assert_array_equal(healthy[...], NUMBERS)
            recovered.set()
            np.testing.assert_array_equal(future.result(), NUMBERS)

    def test_limit_of_a_process_applies_to_all_pools_together(
        self, movie: str, proxy: CountingProxy
    ) -> None:
        most = 0

        def count(_: Exchange) -> Fault:
            nonlocal most
            most = max(most, sum(not exchange.complete for exchange in proxy.requests))
            return Fault("stall", after=10, seconds=0.05)

        options = proxy.server.storage_options()
        sources = [
            plan_mrc(
                movie, storage_options={**options, "config_kwargs": {"max_pool_connections": pool}}
            ).source
            for pool in (1, 2, 10)
        ]
        proxy.clear()
        proxy.respond = count
        with (
            dask.config.set({"mrcdist.process-concurrency": 3, "mrcdist.sub-range": 1024}),
            ThreadPoolExecutor(3) as pool,
        ):
            for read in pool.map(lambda source: source[...], sources):
                np.testing.assert_array_equal(read, NUMBERS)
        assert most == 3

    @pytest.mark.parametrize("pool", [0, None, 1])
    def test_array_is_exact_with_unlimited_and_minimal_pools(
        self, movie: str, proxy: CountingProxy, pool: int | None
    ) -> None:
        options = {
            **proxy.server.storage_options(), "config_kwargs": {"max_pool_connections": pool}
        }  # fmt: skip
        source = plan_mrc(movie, storage_options=options).source
        np.testing.assert_array_equal(source[...], NUMBERS)

    def test_creation_of_a_client_is_not_a_stall(
        self,
        movie: str,
        proxy: CountingProxy,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Credentials of a process that takes longer than a stall; a new timeout, a new client."""
        server, delay, stall = proxy.server, tmp_path / "delay", 1.5
        credentials = {
            "Version": 1, "AccessKeyId": server.key, "SecretAccessKey": server.secret
        }  # fmt: skip
        (tmp_path / "credentials.json").write_text(json.dumps(credentials))
        (tmp_path / "process.sh").write_text(f"cd {tmp_path}; . ./delay; cat credentials.json")
        (tmp_path / "config").write_text(
            f"[profile slow]\ncredential_process = sh {tmp_path / 'process.sh'}\n"
        )
        delay.write_text("true")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        options = {"profile": "slow", "client_kwargs": server.storage_options()["client_kwargs"]}
        source = plan_mrc(movie, storage_options=options).source
        delay.write_text(f"sleep {stall + 0.3}")
        before = stats.snapshot()
        with dask.config.set({"mrcdist.stall": stall}):
            np.testing.assert_array_equal(source[...], NUMBERS)
        assert stats.snapshot().retries == before.retries

    def test_first_attempt_is_not_limited_by_the_deadline(self) -> None:
        with file_server(mrc_bytes(NUMBERS), pause=0.1) as url:
            source = plan_mrc(url, metadata_file=None).source
            with dask.config.set({"mrcdist.deadline": 0}):
                np.testing.assert_array_equal(source[:8], NUMBERS[:8])


class TestPermanentFaults:
    @pytest.mark.parametrize("status", [401, 403, 404, 412, 416])
    def test_refused_requests_are_not_retried(
        self, plan: Plan, proxy: CountingProxy, status: int
    ) -> None:
        proxy.respond = lambda _: Fault("status", status=status)
        meaning = {404: MissingFileError, 412: FileChangedError, 416: FileChangedError}
        with pytest.raises(meaning.get(status, AccessDeniedError)):
            plan.source[0]
        assert gets(proxy) == {"bytes=1024-1535": 1}

    def test_error_contains_file_range_attempts_and_cause(
        self, plan: Plan, proxy: CountingProxy
    ) -> None:
        proxy.respond = lambda _: Fault("status", status=503)
        with dask.config.set({"mrcdist.retries": 3}), pytest.raises(ReadError) as caught:
            plan.source[2]
        error = caught.value
        assert gets(proxy) == {"bytes=2048-2559": 4}
        assert f"{plan.location.shown} could not be read after 4 attempts" in error.problem
        assert "503 SlowDown" in error.cause
        assert "mrcdist.retries" in error.remedy
        assert error.__context__ is None  # it might not pickle, and might contain secrets
        assert error.where == (
            f"{plan.location.shown}, bytes 2048-2559, host {socket.gethostname()} "
            f"(pid {os.getpid()})"
        )

    @pytest.mark.parametrize("fault", [Fault("reset"), Fault("stall", seconds=600)])
    def test_server_that_never_responds_is_given_up_at_the_deadline(
        self, plan: Plan, proxy: CountingProxy, fault: Fault
    ) -> None:
        proxy.respond = lambda _: fault
        limits = {"mrcdist.retries": 10**9, "mrcdist.deadline": 1.5, "mrcdist.stall": 0.4}
        with dask.config.set(limits), pytest.raises(ReadError) as caught:
            plan.source[0]
        [attempts] = re.findall(r"after (\d+) attempts in ", caught.value.problem)
        assert int(attempts) > 1

    def test_stopped_server_is_given_up_after_the_configured_retries(
        self, movie: str, radosgw: S3Server
    ) -> None:
        with CountingProxy(radosgw) as proxy:
            plan = plan_mrc(movie, storage_options=proxy.server.storage_options())
        with dask.config.set({"mrcdist.retries": 2}), pytest.raises(ReadError, match="3 attempts"):
            plan.source[0]

    def test_parts_of_a_block_are_not_fetched_after_one_has_failed(
        self, plan: Plan, proxy: CountingProxy
    ) -> None:
        proxy.respond = lambda exchange: (
            Fault("status", status=403) if exchange.range == "bytes=1024-5119" else None
        )
        with dask.config.set({"mrcdist.concurrency": 1}), pytest.raises(AccessDeniedError):
            plan.source[...]
        assert gets(proxy).total() <= 2  # the next one may have been sent already

    def test_ignored_range_is_an_error_without_a_download(
        self, plan: Plan, proxy: CountingProxy
    ) -> None:
        proxy.respond = lambda _: Fault("ignore_range")
        with pytest.raises(ReadError, match="ignores Range"):
            plan.source[1]
        assert gets(proxy) == {"bytes=1536-2047": 1}


@pytest.fixture(scope="module")
def acquisition(bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("acquisition")
    written = write_acquisition(folder, scan_shape=(8, 8), frame_shape=(16, 16))
    bucket.put(written.sidecar.name, written.sidecar.read_bytes())
    return bucket.put(written.movie.name, written.movie.read_bytes())


class TestPlanning:
    """Requests for header, listing and sidecar are retried like those for data."""

    REQUESTS = 3

    @pytest.mark.parametrize(
        ("number", "name"),
        [
            *itertools.product(range(3), ["500", "503 SlowDown"]),
            (1, "stall before the response"),
            # The response to a listing has no length that it could fall short of.
            *itertools.product(
                (0, 2), sorted(name for name in TRANSIENT if "matching length" in name)
            ),
            *itertools.product((0, 2), sorted(name for name in TRANSIENT if "within" in name)),
        ],
    )
    def test_planning_succeeds_although_one_of_its_requests_fails(
        self, acquisition: str, proxy: CountingProxy, name: str, number: int
    ) -> None:
        fault = TRANSIENT[name]
        arrived = 0

        def respond(_: Exchange) -> Fault | None:
            nonlocal arrived
            arrived += 1
            return fault if arrived == number + 1 else None

        proxy.respond = respond
        with dask.config.set(LONG):
            plan = plan_mrc(acquisition, storage_options=proxy.server.storage_options())
        assert plan.shape == (8, 8, 16, 16)
        assert len(proxy.requests) == self.REQUESTS + 1

    def test_request_of_planning_is_retried_as_often_as_configured(
        self, acquisition: str, proxy: CountingProxy
    ) -> None:
        proxy.respond = lambda _: Fault("status", status=503)
        options = proxy.server.storage_options()
        with dask.config.set({"mrcdist.retries": 2}), pytest.raises(ReadError, match="3 attempts"):
            plan_mrc(acquisition, storage_options=options)
        assert len(proxy.requests) == 3

    def test_failing_listing_is_an_error_rather_than_a_missing_sidecar(
        self, acquisition: str, proxy: CountingProxy
    ) -> None:
        proxy.respond = lambda exchange: (
            Fault("status", status=500) if "list-type" in exchange.query else None
        )
        options = proxy.server.storage_options()
        with dask.config.set({"mrcdist.retries": 1}), pytest.raises(ReadError, match="2 attempts"):
            plan_mrc(acquisition, storage_options=options)


@pytest.fixture(scope="module")
def restarted_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Two workers with short timeouts, which are restarted when they die."""
    with dask_cluster(
        tmp_path_factory.mktemp("restarted_workers"),
        nanny=True,
        environment={"DASK_MRCDIST__DEADLINE": "5", "DASK_MRCDIST__STALL": "2.5"},
        default=False,
    ) as client:
        yield client


class TestFailingWorkers:
    @contextmanager
    def during_computation(self, proxy: CountingProxy, act: Callable[[], None]) -> Iterator[None]:
        """Call a function once, before the response to the request for the twentieth chunk."""
        acted = False

        def respond(_: Exchange) -> None:
            nonlocal acted
            if not acted and gets(proxy).total() >= 20:
                acted = True
                act()

        proxy.respond = respond
        yield
        assert acted
        assert gets(proxy).total() > 20

    def test_array_is_exact_although_a_worker_is_killed_and_restarted(
        self, plan: Plan, proxy: CountingProxy, restarted_workers: Client
    ) -> None:
        killed, *_ = restarted_workers.run(os.getpid).values()
        with self.during_computation(proxy, lambda: os.kill(killed, signal.SIGKILL)):
            np.testing.assert_array_equal(computed_frame_by_frame(plan, restarted_workers), NUMBERS)
        restarted_workers.wait_for_workers(2, timeout=60)
        assert killed not in restarted_workers.run(os.getpid).values()
        np.testing.assert_array_equal(computed_frame_by_frame(plan, restarted_workers), NUMBERS)

    def test_array_is_exact_although_workers_are_suspended_for_longer_than_the_deadline(
        self, plan: Plan, proxy: CountingProxy, restarted_workers: Client
    ) -> None:
        restarted_workers.wait_for_workers(2, timeout=60)
        pids = list(restarted_workers.run(os.getpid).values())

        def send(sign: signal.Signals) -> None:
            for pid in pids:
                os.kill(pid, sign)

        def suspend() -> None:
            send(signal.SIGSTOP)
            threading.Timer(7, send, [signal.SIGCONT]).start()

        with self.during_computation(proxy, suspend):
            np.testing.assert_array_equal(computed_frame_by_frame(plan, restarted_workers), NUMBERS)


def computed_frame_by_frame(plan: Plan, client: Client) -> Any:
    data = dask.array.from_array(plan.source, chunks=(1, -1, -1), asarray=False)
    return client.compute(data).result()


class TestCredentials:
    """Workers use credentials of their own, which one of two workers lacks."""

    @pytest.fixture
    def source(
        self, cluster: Client, movie: str, radosgw: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[MrcSource]:
        for name, value in radosgw.environment().items():
            monkeypatch.setenv(name, value)
        cluster.run(set_variables, radosgw.environment())
        try:
            yield plan_mrc(movie).source
        finally:
            cluster.run(forget, list(radosgw.environment()))

    def test_error_for_missing_credentials_has_host_and_pid_of_the_worker(
        self, source: MrcSource, cluster: Client
    ) -> None:
        intact, affected = cluster.run(os.getpid)
        cluster.run(forget, ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"], workers=[affected])
        assert (
            cluster.submit(first_frame, source, workers=[intact], pure=False).result()
            == NUMBERS[0].tolist()
        )
        with pytest.raises(AccessDeniedError) as caught:
            cluster.submit(first_frame, source, workers=[affected], pure=False).result()
        self.check(caught.value, cluster, affected)
        assert "no credentials found" in caught.value.cause

    def test_error_for_expired_credentials_has_host_and_pid_of_the_worker(
        self, source: MrcSource, cluster: Client
    ) -> None:
        intact, affected = cluster.run(os.getpid)
        with refusing(400, b"<Error><Code>ExpiredToken</Code></Error>") as endpoint:
            cluster.run(set_variables, {"AWS_ENDPOINT_URL": endpoint}, workers=[affected])
            found = cluster.submit(first_frame, source, workers=[intact], pure=False).result()
            assert found == NUMBERS[0].tolist()
            with pytest.raises(AccessDeniedError) as caught:
                cluster.submit(first_frame, source, workers=[affected], pure=False).result()
        self.check(caught.value, cluster, affected)
        assert "ExpiredToken" in caught.value.cause

    def check(self, error: AccessDeniedError, cluster: Client, worker: str) -> None:
        [pid] = cluster.run(os.getpid, workers=[worker]).values()
        assert f"host {socket.gethostname()} (pid {pid})" in error.where
        assert "credentials" in error.remedy

    @pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId", "TokenRefreshRequired"])
    def test_credential_errors_with_status_400_mean_access_denied(self, code: str) -> None:
        assert isinstance(response_error(400, code, "s3://b/k"), AccessDeniedError)


def first_frame(source: MrcSource) -> list[list[int]]:
    return source[0].tolist()


def set_variables(variables: dict[str, str]) -> None:
    """Set environment variables of this process, and drop clients created with the old ones."""
    os.environ.update(variables)
    forget_s3()


def forget(names: list[str]) -> None:
    """Remove environment variables of this process, and clients created with them."""
    for name in names:
        os.environ.pop(name, None)
    forget_s3()


class TestConcurrency:
    def test_hundred_threads_of_a_process_read_exact_blocks(
        self, plan: Plan, tmp_path: Path
    ) -> None:
        (tmp_path / "movie.mrc").write_bytes(mrc_bytes(NUMBERS))
        rng = np.random.default_rng(4)
        starts, stops = np.sort(rng.integers(0, 65, (2, 200)), axis=0)
        for source in (plan.source, plan_mrc(tmp_path / "movie.mrc").source):
            with ThreadPoolExecutor(100) as threads:
                found = list(threads.map(lambda a, b: source[a:b], starts, stops))  # noqa: B023
            for start, stop, block in zip(starts, stops, found, strict=True):
                np.testing.assert_array_equal(block, NUMBERS[start:stop])

    def test_requests_in_flight_do_not_exceed_the_limit_of_the_process(
        self, plan: Plan, proxy: CountingProxy
    ) -> None:
        most = self.most_in_flight(proxy, 3)
        settings = {"mrcdist.concurrency": 8, "mrcdist.process-concurrency": 3}
        with dask.config.set(settings), ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _: plan.source[...], range(4)))
        assert most() == 3

    def test_requests_in_flight_can_exceed_the_default_pool_of_s3fs(
        self, movie: str, proxy: CountingProxy
    ) -> None:
        settings = {"mrcdist.concurrency": 32, "mrcdist.process-concurrency": 32}
        with dask.config.set({**settings, "mrcdist.sub-range": 1024}):
            source = plan_mrc(movie, storage_options=proxy.server.storage_options()).source
            most = self.most_in_flight(proxy, 11)
            source[...]
        assert most() >= 11

    def test_requests_in_flight_do_not_exceed_the_pool_set_in_the_storage_options(
        self, movie: str, proxy: CountingProxy
    ) -> None:
        few = {**proxy.server.storage_options(), "config_kwargs": {"max_pool_connections": 2}}
        many = {"mrcdist.concurrency": 32, "mrcdist.process-concurrency": 32}
        with dask.config.set({**many, "mrcdist.sub-range": 1024}):
            source = plan_mrc(movie, storage_options=few).source
            most = self.most_in_flight(proxy, 2, seconds=0.4)
            before = stats.snapshot()
            with dask.config.set(LONG):
                np.testing.assert_array_equal(source[...], NUMBERS)
        assert most() == 2
        # The last of 32 parts waits for longer than the stall timeout, which does not count.
        assert stats.snapshot().retries == before.retries

    def most_in_flight(
        self, proxy: CountingProxy, enough: int, seconds: float = 0.2
    ) -> Callable[[], int]:
        """Return a function for the maximum number of requests in flight.

        Responses are held back until `enough` are, whatever the load of the machine; later ones
        are delayed.
        """
        proxy.clear()
        most = 0

        def respond(_: Exchange) -> Fault:
            nonlocal most
            most = max(most, sum(not exchange.complete for exchange in proxy.requests))
            if most < enough:
                return Fault("stall", seconds=60, until=lambda: most >= enough)
            return Fault("stall", after=100, seconds=seconds)

        proxy.respond = respond
        return lambda: most
