"""All limits of reading are in one module, and are passed from the source or the planner."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import mrcdist
from mrcdist.read_limits import DEFAULT_LIMITS, ReadLimits

PACKAGE = Path(mrcdist.__file__).parent

# Modules that decide how bytes are read.
READING = (
    *("read/*.py", "storage/transport/*.py", "storage/layers.py", "storage/scatter_buffer.py"),
    *("storage/stored_file.py", "discover/mrc_file.py"),
    *("plan/block.py", "plan/coalesce.py", "plan/reader_capabilities.py"),
)


def numeric_constants(tree):
    """Return names of module level that are assigned an expression of numbers alone."""
    return [
        ast.unparse(target)
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if all(
            isinstance(part, ast.BinOp | ast.UnaryOp | ast.operator | ast.unaryop)
            or (isinstance(part, ast.Constant) and isinstance(part.value, int | float))
            for part in ast.walk(node.value)
        )
    ]


def test_default_limits_are_named_only_where_reading_starts():
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if "DEFAULT_LIMITS" in path.read_text("utf-8")
    }
    assert users == {"read_limits.py", "planner.py", "read/source.py", "validate/report.py"}


def test_modules_that_read_have_no_limits_of_their_own():
    paths = [path for pattern in READING for path in PACKAGE.glob(pattern)]
    found = {
        path.relative_to(PACKAGE).as_posix(): numeric_constants(ast.parse(path.read_text("utf-8")))
        for path in paths
    }
    assert len(found) >= len(READING)
    assert {name: constants for name, constants in found.items() if constants} == {}


def test_numeric_constants_are_found():
    code = "A = 2**20\n_B: float = -1 / 4\nC = Path(2)\nD = [1]\ndef f():\n    E = 1"
    assert numeric_constants(ast.parse(code)) == ["A", "_B"]


def test_default_limits_are_pickled_by_name():
    assert pickle.loads(pickle.dumps(DEFAULT_LIMITS)) is DEFAULT_LIMITS
    assert len(pickle.dumps(DEFAULT_LIMITS)) < 100
    other = ReadLimits(narrow=0.0)
    assert pickle.loads(pickle.dumps(other)) == other
