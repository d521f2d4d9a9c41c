"""Fixtures of the unit tests."""

from __future__ import annotations

import itertools

import fsspec
import pytest


@pytest.fixture(scope="session")
def memory_file():
    """Function that stores bytes in fsspec's memory filesystem under a new URL and returns it."""
    fs = fsspec.filesystem("memory")
    numbers = itertools.count()

    def put(raw: bytes, name: str = "any.mrc") -> str:
        url = f"memory://files/{next(numbers)}/{name}"
        fs.pipe_file(url, raw)
        return url

    return put


@pytest.fixture(autouse=True)
def _uncompiled(monkeypatch):
    """Compute with numpy instead of compiled loops: compiling takes longer than all unit tests.

    `tests/integration/test_compiled_loops.py` compares compiled loops with numpy.
    """
    monkeypatch.setattr("mrcdist.compute.reduce_block.compiled", None)
