"""A process that is forked begins without memory maps, and locks are free."""

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
def _no_map_is_left():
    POOL.let_go()
    yield
    POOL.let_go()


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="there is no fork")
def test_a_forked_process_begins_without_maps(source):
    before = POOL.maps
    source[:, 16:32]
    assert POOL.maps == before + 1
    POOL._lock.acquire()  # as another thread may hold it just then
    try:
        child = multiprocessing.get_context("fork").Process(
            target=_read_in_child, args=(source, before)
        )
        child.start()
    finally:
        POOL._lock.release()
    child.join()
    assert child.exitcode == 0


def _read_in_child(source: MrcSource, maps: int) -> None:
    assert POOL.maps == maps
    np.testing.assert_array_equal(source[:, 16:32], NUMBERS[:, 16:32])
