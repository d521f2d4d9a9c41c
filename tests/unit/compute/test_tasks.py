"""Tasks of a pass: how they are cancelled, and what they have read."""

from __future__ import annotations

import itertools
from concurrent.futures import CancelledError

import fsspec
import numpy as np
import pytest

import mrcdist
from mrcdist.compute.reductions import FrameSum
from mrcdist.compute.schedule import schedule_pass
from mrcdist.compute.tasks import Work, compute, join, merge_ledgers, total
from mrcdist.stats import ReadStats
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


class TestLedger:
    def test_read_statistics_are_merged_per_process_and_summed_over_processes(self):
        start = ReadStats(blocks=7, requests=2)
        early = {
            "a": (start, start + ReadStats(blocks=1, requests=5)),
            "b": (ReadStats(), ReadStats(blocks=2)),
        }
        late = {"a": (early["a"][1], start + ReadStats(blocks=3, requests=5))}
        for ledgers in itertools.permutations((early, late, {})):
            assert total(merge_ledgers(ledgers)) == ReadStats(blocks=5, requests=5)

    def test_each_job_counts_the_bytes_that_its_tasks_read(self, memory_file):
        frames = np.ones((6, 4, 4), "uint16")
        plan = mrcdist.plan_mrc(memory_file(mrc_bytes(frames)), chunks=(1, -1, -1))
        parts = schedule_pass(plan.chunks[:1], frame_bytes=32, sum_bytes=0)
        tasks = [task for part in parts for task in part]
        work = Work(plan.source, (FrameSum((4, 4)),))
        for _ in range(2):
            piece = join([compute(task, work) for task in tasks], work)
            assert total(piece.ledger).blocks == 6
            assert total(piece.ledger).bytes_fetched == frames.nbytes
