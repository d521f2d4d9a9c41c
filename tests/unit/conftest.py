"""Fixtures of the unit tests."""

from __future__ import annotations

import itertools

import fsspec
import pytest


@pytest.fixture(scope="session")
def memory_file():
    """Put bytes on fsspec's memory filesystem under a name of their own; return the URL."""
    fs = fsspec.filesystem("memory")
    numbers = itertools.count()

    def put(raw: bytes, name: str = "any.mrc") -> str:
        url = f"memory://files/{next(numbers)}/{name}"
        fs.pipe_file(url, raw)
        return url

    return put


@pytest.fixture(autouse=True)
def _uncompiled(monkeypatch):
    """Results by numpy: compiling takes longer than all these tests.

    `tests/integration/test_compiled_loops.py` compares what is compiled with numpy.
    """
    monkeypatch.setattr("mrcdist.compute.reduce_block.compiled", None)
