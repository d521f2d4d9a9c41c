"""The functions that ARCHITECTURE.md names are there."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support.processes import ROOT

ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`([\w/]+\.py):([\w.]+)`", ARCHITECTURE)))


def names_in(path: str) -> set[str]:
    """Top-level names of a module, and the methods and properties of its classes."""
    names = set()
    for node in ast.parse((ROOT / "mrcdist" / path).read_text("utf-8")).body:
        if isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
            names |= {
                f"{node.name}.{below.name}"
                for below in getattr(node, "body", ())
                if isinstance(below, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return names


def test_walks_through_the_code_are_in_architecture() -> None:
    assert len(NAMED) > 20


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_function_named_in_architecture_exists(path: str, name: str) -> None:
    assert name in names_in(path)
