"""Syntax trees of the package, for tests of rules that hold for all of its modules."""

from __future__ import annotations

import ast
import functools

from tests.support.processes import ROOT


@functools.cache
def package_trees() -> dict[str, ast.Module]:
    """Return the syntax tree of each module by its path in the package, parsed once per process."""
    package = ROOT / "mrcdist"
    return {
        path.relative_to(package).as_posix(): ast.parse(path.read_text("utf-8"))
        for path in sorted(package.rglob("*.py"))
    }
