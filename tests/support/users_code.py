"""Functions and detectors as users write them, which must be recognised when a job is resumed."""

from __future__ import annotations

from typing import Any

import fsspec
import numpy as np
import numpy.typing as npt

import mrcdist
from mrcdist.compute.one_pass import OnePass
from mrcdist.compute.results import Dataset
from mrcdist.reduce_api import VirtualImage
from tests.support.mrc_files import mrc_bytes

SOURCE = """
FACTOR = 1

def scaled(values):
    return values * FACTOR

def largest(frames):
    if {"a", "b", "c", "d"} >= set():
        return scaled(frames.max(axis=(1, 2)))

def failing(frames):
    if (frames == 77).any():
        raise ValueError("mine")
    return frames.max(axis=(1, 2))
"""

SIDE = 64  # numpy abbreviates arrays of more than 1000 numbers


class Plain:
    """A custom detector with the default repr."""

    def __init__(self, mask: npt.NDArray[Any]) -> None:
        self.mask = mask

    def window(self, shape: tuple[int, int]) -> tuple[range, range]:
        return range(shape[0]), range(shape[1])

    def weights(self, rows: range, columns: range) -> npt.NDArray[np.float64]:
        return self.mask[rows.start : rows.stop, columns.start : columns.stop].astype(np.float64)


def rows_from(top: int) -> npt.NDArray[np.uint8]:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[top : top + 10, 20:30] = 1
    return mask


def described(detector: Any) -> str:
    """Return the detector's description in a pass that computes a virtual image."""
    numbers = np.zeros((4, SIDE, SIDE), np.uint16)
    fsspec.filesystem("memory").pipe("/one-pass/stack.mrc", mrc_bytes(numbers))
    source = mrcdist.plan_mrc("memory://one-pass/stack.mrc").source
    return OnePass(Dataset(source, (), ((4,),)), {"v": VirtualImage(detector)}).description()[
        "detector"
    ]
