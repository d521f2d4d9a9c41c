"""Outer indexing equals numpy, and skips gaps that cost more than another request."""

from __future__ import annotations

import random

import dask
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mrcdist
from mrcdist.read.outer_indexing import read_outer, take_outer
from tests.support.counted import counted
from tests.support.examples import examples
from tests.support.mrc_files import counting, mrc_bytes, write_mrc

NUMBERS = counting((6, 20, 12), "uint16")
ROW_BYTES = 24
SHAPE = (2, 3, 20, 12)


@pytest.fixture(scope="module", params=["local", "remote"])
def source(request, memory_file, tmp_path_factory):
    if request.param == "local":
        url = write_mrc(tmp_path_factory.mktemp("outer") / "any.mrc", NUMBERS)
    else:
        url = memory_file(mrc_bytes(NUMBERS))
    return mrcdist.plan_mrc(url, navigation_shape=(3, 2)).source


def any_part(rng, size):
    kind = rng.randrange(3)
    if kind == 0:
        return rng.randrange(-size, size)
    if kind == 1:
        return np.array([rng.randrange(-size, size) for _ in range(rng.randint(0, 5))], int)
    step = rng.choice((1, 2, 7, -1, -2, -7))
    return slice(rng.randrange(-size, size), rng.randrange(-size, size), step)


@given(seed=st.integers(0, 2**32), max_gap=st.sampled_from([0, ROW_BYTES, 5 * ROW_BYTES, "auto"]))
@examples(150)
def test_any_outer_index_equals_numpy(source, seed, max_gap):
    rng = random.Random(seed)
    index = tuple(any_part(rng, size) for size in SHAPE)
    with dask.config.set({"mrcdist.max-gap": max_gap}):
        block = read_outer(source, index)
    np.testing.assert_array_equal(block, take_outer(NUMBERS.reshape(SHAPE), index))


@pytest.mark.parametrize(
    ("rows", "max_gap", "requests"),
    [
        ([3, 9, 9, 4], 4 * ROW_BYTES, 1),
        ([3, 9, 9, 4], 4 * ROW_BYTES - 1, 2),
        ([19, 0, 10], 0, 3),
        (slice(0, None, 5), 4 * ROW_BYTES, 1),
        (slice(0, None, 5), 4 * ROW_BYTES - 1, 4),
        (slice(None, None, -5), 4 * ROW_BYTES - 1, 4),
    ],
)
def test_gaps_between_rows_are_read_up_to_the_largest_gap(memory_file, rows, max_gap, requests):
    source = mrcdist.plan_mrc(memory_file(mrc_bytes(NUMBERS))).source
    rows = np.array(rows) if isinstance(rows, list) else rows
    with dask.config.set({"mrcdist.max-gap": max_gap}), counted() as count:
        block = read_outer(source, (4, rows, slice(None)))
    np.testing.assert_array_equal(block, NUMBERS[4, rows])
    assert count.read.requests == requests
    assert count.read.blocks == 1


def test_cost_of_distant_rows_is_that_of_reading_them(memory_file):
    source = mrcdist.plan_mrc(memory_file(mrc_bytes(NUMBERS))).source
    box = (range(2, 5), range(1, 20, 9), range(12))
    with dask.config.set({"mrcdist.max-gap": 0}), counted() as count:
        cost = source.cost(box, mrcdist.config.read_settings())
        source[2:5, 1::9]
    assert (count.read.requests, count.read.bytes_fetched) == (cost.requests, cost.nbytes)
    assert count.read.requests == 9


def test_evenly_spaced_rows_of_a_mapped_file_are_one_view(tmp_path):
    source = mrcdist.plan_mrc(write_mrc(tmp_path / "any.mrc", NUMBERS)).source
    with dask.config.set({"mrcdist.io": "map", "mrcdist.max-gap": 0}), counted() as count:
        block = source[:, ::9]
    np.testing.assert_array_equal(block, NUMBERS[:, ::9])
    assert count.read.requests == 0
    assert block.base is not None
