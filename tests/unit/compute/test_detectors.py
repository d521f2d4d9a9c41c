"""Detectors: their texts, pixels and weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mrcdist.compute.detectors import (
    ArrayFile,
    AutoDisk,
    Mask,
    Ring,
    WholeFrame,
    parse_detector,
)
from mrcdist.errors import ArgumentError


class TestParseDetector:
    @pytest.mark.parametrize(
        ("text", "detector"),
        [
            ("bf", AutoDisk("bf")),
            ("adf", AutoDisk("adf")),
            ("all", WholeFrame()),
            ("circle:3,4.5,2", Ring(3, 4.5, 0, 2)),
            ("annulus:-1, 4,2,6.5", Ring(-1, 4, 2, 6.5)),
            ("masks/half.npy", ArrayFile("masks/half.npy")),
            ("https://host/a.npy?sig=1", ArrayFile("https://host/a.npy?sig=1")),
        ],
    )
    def test_detector_is_parsed_from_text(self, text, detector):
        assert parse_detector(text) == detector

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "df",
            "circle",
            "circle:1,2",
            "circle:1,2,3,4",
            "circle:1,2,x",
            "circle:1,2,0",
            "circle:1,2,-3",
            "circle:1,nan,3",
            "annulus:1,2,3",
            "annulus:1,2,4,3",
            "annulus:1,2,-1,3",
            "square:1,2,3",
        ],
    )
    def test_error_for_an_invalid_detector_has_the_syntax(self, text):
        with pytest.raises(ArgumentError, match=r"annulus:CY,CX,R1,R2"):
            parse_detector(text)

    def test_radius_is_refused_unless_the_bright_disk_is_detected(self):
        assert parse_detector("adf", 3.0) == AutoDisk("adf", 3.0)
        for detector, radius in (("circle:0,0,5", 3.0), ("all", 3.0), ("bf", 0.0)):
            with pytest.raises(ArgumentError, match=f"radius={radius:g}"):
                parse_detector(detector, radius)


shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))
# Multiples of 1/64, so that squares and their sums, and thus pixels on a circle, are exact.
coordinates = st.integers(-3 * 64, 12 * 64).map(lambda n: n / 64)
lengths = st.integers(0, 12 * 64).map(lambda n: n / 64)


class TestDetectors:
    @given(shapes, coordinates, coordinates, lengths, lengths.filter(bool))
    def test_ring_contains_the_pixels_between_two_distances(self, shape, cy, cx, inner, wide):
        ring = Ring(cy, cx, inner, inner + wide)
        y, x = np.indices(shape)
        distance = (y - cy) ** 2 + (x - cx) ** 2
        inside = (ring.inner**2 <= distance) & (distance <= ring.outer**2)
        if not inside.any():
            with pytest.raises(ArgumentError, match="no pixel is inside"):
                ring.window(shape)
            return
        rows, columns = ring.window(shape)
        drawn = np.zeros(shape)
        drawn[rows.start : rows.stop, columns.start : columns.stop] = ring.weights(rows, columns)
        np.testing.assert_array_equal(drawn, inside)
        part = ring.weights(rows[1:], columns[:1])
        np.testing.assert_array_equal(part, inside[rows[1:], columns.start, None])

    def test_pixels_at_the_radii_belong_to_a_ring(self):
        assert Ring(2, 2, 0, 1).weights(range(5), range(5)).sum() == 5
        assert Ring(2, 2, 1, 2).weights(range(5), range(5)).sum() == 12

    @given(shapes.flatmap(lambda s: hnp.arrays("int8", s, elements=st.integers(-2, 2))))
    def test_cropping_a_mask_keeps_its_weights(self, values):
        assume(values.any())
        mask = Mask.of(values, values.shape)
        rows, columns = mask.window(values.shape)
        drawn = np.zeros(values.shape)
        drawn[rows.start : rows.stop, columns.start : columns.stop] = mask.weights(rows, columns)
        np.testing.assert_array_equal(drawn, values)
        assert drawn[rows.start].any()
        assert drawn[:, columns.stop - 1].any()
        assert mask.is_nonnegative == (values.min() >= 0)

    @pytest.mark.parametrize(
        ("mask", "cause"),
        [
            (np.ones((3, 4)), r"shape is \(3, 4\)"),
            (np.zeros((4, 3), bool), "all its pixels are 0"),
            (np.full((4, 3), np.nan), "NaN or infinite"),
            (np.full((4, 3), "x"), "dtype"),
            (np.ones((4, 3), complex), "dtype"),
        ],
    )
    def test_error_for_an_invalid_mask_has_the_cause(self, mask, cause):
        with pytest.raises(ArgumentError, match=cause):
            Mask.of(mask, (4, 3))

    def test_digest_of_a_mask_depends_on_values_and_positions(self):
        values = np.eye(4)
        assert Mask.of(values, (4, 4)).digest == Mask.of(values.copy(), (4, 4)).digest
        assert Mask.of(values, (4, 4)).digest != Mask.of(values[::-1], (4, 4)).digest
        # The same values elsewhere in the frame are another mask.
        assert Mask.of(np.eye(4, k=1), (4, 4)).digest != Mask.of(np.eye(4, k=-1), (4, 4)).digest

    @pytest.mark.parametrize(
        ("weight", "exact"), [(1, True), (127, True), (128, False), (0.5, False)]
    )
    def test_small_integer_weights_keep_sums_exact(self, weight, exact):
        assert Mask.of(np.full((2, 2), weight), (2, 2)).has_integer_weights is exact

    @pytest.mark.parametrize(
        ("cy", "cx", "outside"),
        [
            *((4, 5, False), (2.5, 5, False), (2.4, 5, True), (5.5, 5, False), (5.6, 5, True)),
            *((4, 2.5, False), (4, 2.4, True), (4, 7.5, False), (4, 7.6, True)),
        ],
    )
    def test_ring_that_reaches_outside_the_frame_on_any_side_is_detected(self, cy, cx, outside):
        """A frame of 9 rows and 11 columns, which begin half a pixel before their centres."""
        assert Ring(cy, cx, 0, 3).reaches_outside((9, 11)) == outside
