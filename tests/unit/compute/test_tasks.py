"""Cancellation of tasks."""

from __future__ import annotations

import itertools
from concurrent.futures import CancelledError

import fsspec
import numpy as np
import pytest

import mrcdist
from mrcdist.compute.reductions import FrameSum
from mrcdist.compute.tasks import Work, compute
from tests.support.mrc_files import mrc_bytes


def test_cancelled_task_stops_before_its_next_block() -> None:
    frames = np.ones((4, 3, 4), np.int16)
    fsspec.filesystem("memory").pipe("/jobs/b.mrc", mrc_bytes(frames))
    source = mrcdist.plan_mrc("memory://jobs/b.mrc").source
    checks = itertools.count()

    def check() -> None:
        if next(checks) == 1:
            raise CancelledError

    before = mrcdist.stats.snapshot()
    with pytest.raises(CancelledError):
        compute((((0, 2),), ((2, 4),)), Work(source, (FrameSum((3, 4)),)), check=check)
    assert (mrcdist.stats.snapshot() - before).nbytes == 2 * frames[0].nbytes
