"""The words of the main header with RosettaSciIO's names, and the header that they describe."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from mrcdist.format.header import parse_header
from mrcdist.format.std_header import header_of, std_header
from tests.support.mrc_files import header_bytes

NUMPY = {"NX": np.uint32(5), "NY": np.uint32(4), "NZ": np.uint32(3)}


@pytest.fixture(scope="module")
def header():
    raw = header_bytes(nx=5, ny=4, nz=3, mode=6, cell=(10.0, 12.0, 9.0), mapcrs=(2, 1, 3))
    return parse_header(raw, file_size=None)


def test_words_describe_the_same_header_after_a_round_trip_through_json(header):
    copy = header_of(json.loads(json.dumps(std_header(header))))
    raw = {"raw": b"", "labels": (), "notes": ()}
    assert replace(copy, **raw) == replace(header, **raw)
    assert [copy.pixel_size(axis) for axis in range(3)] == pytest.approx([3.0, 2.0, 3.0])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [None, "2", math.nan, math.inf, 1e300, 2**200, [1], {}])
def test_words_that_a_header_cannot_store_count_as_zero(header, value):
    copy = header_of({**std_header(header), "NXSTART": value, "XORIGIN": value})
    assert copy.start == (0, 0, 0)
    assert copy.shape == (5, 4, 3)
    assert copy.stored_origin == (0, 0, 0)


@pytest.mark.parametrize("value", [2**31, np.int64(-(2**63))])
def test_integers_of_more_than_32_bits_count_as_zero(header, value):
    assert header_of({**std_header(header), "NXSTART": value}).start == (0, 0, 0)


def test_words_as_large_as_the_header_can_store_are_kept(header):
    large = {"Xlen": 1e30, "XORIGIN": -3e38, "NXSTART": 2**31 - 1}
    copy = header_of({**std_header(header), **large})
    assert copy.cell[0] == pytest.approx(1e30)
    assert copy.stored_origin[0] == pytest.approx(-3e38)
    assert copy.start[0] == 2**31 - 1


@pytest.mark.parametrize("words", [None, {}, [], "NX", {"NX": -1, "NY": 4}, {"NX": None}, NUMPY])
def test_metadata_that_are_not_words_of_a_header_describe_none(words):
    assert header_of(words) is None
