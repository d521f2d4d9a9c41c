"""Memory of processes that live for many jobs."""

from __future__ import annotations

import itertools
from concurrent.futures import CancelledError

import fsspec
import numpy as np
import pytest

import mrcdist
from mrcdist.compute import tasks
from mrcdist.compute.reductions import FrameSum
from mrcdist.compute.tasks import Work, compute
from tests.support.mrc_files import mrc_bytes


def test_process_of_many_jobs_forgets_the_first_ones() -> None:
    frames = np.ones((2, 3, 4), np.int16)
    fsspec.filesystem("memory").pipe("/jobs/a.mrc", mrc_bytes(frames))
    source = mrcdist.plan_mrc("memory://jobs/a.mrc").source
    works = [Work(source, (FrameSum((3, 4)),), f"memory-{number}") for number in range(300)]
    for work in works:
        compute((((0, 2),),), work)
    [read] = compute((((0, 2),),), works[-1]).ledger.values()
    assert read.nbytes == 2 * frames.nbytes  # still knows what it had read before this job
    assert len(tasks._before) < 300


def test_task_that_nobody_waits_for_ends_between_two_blocks() -> None:
    frames = np.ones((4, 3, 4), np.int16)
    fsspec.filesystem("memory").pipe("/jobs/b.mrc", mrc_bytes(frames))
    source = mrcdist.plan_mrc("memory://jobs/b.mrc").source
    checks = itertools.count()

    def check() -> None:
        if next(checks) == 1:
            raise CancelledError

    before = mrcdist.stats.snapshot()
    with pytest.raises(CancelledError):
        compute((((0, 2),), ((2, 4),)), Work(source, (FrameSum((3, 4)),), "unwanted"), check=check)
    assert (mrcdist.stats.snapshot() - before).nbytes == 2 * frames[0].nbytes
