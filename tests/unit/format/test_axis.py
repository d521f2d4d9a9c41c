"""Properties of one axis of the array."""

from __future__ import annotations

import ast
import math

import pytest

from mrcdist.format.axis import Axis
from tests.support.package_code import package_trees


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("positions", "monotonic"),
    [
        ((0.0, 1.0, math.inf), True),
        ((1e308, -1e308), True),
        ((math.inf, math.inf), False),
        ((0.0, math.nan, 1.0), False),
        ((3.0,), True),
        ((), True),
    ],
)
def test_extreme_positions_are_compared_without_a_warning(positions, monotonic):
    axis = Axis("tilt", len(positions), navigate=True, values=positions)
    assert axis.monotonic is monotonic


def test_no_other_class_describes_an_axis():
    classes = {
        node.name
        for tree in package_trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    assert {name for name in classes if name.endswith(("Axis", "Axes"))} == {"Axis"}
