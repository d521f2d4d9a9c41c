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
