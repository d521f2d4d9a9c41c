"""Custom detectors, and their descriptions, which must differ if their results do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
import numpy.typing as npt
import pytest

from mrcdist.compute.detectors import Ring
from mrcdist.reduce_api import VirtualImage, reduce_frames
from tests.support.mrc_files import mrc_bytes
from tests.support.users_code import SIDE, Plain, described, rows_from


@dataclass(frozen=True, eq=False)
class Described(Plain):
    """A detector whose repr contains its fields."""

    mask: npt.NDArray[Any]


class Masked(Ring):
    """A circle with a mask, which is not in the `repr` that it inherits."""

    def __init__(self, mask: npt.NDArray[Any]) -> None:
        super().__init__(SIDE / 2, SIDE / 2, 0.0, float(SIDE))
        object.__setattr__(self, "mask", mask)

    def weights(self, rows: range, columns: range) -> npt.NDArray[np.float64]:
        mask = self.__dict__["mask"][rows.start : rows.stop, columns.start : columns.stop]
        return np.asarray(super().weights(rows, columns) * mask)


def test_custom_detector_needs_only_a_window_and_weights() -> None:
    frames = np.random.default_rng(6).integers(0, 99, (4, SIDE, SIDE), np.uint16)
    fsspec.filesystem("memory").pipe("/one-pass/custom.mrc", mrc_bytes(frames))
    mask = rows_from(20)
    found = reduce_frames(
        "memory://one-pass/custom.mrc", {"v": VirtualImage(Plain(mask))}, progress=False
    )
    expected = (frames * mask).sum(axis=(1, 2), dtype=np.uint64)
    np.testing.assert_array_equal(found["v"].values, expected, strict=True)


@pytest.mark.parametrize("kind", [Plain, Described, Masked])
def test_description_of_a_custom_detector_depends_on_its_weights(kind: Any) -> None:
    first = described(kind(rows_from(20)))
    assert first == described(kind(rows_from(20)))
    assert first != described(kind(rows_from(30)))
