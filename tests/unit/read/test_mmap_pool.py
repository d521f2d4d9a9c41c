"""The budget for memory maps: file descriptors, and mapped pages that are not needed."""

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
def _no_shared_maps():
    POOL.release_shared()
    yield
    POOL.release_shared()


@pytest.fixture
def in_a_worker_of(monkeypatch):
    """Make the calling thread appear to run a task of a worker with a memory limit."""

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


def test_whole_frames_are_always_views(source, in_a_worker_of):
    in_a_worker_of(1)
    assert is_mapped(source[10:500])


def test_parts_of_frames_are_views_outside_workers(source):
    assert is_mapped(source[:, 16:32])


@pytest.mark.parametrize("limit", [None, 10 * NUMBERS.nbytes])
def test_parts_of_frames_are_views_in_workers_with_memory_for_unneeded_pages(
    source, in_a_worker_of, limit
):
    in_a_worker_of(limit)
    assert is_mapped(source[:, 16:32])


def test_small_ranges_are_read_into_their_own_buffers(source):
    block = source[0:64:8]
    assert not is_mapped(block)
    assert block.flags.owndata or block.base.nbytes == block.nbytes
    np.testing.assert_array_equal(block, NUMBERS[0:64:8])


def test_narrow_crops_are_copied(source):
    """Arithmetic on a copy is faster, and the surrounding pages are released."""
    before = POOL.maps, POOL.unused_bytes
    crop = source[:, 8:40, 8:16]
    assert not is_mapped(crop)
    assert (POOL.maps, POOL.unused_bytes) == before
    np.testing.assert_array_equal(crop, NUMBERS[:, 8:40, 8:16])
    assert is_mapped(source[:, 8:56, 8:56])


def test_parts_of_frames_are_copied_in_workers_without_memory_for_unneeded_pages(
    source, in_a_worker_of
):
    in_a_worker_of(NUMBERS.nbytes)
    block = source[:, 16:32]
    assert not is_mapped(block)
    assert block.flags.owndata or block.base.nbytes == block.nbytes
    np.testing.assert_array_equal(block, NUMBERS[:, 16:32])


def test_budget_is_shared_and_released(source, in_a_worker_of):
    """The budget is twice the unneeded bytes of these bands, and less than the whole file."""
    in_a_worker_of(2 * NUMBERS.nbytes)
    kept = [source[:, :48] for _ in range(4)]
    assert [is_mapped(block) for block in kept] == [True, True, False, False]
    kept.clear()
    gc.collect()
    assert is_mapped(source[:, :48])


def test_views_share_one_map_of_the_file_within_the_budget(source, in_a_worker_of):
    in_a_worker_of(3 * NUMBERS.nbytes)
    kept = [source[:, start : start + 16] for start in range(0, 64, 16)]
    assert all(is_mapped(block) for block in kept)
    np.testing.assert_array_equal(np.concatenate(kept, axis=1), NUMBERS)
    POOL.release_shared()
    assert not is_mapped(source[:, :16])  # these views keep the first map, and its room
    kept.clear()
    gc.collect()
    assert is_mapped(source[:, :16])


def test_unused_shared_maps_are_released(source):
    source = dataclasses.replace(source, limits=ReadLimits(map_linger=0.02))
    before = POOL.maps
    source[:, :16]
    assert POOL.maps == before + 1
    wait_until(lambda: POOL.maps == before)


def test_scattered_frames_are_copied_out_of_the_shared_map(custom, in_a_worker_of):
    in_a_worker_of(None)
    with counted() as count:
        np.testing.assert_array_equal(custom[...], NUMBERS[ORDER])
    assert (count.read.requests, count.read.bytes_mapped) == (0, NUMBERS.nbytes)


@pytest.mark.parametrize("index", [np.s_[:, :, ::16], np.s_[::-1, :, ::16], np.s_[:, 8:16, 3:5]])
def test_columns_of_scattered_frames_are_copied(custom, index):
    block = custom[index]
    np.testing.assert_array_equal(block, NUMBERS[ORDER][index])
    held = block if block.base is None else block.base
    assert held.nbytes == block.nbytes


def test_mapping_a_truncated_file_is_an_error(source, tmp_path, monkeypatch):
    with (tmp_path / "any.mrc").open("rb") as file:
        short = mmap.mmap(file.fileno(), mmap.PAGESIZE, access=mmap.ACCESS_READ)
    monkeypatch.setattr(POOL, "shared", lambda *_: short)
    with pytest.raises(mrcdist.FileChangedError, match="call read_mrc again"):
        source[:, 16:32]


def test_reads_succeed_if_no_thread_can_be_started(source, monkeypatch):
    def refuse(_timer):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Timer, "start", refuse)
    before = POOL.maps
    np.testing.assert_array_equal(source[:, 16:32], NUMBERS[:, 16:32])
    gc.collect()
    assert POOL.maps == before


def test_scattered_frames_are_read_one_by_one_without_budget_for_a_map(custom, in_a_worker_of):
    in_a_worker_of(NUMBERS.nbytes)
    with counted() as count:
        np.testing.assert_array_equal(custom[...], NUMBERS[ORDER])
    assert count.read.bytes_mapped == 0
    assert count.read.bytes_fetched == NUMBERS.nbytes


def test_failed_reads_release_their_budget(tmp_path, in_a_worker_of):
    path = write_mrc(tmp_path / "any.mrc", NUMBERS)
    source = mrcdist.plan_mrc(path).source
    os.utime(path, (1, 1))
    before = POOL.maps, POOL.unused_bytes
    with pytest.raises(mrcdist.FileChangedError):
        source[:, 16:32]
    assert (POOL.maps, POOL.unused_bytes) == before


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc to count files in")
@pytest.mark.parametrize("io", ["map", "auto"])
def test_many_blocks_at_a_time_use_few_file_descriptors(source, io):
    before = open_files()
    with dask.config.set({"mrcdist.io": io}):
        blocks = [source[i] for i in range(600)]
    assert open_files() - before <= (256 if io == "map" else 0)
    for block, expected in zip(blocks, NUMBERS, strict=True):
        np.testing.assert_array_equal(block, expected)
