"""Tilt series: their axis, and the order of their sections."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcdist.plan.tilt_series import TiltSeries


def axis_of(*angles):
    return TiltSeries.of(angles, "a.tlt").axis()


class TestAxis:
    @pytest.mark.parametrize("noise", [0.0, 0.009])
    def test_even_angles_give_a_uniform_axis(self, noise):
        axis = axis_of(-4, -2 + noise, 0, 2)
        assert (axis.name, axis.size, axis.units) == ("tilt", 4, "deg")
        assert (axis.scale, axis.offset, axis.values) == (2.0, -4.0, None)

    def test_uneven_angles_give_positions(self):
        axis = axis_of(-4, -2.1, 0, 2)
        assert axis.values == (-4.0, -2.1, 0.0, 2.0)
        assert axis.monotonic

    @pytest.mark.parametrize(
        "angles", [(0, 3, -3, 6, -6), (0, 3, 6, -3, -6), (-3, -3, 0, 0, 3, 3), (5, 5)]
    )
    def test_angles_that_go_up_and_down_give_positions_that_are_not_monotonic(self, angles):
        axis = axis_of(*angles)
        assert axis.values == angles
        assert not axis.monotonic

    def test_falling_angles_are_monotonic(self):
        assert axis_of(6, 3, -1).monotonic


class TestOrder:
    @given(st.lists(st.sampled_from([-6.0, -3.0, 0.0, 3.0, 6.0]), min_size=1, max_size=20))
    def test_sorting_equals_numpys_stable_sort(self, angles):
        series = TiltSeries.of(angles, "a.tlt").by_tilt()
        order = np.argsort(angles, kind="stable")
        np.testing.assert_array_equal(series.sections, order)
        np.testing.assert_array_equal(series.angles, np.sort(angles))
        in_order = (order == np.arange(len(angles))).all()
        if in_order:
            assert series.table is None
        else:
            np.testing.assert_array_equal(series.table, order)

    def test_first_sections_are_in_file_order(self):
        series = TiltSeries.of((0, 3, -3, 6), "a.tlt").first(3)
        assert (series.angles, series.sections) == ((0.0, 3.0, -3.0), (0, 1, 2))
        assert series.by_tilt().sections == (2, 0, 1)
