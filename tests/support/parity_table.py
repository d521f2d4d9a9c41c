"""Tables in the documentation that compare two readers: their rows, and the tests of each."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from tests.support.processes import ROOT

_Test = TypeVar("_Test", bound=Callable[..., object])

RELEASE = "0.15"
DOCUMENT = ROOT / "docs" / "rosettasciio.md"


class ParityTable:
    """The table under one heading of the document.

    Parameters
    ----------
    heading : str
        Heading without its number signs.
    """

    def __init__(self, heading: str) -> None:
        self.heading = heading
        self.proven: dict[str, str] = {}

    def rows(self) -> dict[str, str]:
        """Return row → "same" or "differs", as documented."""
        section = DOCUMENT.read_text("utf-8").split(f"## {self.heading}\n")[1].split("\n## ")[0]
        lines = [line.split("|") for line in section.splitlines() if line.startswith("| ")]
        return {cells[1].strip(): cells[2].strip() for cells in lines[1:]}

    def same(self, row: str) -> Callable[[_Test], _Test]:
        """Mark a test as proof that both readers agree as described by a row."""
        return self._proves(row, "same")

    def differs(self, row: str) -> Callable[[_Test], _Test]:
        """Mark a test as proof of the difference described by a row."""
        return self._proves(row, "differs")

    def _proves(self, row: str, verdict: str) -> Callable[[_Test], _Test]:
        def decorator(test: _Test) -> _Test:
            self.proven[row] = verdict
            return test

        return decorator


def require_rosettasciio() -> Callable[..., list[dict[str, Any]]]:
    """Return RosettaSciIO's reader; skip the module if another release is installed."""
    installed = pytest.importorskip("rsciio", reason="RosettaSciIO is not installed").__version__
    if not installed.startswith(f"{RELEASE}."):
        reason = f"the table is for release {RELEASE}, {installed} is installed"
        pytest.skip(reason, allow_module_level=True)
    reader: Callable[..., list[dict[str, Any]]] = importlib.import_module("rsciio.mrc").file_reader
    return reader
