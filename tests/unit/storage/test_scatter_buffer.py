"""Bytes that arrive in pieces of any length are scattered to their places in memory."""

from __future__ import annotations

import dataclasses

import dask
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcdist import plan_mrc
from mrcdist.storage.retry import Transient
from mrcdist.storage.scatter_buffer import ScatterBuffer
from tests.support.mrc_files import mrc_bytes

STRETCH = bytes(range(1, 101))


@st.composite
def targets(draw):
    """A buffer for `STRETCH`, its memory, and which bytes of the stretch belong there."""
    ends = sorted({*draw(st.lists(st.integers(1, 99), max_size=6)), 100})
    memory = np.zeros(100, np.uint8)
    expected = np.zeros(100, np.uint8)
    segments = []
    for start, stop in zip([0, *ends[:-1]], ends, strict=True):
        wanted = draw(st.booleans())
        segments.append((stop - start, memory[start:stop] if wanted else None))
        if wanted:
            expected[start:stop] = np.frombuffer(STRETCH[start:stop], np.uint8)
    return ScatterBuffer(segments), memory, expected


def store(target: ScatterBuffer, raw: bytes, pieces: list[int]) -> None:
    target.restart()
    for start, stop in zip([0, *pieces], [*pieces, len(raw)], strict=True):
        target.store(raw[start:stop])


@given(targets(), st.lists(st.integers(0, 100), max_size=5).map(sorted))
def test_only_the_wanted_bytes_are_stored(made, pieces):
    target, memory, expected = made
    store(target, STRETCH, pieces)
    target.require_all()
    np.testing.assert_array_equal(memory, expected)


@given(targets(), st.integers(0, 99))
def test_parts_of_a_buffer_fill_the_same_memory(made, cut):
    target, memory, expected = made
    for start, stop in ((0, cut), (cut, 100)):
        if start < stop:
            part = target.part(start, stop)
            assert part.size == stop - start
            store(part, STRETCH[start:stop], [])
            part.require_all()
    np.testing.assert_array_equal(memory, expected)


@given(targets(), st.integers(0, 99))
def test_restarted_buffer_starts_at_the_first_byte(made, failed_after):
    target, memory, expected = made
    store(target, bytes(failed_after), [])
    store(target, STRETCH, [])
    np.testing.assert_array_equal(memory, expected)


def test_more_or_fewer_bytes_than_requested_are_refused():
    target = ScatterBuffer([(100, np.zeros(100, np.uint8))])
    store(target, STRETCH[:99], [])
    with pytest.raises(Transient, match="ended after 99 of 100 bytes"):
        target.require_all()
    with pytest.raises(Transient, match="more than the 100 bytes"):
        store(target, STRETCH + b"1", [])


class TestFramesInAnyOrder:
    """The bytes of a store are fetched directly to their places in the block."""

    NUMBERS = np.arange(40 * 3 * 5, dtype=np.uint16).reshape(40, 3, 5)

    @given(
        table=st.lists(st.integers(-1, 39), min_size=12, max_size=12),
        byteorder=st.sampled_from("<>"),
        max_gap=st.sampled_from([0, 60, 10_000]),
        data=st.data(),
    )
    def test_frames_in_any_order_equal_numpy(self, memory_file, table, byteorder, max_gap, data):
        rows = data.draw(st.sampled_from([slice(None), slice(1, 3), slice(None, None, -1)]))
        plan = plan_mrc(memory_file(mrc_bytes(self.NUMBERS, byteorder=byteorder)))
        layout = dataclasses.replace(plan.layout, navigation_shape=(3, 4))
        source = dataclasses.replace(
            plan.source, layout=layout, table=np.array(table, np.int32).reshape(3, 4)
        )
        expected = np.stack([self.NUMBERS[i] if i >= 0 else 0 * self.NUMBERS[0] for i in table])
        with dask.config.set({"mrcdist.max-gap": max_gap, "mrcdist.sub-range": 70}):
            found = source[:, :, rows]
        np.testing.assert_array_equal(found, expected.reshape(3, 4, 3, 5)[:, :, rows])
        assert found.dtype == np.uint16
        assert not found.flags.writeable
