"""Blocks are read-only, whatever their size and store; arrays of the caller are writable."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from mrcdist import plan_mrc, read_mrc
from tests.support.mrc_files import counting, mrc_bytes

NUMBERS = counting((8, 512, 512), "uint16")


@pytest.fixture(params=["disk", "memory", "gzip", "big-endian"])
def url(request, tmp_path, memory_file):
    order = ">" if request.param == "big-endian" else "<"
    content = mrc_bytes(NUMBERS, byteorder=order)
    if request.param == "memory":
        return memory_file(content)
    path = tmp_path / "a.mrc"
    path.write_bytes(gzip.compress(content, 1, mtime=0) if request.param == "gzip" else content)
    return str(path)


pytestmark = pytest.mark.filterwarnings("ignore:.*whole file is compressed")


def subtract_one(block):
    block -= 1
    return block


@pytest.mark.parametrize("chunks", [(1, 512, 512), (4, 512, 512), (4, 32, 32)])
def test_blocks_are_read_only(url, chunks):
    data = read_mrc(url, chunks=chunks)[0]["data"]
    with pytest.raises(ValueError, match="read-only"):
        data.map_blocks(subtract_one, dtype="u2").compute(scheduler="sync")


@pytest.mark.parametrize("index", [np.s_[:], np.s_[0], np.s_[:, 3], np.s_[::2, ::-1], np.s_[8:]])
def test_selected_blocks_are_read_only(url, index):
    assert not plan_mrc(url).source[index].flags.writeable


def test_copies_of_blocks_are_writable(url):
    data = read_mrc(url)[0]["data"].map_blocks(np.array)
    changed = data.map_blocks(subtract_one, dtype="u2").compute(scheduler="sync")
    np.testing.assert_array_equal(changed, NUMBERS - 1)


@pytest.mark.parametrize("distributed", [True, False])
@pytest.mark.parametrize("chunks", ["auto", (1, -1, -1)])
def test_arrays_read_eagerly_are_writable(url, distributed, chunks):
    data = read_mrc(url, lazy=False, distributed=distributed, chunks=chunks)[0]["data"]
    data -= 1
    np.testing.assert_array_equal(data, NUMBERS - 1)
    again = read_mrc(url, lazy=False, distributed=distributed, chunks=chunks)[0]["data"]
    np.testing.assert_array_equal(again, NUMBERS)
