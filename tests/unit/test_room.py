"""Maps that stay take file descriptors and pages that nobody wants: there is an end of both."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from types import SimpleNamespace

import distributed.worker
import numpy as np
import pytest

import mrcdist
from mrcdist.read import room
from tests.support.mrc_files import counting, write_mrc

NUMBERS = counting((600, 16, 32), "uint16")


@pytest.fixture
def source(tmp_path):
    return mrcdist.plan_mrc(write_mrc(tmp_path / "any.mrc", NUMBERS)).source


@pytest.fixture
def in_a_worker_of(monkeypatch):
    """Let the calling thread seem to run a task of a worker with a memory limit."""

    def enter(limit: int | None) -> None:
        worker = SimpleNamespace(memory_manager=SimpleNamespace(memory_limit=limit))
        monkeypatch.setattr(distributed.worker, "get_worker", lambda: worker)

    return enter


def is_mapped(block: np.ndarray) -> bool:
    return not block.flags.writeable


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_view_of_whole_frames_is_always_kept(source, in_a_worker_of):
    in_a_worker_of(1)
    assert is_mapped(source[10:500])


def test_a_part_of_each_frame_is_a_view_outside_workers(source):
    assert is_mapped(source[:, 4:8])


@pytest.mark.parametrize("limit", [None, 10 * NUMBERS.nbytes])
def test_and_in_workers_with_memory_for_the_pages_around_it(source, in_a_worker_of, limit):
    in_a_worker_of(limit)
    assert is_mapped(source[:, 4:8])


def test_it_is_copied_where_there_is_no_memory_for_them(source, in_a_worker_of):
    in_a_worker_of(NUMBERS.nbytes)
    block = source[:, 4:8]
    assert not is_mapped(block)
    assert block.flags.owndata or block.base.nbytes == block.nbytes
    np.testing.assert_array_equal(block, NUMBERS[:, 4:8])


def test_room_is_shared_and_comes_back(source, in_a_worker_of):
    in_a_worker_of(4 * NUMBERS.nbytes)
    kept = [source[:, 4:8] for _ in range(4)]
    assert [is_mapped(block) for block in kept] == [True, False, False, False]
    kept.clear()
    gc.collect()
    assert is_mapped(source[:, 4:8])


def test_a_read_that_fails_gives_its_room_back(tmp_path, in_a_worker_of):
    path = write_mrc(tmp_path / "any.mrc", NUMBERS)
    source = mrcdist.plan_mrc(path).source
    os.utime(path, (1, 1))
    before = room._maps, room._spare
    with pytest.raises(mrcdist.FileChangedError):
        source[:, 4:8]
    assert (room._maps, room._spare) == before


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc to count files in")
def test_many_blocks_at_a_time_take_few_file_descriptors(source):
    before = open_files()
    blocks = [source[i] for i in range(600)]
    assert open_files() - before <= 256
    for block, expected in zip(blocks, NUMBERS, strict=True):
        np.testing.assert_array_equal(block, expected)
