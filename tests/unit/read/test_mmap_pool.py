"""Maps that stay take file descriptors and pages that nobody wants: there is an end of both."""

from __future__ import annotations

import dataclasses
import gc
import mmap
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import dask
import distributed.worker
import numpy as np
import pytest

import mrcdist
from mrcdist.read.mmap_pool import POOL
from mrcdist.read_limits import ReadLimits
from tests.support.counted import counted
from tests.support.mrc_files import counting, write_mrc

NUMBERS = counting((600, 64, 64), "uint16")
ORDER = np.random.default_rng(0).permutation(len(NUMBERS))


@pytest.fixture
def source(tmp_path):
    return mrcdist.plan_mrc(write_mrc(tmp_path / "any.mrc", NUMBERS)).source


@pytest.fixture
def custom(source):
    """The frames of `source` in another order."""
    return dataclasses.replace(source, table=ORDER)


@pytest.fixture(autouse=True)
def _no_map_is_left():
    POOL.release_shared()
    yield
    POOL.release_shared()


@pytest.fixture
def in_a_worker_of(monkeypatch):
    """Let the calling thread seem to run a task of a worker with a memory limit."""

    def enter(limit: int | None) -> None:
        worker = SimpleNamespace(memory_manager=SimpleNamespace(memory_limit=limit))
        monkeypatch.setattr(distributed.worker, "get_worker", lambda: worker)

    return enter


def is_mapped(block: object) -> bool:
    while block is not None and not isinstance(block, mmap.mmap):
        block = block.obj if isinstance(block, memoryview) else getattr(block, "base", None)
    return block is not None


def wait_until(ready: Callable[[], bool]) -> None:
    while not ready():  # the test's own limit ends it
        time.sleep(0.01)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_view_of_whole_frames_is_always_kept(source, in_a_worker_of):
    in_a_worker_of(1)
    assert is_mapped(source[10:500])


def test_a_part_of_each_frame_is_a_view_outside_workers(source):
    assert is_mapped(source[:, 16:32])


@pytest.mark.parametrize("limit", [None, 10 * NUMBERS.nbytes])
def test_a_part_of_each_frame_is_a_view_in_workers_with_memory_for_the_pages_around_it(
    source, in_a_worker_of, limit
):
    in_a_worker_of(limit)
    assert is_mapped(source[:, 16:32])


def test_a_small_range_is_read_and_holds_nothing_else(source):
    block = source[0:64:8]
    assert not is_mapped(block)
    assert block.flags.owndata or block.base.nbytes == block.nbytes
    np.testing.assert_array_equal(block, NUMBERS[0:64:8])


def test_narrow_crops_are_copied(source):
    """Arithmetic on them is faster then, and the pages around them go."""
    before = POOL.maps, POOL.unused_bytes
    crop = source[:, 8:40, 8:16]
    assert not is_mapped(crop)
    assert (POOL.maps, POOL.unused_bytes) == before
    np.testing.assert_array_equal(crop, NUMBERS[:, 8:40, 8:16])
    assert is_mapped(source[:, 8:56, 8:56])


def test_a_part_of_each_frame_is_copied_in_workers_without_memory_for_the_pages_around_it(
    source, in_a_worker_of
):
    in_a_worker_of(NUMBERS.nbytes)
    block = source[:, 16:32]
    assert not is_mapped(block)
    assert block.flags.owndata or block.base.nbytes == block.nbytes
    np.testing.assert_array_equal(block, NUMBERS[:, 16:32])


def test_room_for_maps_is_shared_and_comes_back(source, in_a_worker_of):
    """There is room for twice the unwanted bytes of these bands, and none for the whole file."""
    in_a_worker_of(2 * NUMBERS.nbytes)
    kept = [source[:, :48] for _ in range(4)]
    assert [is_mapped(block) for block in kept] == [True, True, False, False]
    kept.clear()
    gc.collect()
    assert is_mapped(source[:, :48])


def test_views_share_the_map_of_a_file_that_there_is_room_for(source, in_a_worker_of):
    in_a_worker_of(3 * NUMBERS.nbytes)
    kept = [source[:, start : start + 16] for start in range(0, 64, 16)]
    assert all(is_mapped(block) for block in kept)
    np.testing.assert_array_equal(np.concatenate(kept, axis=1), NUMBERS)
    POOL.release_shared()
    assert not is_mapped(source[:, :16])  # these views keep the first map, and its room
    kept.clear()
    gc.collect()
    assert is_mapped(source[:, :16])


def test_a_shared_map_goes_when_nobody_asks_for_it_any_more(source):
    source = dataclasses.replace(source, limits=ReadLimits(map_linger=0.02))
    before = POOL.maps
    source[:, :16]
    assert POOL.maps == before + 1
    wait_until(lambda: POOL.maps == before)


def test_frames_from_all_over_the_file_are_copied_out_of_its_map(custom, in_a_worker_of):
    in_a_worker_of(None)
    with counted() as count:
        np.testing.assert_array_equal(custom[...], NUMBERS[ORDER])
    assert (count.read.requests, count.read.bytes_mapped) == (0, NUMBERS.nbytes)


@pytest.mark.parametrize("index", [np.s_[:, :, ::16], np.s_[::-1, :, ::16], np.s_[:, 8:16, 3:5]])
def test_columns_of_scattered_frames_hold_nothing_else(custom, index):
    block = custom[index]
    np.testing.assert_array_equal(block, NUMBERS[ORDER][index])
    held = block if block.base is None else block.base
    assert held.nbytes == block.nbytes


def test_a_map_that_was_made_after_a_truncation_is_an_error(source, tmp_path, monkeypatch):
    with (tmp_path / "any.mrc").open("rb") as file:
        short = mmap.mmap(file.fileno(), mmap.PAGESIZE, access=mmap.ACCESS_READ)
    monkeypatch.setattr(POOL, "shared", lambda *_: short)
    with pytest.raises(mrcdist.FileChangedError, match="call read_mrc again"):
        source[:, 16:32]


def test_a_thread_that_cannot_be_had_is_no_error(source, monkeypatch):
    def refuse(_timer):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Timer, "start", refuse)
    before = POOL.maps
    np.testing.assert_array_equal(source[:, 16:32], NUMBERS[:, 16:32])
    gc.collect()
    assert POOL.maps == before


def test_scattered_frames_are_read_one_by_one_where_there_is_no_room_for_a_map(
    custom, in_a_worker_of
):
    in_a_worker_of(NUMBERS.nbytes)
    with counted() as count:
        np.testing.assert_array_equal(custom[...], NUMBERS[ORDER])
    assert count.read.bytes_mapped == 0
    assert count.read.bytes_fetched == NUMBERS.nbytes


def test_a_read_that_fails_gives_its_room_back(tmp_path, in_a_worker_of):
    path = write_mrc(tmp_path / "any.mrc", NUMBERS)
    source = mrcdist.plan_mrc(path).source
    os.utime(path, (1, 1))
    before = POOL.maps, POOL.unused_bytes
    with pytest.raises(mrcdist.FileChangedError):
        source[:, 16:32]
    assert (POOL.maps, POOL.unused_bytes) == before


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc to count files in")
@pytest.mark.parametrize("io", ["map", "auto"])
def test_many_blocks_at_a_time_take_few_file_descriptors(source, io):
    before = open_files()
    with dask.config.set({"mrcdist.io": io}):
        blocks = [source[i] for i in range(600)]
    assert open_files() - before <= (256 if io == "map" else 0)
    for block, expected in zip(blocks, NUMBERS, strict=True):
        np.testing.assert_array_equal(block, expected)
