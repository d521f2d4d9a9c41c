"""Memory of processes that live for many jobs."""

from __future__ import annotations

import fsspec
import numpy as np

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
