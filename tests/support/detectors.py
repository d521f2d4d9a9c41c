"""Hypothesis strategy for detectors, and their weights for a whole frame."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mrcdist.compute.detectors import Mask, Ring, WholeFrame


def detectors(shape):
    masks = hnp.arrays("int8", shape, elements=st.integers(-2, 2)).filter(np.any)
    rings = st.builds(
        Ring, st.floats(0, shape[0] - 1), st.floats(0, shape[1] - 1), st.just(0), st.floats(1, 9)
    )
    return st.one_of(st.just(WholeFrame()), masks.map(lambda mask: Mask.of(mask, shape)), rings)


def whole_weights(detector, shape):
    weights = np.zeros(shape)
    rows, columns = detector.window(shape)
    weights[rows.start : rows.stop, columns.start : columns.stop] = detector.weights(rows, columns)
    return weights
