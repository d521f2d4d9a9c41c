"""A pass goes on only with the version of a function with which it began."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from dask.tokenize import tokenize

from mrcdist.compute.function_digest import function_digest
from mrcdist.errors import ArgumentError
from mrcdist.reduce_api import FrameReduction, reduce_frames
from tests.support.mrc_files import mrc_bytes
from tests.support.users_code import SOURCE

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


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("max(axis=(1, 2)))", "min(axis=(1, 2)))"),
        ("values * FACTOR", "values + FACTOR"),
        ("FACTOR = 1", "FACTOR = 2"),
        ('"c", "d"', '"c", "e"'),
    ],
)
def test_changed_functions_have_other_tokens(module: Module, old: str, new: str) -> None:
    before = tokenize(FrameReduction(module(SOURCE).largest))
    assert tokenize(FrameReduction(module(SOURCE).largest)) == before
    assert tokenize(FrameReduction(module(SOURCE.replace(old, new)).largest)) != before


def wrapped(function: Callable[..., object]) -> Callable[..., object]:
    return lambda frames: function(frames)


def called(frames: object, function: Callable[..., object]) -> object:
    return function(frames)


@pytest.mark.parametrize(
    "made_with",
    [
        wrapped,
        lambda function: functools.partial(called, function=function),
        lambda function: lambda frames, how=function: how(frames),
    ],
    ids=["closure", "partial", "default"],
)
def test_functions_of_other_modules_that_one_was_made_with_are_covered(
    module: Module, made_with: Callable[..., object]
) -> None:
    before = function_digest(made_with(module(SOURCE).largest))
    assert function_digest(made_with(module(SOURCE).largest)) == before
    changed = module(SOURCE.replace("max(axis=(1, 2)))", "min(axis=(1, 2)))"))
    assert function_digest(made_with(changed.largest)) != before


CALLABLES = """
import functools

class Scale:
    factor = 2

    def __call__(self, frames):
        return frames.max(axis=(1, 2)) * self.factor

    def method(self, frames):
        return frames.max(axis=(1, 2))

def compiled():
    import numba
    return numba.njit(lambda frames: frames.max())

def calling_itself():
    def count(frames):
        return later(frames) if len(frames) else frames.max()
    if False:
        later = None
    return count

def with_a_lambda(frames):
    return (lambda each: each.max())(frames)
"""


@pytest.mark.parametrize(
    "of",
    [
        lambda module: module.Scale(),
        lambda module: module.Scale().method,
        lambda module: module.compiled(),
        lambda module: module.calling_itself(),
        lambda module: module.with_a_lambda,
    ],
    ids=["object", "method", "numba", "not assigned yet", "lambda inside"],
)
def test_whatever_is_called_is_covered(module: Module, of: Callable[[ModuleType], object]) -> None:
    before = function_digest(of(module(CALLABLES)))
    assert function_digest(of(module("# moved\n" + CALLABLES))) == before
    assert function_digest(of(module(CALLABLES.replace(".max(", ".min(")))) != before


def test_changes_elsewhere_in_a_module_leave_the_token(module: Module) -> None:
    before = tokenize(FrameReduction(module(SOURCE).largest))
    changed = "# a comment\n" + SOURCE.replace("77", "78")
    assert tokenize(FrameReduction(module(changed).largest)) == before


def test_parts_of_another_version_of_a_function_are_not_used(
    module: Module, tmp_path: Path
) -> None:
    frames = np.arange(12 * 16, dtype=np.int16).reshape(12, 4, 4) % 7
    frames[11] = 77
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc_bytes(frames))
    options = {"chunks": (1, -1, -1), "resume": tmp_path / "kept", "progress": False}
    mine = FrameReduction(module(SOURCE).failing, shape=(), dtype="int16")
    with pytest.raises(ValueError, match="mine"):
        reduce_frames(path, {"mine": mine}, **options)
    assert list((tmp_path / "kept").glob("part-*.npz"))
    changed = SOURCE.replace("return frames.max", "return frames.min").replace("77", "78")
    mine = FrameReduction(module(changed).failing, shape=(), dtype="int16")
    with pytest.raises(ArgumentError) as error:
        reduce_frames(path, {"mine": mine}, **options)
    assert (error.value.code, error.value.argument) == ("job-differs", "resume")
