"""What identifies a job is the same in all processes."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import fsspec
import numpy as np
import numpy.typing as npt
import pytest

import mrcdist
from mrcdist.compute.one_pass import OnePass
from mrcdist.compute.results import Dataset
from mrcdist.reduce_api import VirtualImage
from tests.support.mrc_files import mrc_bytes

SIDE = 64  # numpy shows arrays of more than 1000 numbers with an ellipsis


class Plain:
    """A detector of a user's own, with the text that Python gives to objects."""

    has_integer_weights = True
    is_nonnegative = True

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
    """What a pass for a virtual image says of the detector."""
    numbers = np.zeros((4, SIDE, SIDE), np.uint16)
    fsspec.filesystem("memory").pipe("/one-pass/stack.mrc", mrc_bytes(numbers))
    source = mrcdist.plan_mrc("memory://one-pass/stack.mrc").source
    data = Dataset(source.layout, (), ((4,),), None)
    return OnePass(source, data, {"v": VirtualImage(detector)}).description()["detector"]


def test_detector_of_a_users_own_has_one_description_in_all_processes() -> None:
    code = (
        "from tests.unit.compute.test_one_pass import Plain, described, rows_from; "
        "print(described(Plain(rows_from(20))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == described(Plain(rows_from(20)))


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


Module = Callable[[str], ModuleType]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Module]:
    """Import a module that a user changes."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def imported(source: str) -> ModuleType:
        (tmp_path / "module_of_a_user.py").write_text(source)
        sys.modules.pop("module_of_a_user", None)
        importlib.invalidate_caches()
        return importlib.import_module("module_of_a_user")

    yield imported
    sys.modules.pop("module_of_a_user", None)


def test_digests_are_the_same_in_every_process(module: Module, tmp_path: Path) -> None:
    module(SOURCE)
    program = (
        "from mrcdist.compute.function_digest import function_digest; import module_of_a_user; "
        "print(function_digest(module_of_a_user.largest))"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1
