"""Statistics of a file, independent of the blocks from which they are merged."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from mrcdist.write.statistics import merge_statistics, statistics_of

INTEGERS = npst.arrays(
    st.sampled_from(["int8", "uint8", "int16", "uint16"]), npst.array_shapes(max_dims=2)
)


def cut(array, cuts):
    flat = array.ravel()
    edges = sorted({0, flat.size, *(c % flat.size for c in cuts)})
    return [flat[a:b] for a, b in itertools.pairwise(edges)]


class TestMerging:
    @given(INTEGERS, st.lists(st.integers(0, 100), max_size=6))
    def test_statistics_of_integers_are_exact_for_any_blocks(self, array, cuts):
        whole = statistics_of(array).summary()
        merged = merge_statistics(statistics_of(part) for part in cut(array, cuts)).summary()
        assert whole == merged
        values = [int(value) for value in array.ravel()]
        assert whole[:2] == (min(values), max(values))
        assert whole[2] == sum(values) / len(values)

    @given(
        npst.arrays("float32", st.integers(1, 300), elements=st.floats(-1e6, 1e6, width=32)),
        st.lists(st.integers(0, 300), max_size=6),
    )
    def test_statistics_of_floats_equal_those_of_numpy_in_float64(self, array, cuts):
        merged = merge_statistics(statistics_of(part) for part in cut(array, cuts)).summary()
        exact = array.astype(np.float64)
        scale = max(abs(exact).max(), 1e-30)
        assert merged[:2] == (exact.min(), exact.max())
        assert merged[2] == pytest.approx(exact.mean(), rel=1e-12, abs=scale * 1e-12)
        assert merged[3] == pytest.approx(exact.std(), rel=1e-9, abs=scale * 1e-7)

    @given(
        npst.arrays("float32", st.integers(1, 300), elements=st.floats(-1e6, 1e6, width=32)),
        st.lists(st.integers(0, 600), max_size=6),
    )
    def test_mean_of_values_that_cancel_out_is_0_for_any_blocks(self, array, cuts):
        both = np.concatenate([array, -array[::-1]])
        merged = merge_statistics(statistics_of(part) for part in cut(both, cuts)).summary()
        assert merged[2] == 0

    @given(st.lists(st.integers(0, 3000), max_size=6))
    def test_statistics_are_those_of_the_stored_values(self, cuts):
        array = 1e6 + np.random.default_rng(0).normal(size=3000) / 100  # finer than float32
        parts = [statistics_of(part, "float32") for part in cut(array, cuts)]
        exact = array.astype("float32").astype("float64")
        found = merge_statistics(parts).summary()
        assert found == pytest.approx((exact.min(), exact.max(), exact.mean(), exact.std()))
        assert not 0.99 < found[3] / array.std() < 1.01

    def test_statistics_of_many_large_integers_do_not_overflow(self):
        array = np.full(2**22, 65535, "uint16")
        array[0] = 0
        low, high, mean, rms = statistics_of(array).summary()
        n = array.size
        assert (low, high) == (0, 65535)
        assert mean == 65535 * (n - 1) / n
        assert rms == pytest.approx(65535 * math.sqrt((n - 1) / n**2), rel=1e-12)

    def test_nan_makes_statistics_undefined(self):
        parts = [np.ones(3, "float32"), np.array([1, np.nan], "float32")]
        merged = merge_statistics(statistics_of(part) for part in parts).summary()
        assert all(math.isnan(value) for value in merged)

    def test_complex_numbers_have_no_statistics(self):
        assert statistics_of(np.ones(3, "complex64")) is None
        assert statistics_of(np.ones(3), "complex64") is None
