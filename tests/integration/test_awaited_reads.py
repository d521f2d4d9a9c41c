"""Blocks read from S3 in coroutines are exact and take few requests."""

from __future__ import annotations

import asyncio
import os
import pickle
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcdist import FileChangedError, ReadError, plan_mrc, stats
from mrcdist.read.awaited import AwaitedSource
from mrcdist.read.remote import RemoteReader
from tests.support.examples import examples
from tests.support.http_log import CountingProxy, Fault, first
from tests.support.mrc_files import counting, mrc_bytes
from tests.support.random_mrc import make_case, random_index
from tests.support.s3 import S3Server

pytestmark = pytest.mark.filterwarnings("ignore::mrcdist.MrcdistWarning")

# Frames of 32 KiB.
FRAMES = np.random.default_rng(0).integers(0, 2**16, (64, 128, 128), np.uint16)
FRAME_BYTES = 2**15


@pytest.fixture(scope="module")
def proxy(moto: S3Server) -> Iterator[CountingProxy]:
    with CountingProxy(moto) as proxy:
        yield proxy


@pytest.fixture
def source(moto: S3Server, proxy: CountingProxy) -> Iterator[AwaitedSource]:
    """An opened stack on S3 behind a counting proxy; adjacent requests are joined."""
    with moto.bucket() as bucket, dask.config.set({"mrcdist.max-gap": "1 MiB"}):
        proxy.respond = None
        bucket.put("stack.mrc", mrc_bytes(FRAMES))
        plan = plan_mrc(bucket.url("stack.mrc"), storage_options=proxy.server.storage_options())
        source = AwaitedSource(plan.source)
        read(source, 63)
        proxy.clear()
        yield source


def read(source: AwaitedSource, *indexes: Any) -> list[Any]:
    """Read several indexes concurrently; return blocks or exceptions."""

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*map(source.read, indexes), return_exceptions=True)

    return asyncio.run(all_of_them())


def stall(requested: threading.Event, until: threading.Event) -> Callable[[Any], Fault]:
    """Return a responder that reports requests, and holds responses back until an event is set."""

    def respond(_: Any) -> Fault:
        requested.set()
        return Fault("stall", seconds=20, until=until.is_set)

    return respond


def lengths(proxy: CountingProxy) -> list[int]:
    return sorted(exchange.body_bytes for exchange in proxy.requests)


class TestOpening:
    def test_files_are_opened_once_by_concurrent_reads(
        self, source: AwaitedSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = []
        monkeypatch.setattr(
            "mrcdist.read.source.RemoteReader",
            lambda *of_file: opened.append(of_file) or RemoteReader(*of_file),
        )
        new = AwaitedSource(source._source)
        np.testing.assert_array_equal(np.stack(read(new, *range(8))), FRAMES[:8])
        assert len(opened) == 1


class TestNumbers:
    @given(number=st.integers(0, 2**32))
    @examples(25)
    def test_any_index_of_any_dataset_read_in_coroutines_equals_numpy(
        self, moto: S3Server, number: int
    ) -> None:
        case = make_case(number)
        if case.truth is None or not case.truth.size:
            return
        rng = random.Random(number)
        with moto.bucket() as bucket:
            for name, raw in case.files.items():
                bucket.put(name, raw)
            urls = [bucket.url(name) for name in case.data]
            options = {**case.options, "storage_options": moto.storage_options()}
            if isinstance(options.get("metadata_file"), str):
                options["metadata_file"] = bucket.url(options["metadata_file"])
            source = plan_mrc(urls if case.as_list else urls[0], **options).source
            indexes = [random_index(rng, case.truth.shape) for _ in range(4)]
            found = read(AwaitedSource(source), ..., *indexes)
        for block, index in zip(found, (..., *indexes), strict=True):
            np.testing.assert_array_equal(block, case.truth[index], err_msg=str(index))

    def test_blocks_of_plain_files_need_no_thread(
        self, source: AwaitedSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ThreadPoolExecutor, "submit", None)
        for index in (3, (slice(4, 9), slice(2, 100)), (slice(None), slice(0, 64))):
            np.testing.assert_array_equal(read(source, index)[0], FRAMES[index])

    def test_blocks_are_read_only_and_counted(self, source: AwaitedSource) -> None:
        before = stats.snapshot()
        [block] = read(source, slice(3, 5))
        assert not block.flags.writeable
        spent = stats.snapshot() - before
        assert (spent.blocks, spent.requests, spent.bytes_fetched) == (1, 1, 2 * FRAME_BYTES)


class TestJoinedRequests:
    """Adjacent blocks requested at the same time are fetched with one request."""

    def test_adjacent_blocks_are_fetched_with_one_request(
        self, source: AwaitedSource, proxy: CountingProxy
    ) -> None:
        order = [4, 2, 3, 9, 5]
        for block, number in zip(read(source, *order), order, strict=True):
            np.testing.assert_array_equal(block, FRAMES[number])
        assert lengths(proxy) == [FRAME_BYTES, 4 * FRAME_BYTES]

    def test_joined_requests_are_at_most_half_of_the_largest_gap(
        self, source: AwaitedSource, proxy: CountingProxy
    ) -> None:
        with dask.config.set({"mrcdist.max-gap": 6 * FRAME_BYTES}):
            read(source, 63)
            proxy.clear()
            found = read(source, *range(10))
        np.testing.assert_array_equal(np.stack(found), FRAMES[:10])
        assert lengths(proxy) == [FRAME_BYTES, *[3 * FRAME_BYTES] * 3]

    def test_requests_to_a_slow_store_are_not_joined(
        self, source: AwaitedSource, proxy: CountingProxy
    ) -> None:
        with dask.config.set({"mrcdist.max-gap": 0}):
            read(source, 63)
            proxy.clear()
            np.testing.assert_array_equal(np.stack(read(source, *range(10))), FRAMES[:10])
        assert lengths(proxy) == [FRAME_BYTES] * 10

    def test_duplicate_blocks_are_not_joined(
        self, source: AwaitedSource, proxy: CountingProxy
    ) -> None:
        found = read(source, 7, 7, 8)
        np.testing.assert_array_equal(np.stack(found), FRAMES[[7, 7, 8]])
        assert sum(lengths(proxy)) == 3 * FRAME_BYTES

    def test_cancelling_a_read_does_not_affect_those_joined_with_it(
        self, source: AwaitedSource, proxy: CountingProxy
    ) -> None:
        requested, cancelled = threading.Event(), threading.Event()

        async def cancel_one() -> Any:
            proxy.respond = stall(requested, until=cancelled)
            reads = [asyncio.create_task(source.read(number)) for number in (1, 2, 3)]
            assert await asyncio.to_thread(requested.wait, 20)
            reads[1].cancel()
            await asyncio.wait([reads[1]])
            cancelled.set()
            return await asyncio.gather(*reads, return_exceptions=True)

        one, two, three = asyncio.run(cancel_one())
        np.testing.assert_array_equal([one, three], FRAMES[[1, 3]])
        assert isinstance(two, asyncio.CancelledError)
        assert not proxy.overdue

    def test_request_is_cancelled_if_all_its_reads_are_cancelled(
        self, source: AwaitedSource, proxy: CountingProxy
    ) -> None:
        requested, cancelled = threading.Event(), threading.Event()

        async def cancel_both() -> list[Any]:
            proxy.respond = stall(requested, until=cancelled)
            reads = [asyncio.create_task(source.read(number)) for number in (1, 2)]
            assert await asyncio.to_thread(requested.wait, 20)
            for task in reads:
                task.cancel()
            results = await asyncio.gather(*reads, return_exceptions=True)
            cancelled.set()
            # Its response arrives later than that of the cancelled request would.
            proxy.respond = lambda _: Fault("stall", seconds=0.3)
            await source.read(9)
            return results

        before = stats.snapshot()
        results = asyncio.run(cancel_both())
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert (stats.snapshot() - before).requests == 1


class TestFailures:
    def test_truncated_response_is_retried(
        self, source: AwaitedSource, proxy: CountingProxy
    ) -> None:
        proxy.respond = first(2, Fault("truncate", after=5000))
        before = stats.snapshot()
        np.testing.assert_array_equal(np.stack(read(source, 1, 2, 3)), FRAMES[1:4])
        assert (stats.snapshot() - before).retries == 2

    def test_each_joined_block_raises_its_own_error_with_the_byte_range(
        self, source: AwaitedSource, proxy: CountingProxy
    ) -> None:
        with dask.config.set({"mrcdist.retries": 0}):
            read(source, 63)
            proxy.respond = lambda _: Fault("status", status=503)
            one, two = read(source, 1, 2)
        assert isinstance(one, ReadError)
        assert isinstance(two, ReadError)
        assert one is not two
        assert one.code == two.code == "retries-exhausted"
        start, stop = 1024 + FRAME_BYTES, 1024 + 3 * FRAME_BYTES
        assert f"bytes {start}-{stop - 1}" in str(one)
        assert str(pickle.loads(pickle.dumps(one))) == str(two)

    def test_file_changed_after_opening_is_an_error(self, moto: S3Server) -> None:
        numbers = counting((6, 40, 50), "uint16")
        with moto.bucket() as bucket:
            url = bucket.put("a.mrc", mrc_bytes(numbers))
            source = AwaitedSource(plan_mrc(url, storage_options=moto.storage_options()).source)
            np.testing.assert_array_equal(read(source, 1)[0], numbers[1])
            bucket.put("a.mrc", mrc_bytes(numbers[:, ::-1]))
            found = read(source, 1, slice(2, 4))
        assert all(isinstance(error, FileChangedError) for error in found)


class TestSettings:
    def test_changed_settings_apply_to_the_next_read(
        self, source: AwaitedSource, proxy: CountingProxy
    ) -> None:
        with dask.config.set({"mrcdist.sub-range": FRAME_BYTES // 2}):
            np.testing.assert_array_equal(read(source, 5)[0], FRAMES[5])
        assert lengths(proxy) == [FRAME_BYTES // 2] * 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="requires os.fork")
def test_process_forked_while_files_are_opened_can_open_them(tmp_path: Path) -> None:
    path = tmp_path / "stack.mrc"
    path.write_bytes(mrc_bytes(FRAMES[:2]))
    code = f"""
import asyncio, os, threading
import mrcdist
from mrcdist.read import awaited
source = awaited.AwaitedSource(mrcdist.plan_mrc({str(path)!r}, metadata_file=None).source)
opening = threading.Event()
readers = awaited._readers
def stuck(*_):
    opening.set()
    threading.Event().wait()
awaited._readers = stuck
threading.Thread(target=asyncio.run, args=[source.read(...)], daemon=True).start()
opening.wait()
if pid := os.fork():
    os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
awaited._readers = readers
threading.Timer(20, os._exit, (1,)).start()  # rather than wait for ever
os._exit(int(asyncio.run(source.read(...)).shape != (2, 128, 128)))
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)
