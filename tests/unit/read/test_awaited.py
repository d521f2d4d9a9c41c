"""Reads of files that cannot be awaited run in threads."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import numpy as np

import mrcdist
from mrcdist.read.awaited import AwaitedSource, in_thread
from mrcdist.read_limits import ReadLimits
from tests.support.mrc_files import counting, mrc_bytes

NUMBERS = counting((6, 8, 8), "uint16")


def test_blocks_read_in_threads_equal_numpy(memory_file):
    plan = mrcdist.plan_mrc(memory_file(mrc_bytes(NUMBERS)))
    source = AwaitedSource(replace(plan.source, limits=ReadLimits(waiting_threads=2)))

    async def read_all():
        return await asyncio.gather(*map(source.read, range(6)))

    np.testing.assert_array_equal(asyncio.run(read_all()), NUMBERS)


def test_as_many_threads_run_at_a_time_as_the_limits_allow():
    async def most_at_a_time(n_threads):
        limits, threads = ReadLimits(waiting_threads=n_threads), set()
        together = threading.Barrier(n_threads)

        def wait_for_the_others():
            threads.add(threading.get_ident())
            together.wait(timeout=10)

        calls = (in_thread(limits, wait_for_the_others) for _ in range(4 * n_threads))
        await asyncio.gather(*calls)
        return len(threads)

    assert asyncio.run(most_at_a_time(3)) == 3
    assert asyncio.run(most_at_a_time(1)) == 1
