"""Description of a pass: its values are never mistaken for those of another pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import pytest

from tests.support.users_code import Plain, described, rows_from


@dataclass(frozen=True, eq=False)
class Described(Plain):
    """A detector whose repr contains its fields."""

    mask: npt.NDArray[Any]


@pytest.mark.parametrize("kind", [Plain, Described])
def test_custom_detectors_are_described_by_their_weights(kind: Any) -> None:
    first = described(kind(rows_from(20)))
    assert first == described(kind(rows_from(20)))
    assert first != described(kind(rows_from(30)))
