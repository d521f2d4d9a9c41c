"""Digests of functions, so that a pass is resumed only with the same version of a function."""

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
    """Import different versions of a user's module."""
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
def test_token_changes_with_the_code_and_constants_of_a_function(
    module: Module, old: str, new: str
) -> None:
    before = tokenize(FrameReduction(module(SOURCE).largest))
    assert tokenize(FrameReduction(module(SOURCE).largest)) == before
    assert tokenize(FrameReduction(module(SOURCE.replace(old, new)).largest)) != before


def wrapped(function: Callable[..., object]) -> Callable[..., object]:
    return lambda frames: function(frames)


def called(frames: object, function: Callable[..., object]) -> object:
    return function(frames)


@pytest.mark.parametrize(
    "wrap",
    [
        wrapped,
        lambda function: functools.partial(called, function=function),
        lambda function: lambda frames, inner=function: inner(frames),
    ],
    ids=["closure", "partial", "default"],
)
def test_digest_covers_functions_of_other_modules_in_closures_and_arguments(
    module: Module, wrap: Callable[..., object]
) -> None:
    before = function_digest(wrap(module(SOURCE).largest))
    assert function_digest(wrap(module(SOURCE).largest)) == before
    changed = module(SOURCE.replace("max(axis=(1, 2)))", "min(axis=(1, 2)))"))
    assert function_digest(wrap(changed.largest)) != before


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
    "select",
    [
        lambda module: module.Scale(),
        lambda module: module.Scale().method,
        lambda module: module.compiled(),
        lambda module: module.calling_itself(),
        lambda module: module.with_a_lambda,
    ],
    ids=["object", "method", "numba", "unassigned name", "lambda inside"],
)
def test_digest_covers_every_kind_of_callable(
    module: Module, select: Callable[[ModuleType], object]
) -> None:
    before = function_digest(select(module(CALLABLES)))
    assert function_digest(select(module("# moved\n" + CALLABLES))) == before
    assert function_digest(select(module(CALLABLES.replace(".max(", ".min(")))) != before


def test_changes_elsewhere_in_the_module_do_not_change_the_token(module: Module) -> None:
    before = tokenize(FrameReduction(module(SOURCE).largest))
    changed = "# a comment\n" + SOURCE.replace("77", "78")
    assert tokenize(FrameReduction(module(changed).largest)) == before


def test_parts_from_another_version_of_a_function_are_refused(
    module: Module, tmp_path: Path
) -> None:
    frames = np.arange(12 * 16, dtype=np.int16).reshape(12, 4, 4) % 7
    frames[11] = 77
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc_bytes(frames))
    options = {"chunks": (1, -1, -1), "resume": tmp_path / "parts", "progress": False}
    mine = FrameReduction(module(SOURCE).failing, shape=(), dtype="int16")
    with pytest.raises(ValueError, match="mine"):
        reduce_frames(path, {"mine": mine}, **options)
    assert list((tmp_path / "parts").glob("part-*.npz"))
    changed = SOURCE.replace("return frames.max", "return frames.min").replace("77", "78")
    mine = FrameReduction(module(changed).failing, shape=(), dtype="int16")
    with pytest.raises(ArgumentError) as error:
        reduce_frames(path, {"mine": mine}, **options)
    assert (error.value.code, error.value.argument) == ("job-differs", "resume")
