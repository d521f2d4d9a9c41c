"""A forked process starts without memory maps, and with free locks."""

from __future__ import annotations

import multiprocessing
import os

import numpy as np
import pytest

import mrcdist
from mrcdist.read.mmap_pool import POOL
from mrcdist.read.source import MrcSource
from tests.support.mrc_files import counting, write_mrc

NUMBERS = counting((600, 64, 64), "uint16")


@pytest.fixture
def source(tmp_path):
    return mrcdist.plan_mrc(write_mrc(tmp_path / "any.mrc", NUMBERS)).source


@pytest.fixture(autouse=True)
def _no_shared_maps():
    POOL.release_shared()
    yield
    POOL.release_shared()


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="requires os.register_at_fork")
def test_forked_process_starts_without_memory_maps(source):
    before = POOL.maps
    source[:, 16:32]
    assert POOL.maps == before + 1
    child = multiprocessing.get_context("fork").Process(
        target=_read_in_child, args=(source, before)
    )
    with POOL._lock:  # as another thread may hold it during the fork
        child.start()
    child.join()
    assert child.exitcode == 0


def _read_in_child(source: MrcSource, maps: int) -> None:
    assert POOL.maps == maps
    np.testing.assert_array_equal(source[:, 16:32], NUMBERS[:, 16:32])
