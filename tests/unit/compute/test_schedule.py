"""Blocks, tasks and parts of a pass."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mrcdist.compute import schedule
from mrcdist.compute.schedule import most_tasks, schedule_pass
from mrcdist.plan.chunks import block_boxes

block_lengths = st.lists(
    st.lists(st.integers(1, 4), min_size=1, max_size=6).map(tuple), min_size=1, max_size=3
)


class TestSchedule:
    @given(block_lengths)
    def test_blocks_cover_every_scan_position_once(self, navigation):
        covered = np.zeros([sum(axis) for axis in navigation], int)
        for block in block_boxes(navigation):
            covered[tuple(slice(*span) for span in block)] += 1
        assert (covered == 1).all()

    @given(block_lengths, st.integers(1, 10**9), st.integers(0, 10**9))
    def test_parts_contain_all_blocks_in_order(self, navigation, frame_bytes, sum_bytes):
        blocks = list(block_boxes(navigation))
        parts = schedule_pass(navigation, frame_bytes=frame_bytes, sum_bytes=sum_bytes)
        assert [block for part in parts for task in part for block in task] == blocks
        assert all(part and all(part) for part in parts)

    def test_numbers_of_parts_and_tasks_are_bounded_for_the_largest_files(self):
        navigation = [(1,) * 400, (4,) * 400]
        maps = schedule_pass(navigation, frame_bytes=2**25, sum_bytes=0)
        assert (len(maps), sum(map(len, maps))) == (schedule.MAX_PARTS, schedule.MAX_TASKS)
        sums = schedule_pass(navigation, frame_bytes=2**25, sum_bytes=2**19)
        assert (len(sums), sum(map(len, sums))) == (schedule.MAX_SUM_PARTS, schedule.MAX_TASKS)

    def test_short_jobs_have_a_few_tasks_per_thread_and_long_jobs_tasks_of_bounded_size(self):
        assert most_tasks(2**30, threads=2) == 8
        assert most_tasks(2**42, threads=2) == 2**42 // 2**32
        assert most_tasks(2**50, threads=2) == most_tasks(2**60) == 4096
        assert most_tasks(2**30) == schedule.MAX_TASKS

    def test_tasks_sum_large_frames_over_many_blocks(self):
        parts = schedule_pass([(4,) * 1000], frame_bytes=2**25, sum_bytes=2**27)
        assert {len(task) for part in parts for task in part} == {8}
        few = schedule_pass([(4,) * 100], frame_bytes=2**25, sum_bytes=2**27)
        assert {len(task) for part in few for task in part} == {1}
