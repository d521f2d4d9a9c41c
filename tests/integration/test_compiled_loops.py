"""Compiled loops give the same results as numpy: exact sums, in tiles of any size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mrcdist.compute.detectors import Mask, Ring, WholeFrame
from mrcdist.compute.reduce_block import reduce_block
from mrcdist.compute.reductions import FrameMaximum, FrameSquares, FrameSum, PixelSums, compiled
from tests.support.detectors import detectors, whole_weights

INTEGERS = ["int8", "uint8", "int16", "uint16"]


shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))


def pixel_sums(detector, shape, *, moments):
    return PixelSums(shape, detector, moments=moments)


def reduced(reduction, frames):
    """Return the result of numpy; check that of compiled loops, in tiles of several sizes."""
    [expected] = reduce_block(frames, reduction.window, [reduction], compile_loops=False)
    for tile_bytes in (1, 8 * frames.itemsize, 2**20):
        for compile_loops in (False, True):
            [got] = reduce_block(
                frames,
                reduction.window,
                [reduction],
                compile_loops=compile_loops,
                tile_bytes=tile_bytes,
            )
            assert got.dtype == expected.dtype
            if got.dtype.kind == "f":
                largest = np.abs(frames.astype(float)[np.isfinite(frames)]).max(initial=0)
                np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-9 * largest)
            else:
                np.testing.assert_array_equal(got, expected)
    return expected


@st.composite
def blocks_and_detectors(draw, dtypes):
    shape = draw(shapes)
    frames = draw(hnp.arrays(draw(st.sampled_from(dtypes)), (draw(st.integers(1, 5)), *shape)))
    return frames, draw(detectors(shape))


def cropped(frames, reduction):
    rows, columns = reduction.window
    return frames[:, rows.start : rows.stop, columns.start : columns.stop]


class TestReductions:
    @given(blocks_and_detectors(INTEGERS))
    def test_sums_and_moments_of_integers_are_exact(self, case):
        frames, detector = case
        shape = frames.shape[1:]
        reduction = pixel_sums(detector, shape, moments=True)
        got = reduced(reduction, cropped(frames, reduction))
        weighted = frames.astype(object) * whole_weights(detector, shape).astype(int).astype(object)
        y, x = np.indices(shape)
        expected = [(weighted * factor).sum(axis=(1, 2)) for factor in (1, y, x)]
        assert got.dtype == np.int64
        assert got.T.tolist() == [list(values) for values in expected]
        sums_only = pixel_sums(detector, shape, moments=False)
        np.testing.assert_array_equal(reduced(sums_only, cropped(frames, sums_only)), got[:, :1])

    @given(blocks_and_detectors(["float32", "float16"]))
    def test_sums_of_floats_are_float64(self, case):
        frames, detector = case
        assume(np.isfinite(frames).all())
        reduction = pixel_sums(detector, frames.shape[1:], moments=False)
        got = reduced(reduction, cropped(frames, reduction))
        assert got.dtype == np.float64
        terms = frames.astype(float) * whole_weights(detector, frames.shape[1:])
        tolerance = 1e-12 * np.abs(terms).sum(axis=(1, 2))
        assert (np.abs(got[:, 0] - terms.sum(axis=(1, 2))) <= tolerance).all()

    def test_fractional_weights_give_float64(self):
        mask = Mask.of(np.array([[0.5, 0], [0, 0.25]]), (2, 2))
        frames = np.array([[[2, 100], [100, 4]]], "uint16")
        got = reduced(pixel_sums(mask, (2, 2), moments=False), frames)
        assert (got.dtype, got.tolist()) == (np.float64, [[2.0]])

    def test_pixels_outside_the_detector_have_no_influence(self):
        frames = np.full((2, 5, 5), np.nan, "float32")
        frames[:, 2, 1:4] = 1
        frames[:, 1:4, 2] = 1
        frames[0, 1, 1] = np.inf
        ring = Ring(2, 2, 0, 1)
        reduction = pixel_sums(ring, (5, 5), moments=True)
        assert reduced(reduction, cropped(frames, reduction)).tolist() == [[5, 10, 10]] * 2

    def test_reducing_does_not_modify_the_frames(self):
        frames = np.full((2, 5, 5), np.nan)
        frames.flags.writeable = False
        ring = Ring(2, 2, 0, 1)
        reduced(pixel_sums(ring, (5, 5), moments=True), frames[:, 1:4, 1:4])
        assert np.isnan(frames).all()

    @given(blocks_and_detectors([*INTEGERS, "float32"]))
    def test_frame_sums_have_wide_dtypes_and_equal_numpy(self, case):
        frames, _ = case
        assume(np.isfinite(frames).all())
        reduction = FrameSum(frames.shape[1:])
        parts = [reduced(reduction, frames[:1]), reduced(reduction, frames[1:])]
        got = reduction.join(parts)
        wide = {"u": "uint64", "i": "int64", "f": "float64"}[frames.dtype.kind]
        assert got.dtype == wide
        # A float64 sum in another order may differ in the last bit.
        first, others = (part.sum(axis=0, dtype=wide) for part in (frames[:1], frames[1:]))
        np.testing.assert_array_equal(got, first + others)


def test_numba_is_installed():
    """Without numba, the compiled loops would not be tested."""
    assert compiled is not None


def test_sums_and_moments_of_the_largest_values_are_exact():
    shape = (700, 1000)
    frames = np.full((2, *shape), 65535, "uint16")
    frames[1, 0, 0] -= 1
    mask = Mask.of(np.full(shape, 127), shape)
    got = reduced(PixelSums(shape, mask, moments=True), frames)
    n, rows, columns = shape[0] * shape[1], sum(range(700)) * 1000, sum(range(1000)) * 700
    assert got.tolist()[0] == [65535 * 127 * n, 65535 * 127 * rows, 65535 * 127 * columns]
    assert got.tolist()[1] == [65535 * 127 * n - 127, *got.tolist()[0][1:]]


@given(blocks_and_detectors(INTEGERS), st.lists(st.booleans(), min_size=5, max_size=5))
def test_fused_sums_equal_those_of_numpy(case, present):
    """At the largest values, with several detectors, with a maximum, and with missing frames."""
    frames, detector = case
    frames[0] = np.iinfo(frames.dtype).max
    shape = frames.shape[1:]
    whole = (range(shape[0]), range(shape[1]))
    present_mask = np.array(present[: len(frames)])
    wanted = [
        pixel_sums(detector, shape, moments=True),
        pixel_sums(WholeFrame(), shape, moments=False),
        FrameSum(shape),
        FrameMaximum(shape),
    ]
    for some in (wanted, wanted[:3]):
        expected, got = (
            reduce_block(frames, whole, some, present_mask, compile_loops=compile_loops)
            for compile_loops in (False, True)
        )
        for one, other in zip(expected, got, strict=True):
            np.testing.assert_array_equal(one, other, strict=True)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("shape", [(40, 50), (60, 300), (70_000, 2)])
def test_sums_of_large_detectors_are_exact(dtype, shape):
    limits = np.iinfo(dtype)
    frames = np.random.default_rng(1).integers(limits.min, limits.max, (4, *shape), dtype, True)
    frames[0], frames[1] = limits.max, limits.min
    y, x = np.indices(shape)
    for detector in (WholeFrame(), Ring(20, 20, 3, 19), Ring(shape[0] / 2, 1, 0, shape[0])):
        inside = whole_weights(detector, shape) == 1
        pixels = frames.astype(np.int64) * inside
        expected = np.array([(pixels * at).sum(axis=(1, 2)) for at in (1, y, x)])
        for moments in (True, False):
            reduction = pixel_sums(detector, shape, moments=moments)
            for compile_loops in (True, False):
                [got] = reduce_block(
                    cropped(frames, reduction),
                    reduction.window,
                    [reduction],
                    compile_loops=compile_loops,
                )
                np.testing.assert_array_equal(got.T, expected[: got.shape[1]])


@pytest.mark.parametrize("dtype", [*INTEGERS, "float32"])
@pytest.mark.parametrize("shape", [(40, 50), (3, 5000)])
def test_sums_of_many_frames_are_exact(dtype, shape):
    frames = np.random.default_rng(1).integers(0, 127, (41, *shape)).astype(dtype)
    if dtype != "float32":
        frames[:30] = np.iinfo(dtype).max
        frames[30:35] = np.iinfo(dtype).min
    wide = frames.astype(np.float64 if dtype == "float32" else np.int64)
    for reduction, expected in (
        (FrameSum(shape), wide.sum(axis=0)),
        (FrameSquares(shape), (wide**2).sum(axis=0)),
        (FrameMaximum(shape), frames.max(axis=0)),
    ):
        np.testing.assert_array_equal(reduced(reduction, frames), expected)


def test_sums_of_more_frames_than_fit_into_32_bits_are_exact():
    frames = np.full((70_000, 1, 3), 65535, "uint16")
    window = range(1), range(3)
    [total] = reduce_block(frames, window, [FrameSum((1, 3))])
    assert total.tolist() == [[70_000 * 65535] * 3]
    negative = np.full((70_000, 1, 3), -32768, "int16")
    [total] = reduce_block(negative, window, [FrameSum((1, 3))])
    assert total.tolist() == [[70_000 * -32768] * 3]


@pytest.mark.parametrize(("dtype", "value"), [("uint16", 65535), ("int16", -32768)])
def test_moments_of_wide_frames_do_not_overflow(dtype, value):
    shape = (2, 70_000)
    frames = np.full((1, *shape), value, dtype)
    got = reduced(pixel_sums(WholeFrame(), shape, moments=True), frames)
    n, along = shape[0] * shape[1], shape[0] * sum(range(shape[1]))
    assert got.tolist() == [[value * n, value * shape[1], value * along]]
    sums_only = reduced(pixel_sums(WholeFrame(), shape, moments=False), frames)
    assert sums_only.tolist() == [[value * n]]
