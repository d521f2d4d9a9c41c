"""Compressed streams: their first bytes, their length, and pieces of the length in the limits."""

from __future__ import annotations

import bz2
import gzip

import numpy as np
import pytest

from mrcdist.errors import TruncatedFileError
from mrcdist.read.compressed import StreamReader
from mrcdist.read_limits import ReadLimits
from mrcdist.storage.location import Location
from mrcdist.storage.stored_file import StoredFile

PLAIN = np.random.default_rng(0).integers(0, 4, 30_000, np.uint8).tobytes()
PACK = {"gzip": lambda raw: gzip.compress(raw, mtime=0), "bzip2": bz2.compress}


@pytest.fixture(params=PACK)
def reader_of(request, memory_file):
    def open_packed(cut=0, **limits):
        packed = PACK[request.param](PLAIN)
        location = Location(memory_file(packed[: len(packed) - cut]))
        file = StoredFile(location, location.find_version())
        return StreamReader(file, request.param, ReadLimits(**limits))

    return open_packed


@pytest.mark.parametrize("limits", [{}, {"stream_piece": 100, "stream_input": 7}])
def test_bytes_are_the_same_in_pieces_of_any_length(reader_of, limits):
    reader = reader_of(**limits)
    assert reader.head(1000) == PLAIN[:1000]
    assert reader.size() == len(PLAIN)
    ranges = [(3, 5000), (5000, 5001), (29_000, 30_000)]
    views = [view.tobytes() for view in reader.can.views(ranges)]
    assert views == [PLAIN[start:stop] for start, stop in ranges]


def test_stream_holds_all_its_bytes_and_no_more(reader_of):
    assert reader_of().holds(len(PLAIN))
    assert not reader_of().holds(len(PLAIN) + 1)


def test_truncated_stream_holds_its_start_only(reader_of):
    reader = reader_of(cut=12)
    assert not reader.holds(len(PLAIN) + 1)
    with pytest.raises(TruncatedFileError):
        reader.size()


def test_memory_held_is_that_of_two_pieces(reader_of):
    assert reader_of(stream_piece=100).can.cost(0, 10).held == 200
