"""Rules for tests: their names stand alone and never vary, and they patch nothing private.

Unit tests mirror the folders of the package, and start no process, server or cluster.
"""

from __future__ import annotations

import ast

import pytest

from tests.support.processes import ROOT

UNIT = ROOT / "tests" / "unit"

# First words that make a name depend on the test before it.
DEPENDENT = ("and", "are", "but", "in", "is", "it", "its", "nor", "of", "that", "they", "their")


@pytest.fixture(scope="module")
def trees():
    """Name of each test file → its syntax tree."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return {path.name: ast.parse(path.read_text("utf-8")) for path in files}


def misnamed(tree):
    """Return names of tests that cannot be understood alone."""
    return [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("test_")
        and node.name.split("_")[1] in DEPENDENT
    ]


def patched_in_private(tree):
    """Return private names patched by methods of `monkeypatch` or `unittest.mock.patch`."""
    return [
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("setattr", "setitem", "delattr", "delitem", "object", "patch")
        for argument in node.args[:2]
        if (name := patched_name(argument)) and is_private(name.rpartition(".")[2])
    ]


def patched_name(argument):
    """Return the name in an argument: a string, a variable or an attribute; None for others."""
    if isinstance(argument, ast.Constant):
        return argument.value if isinstance(argument.value, str) else None
    return getattr(argument, "attr", getattr(argument, "id", None))


def time_dependent_constants(tree):
    """Return calls at module level whose result contains the current time.

    If it became a parametrize id, parallel test processes would collect different names.
    """
    inside = {
        id(call)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.Lambda)
        for statement in (function.body if isinstance(function.body, list) else [function.body])
        for call in ast.walk(statement)
    }
    return [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and id(node) not in inside
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func) == "gzip.compress"
        and "mtime" not in [keyword.arg for keyword in node.keywords]
    ]


def imported_starters(tree):
    """Return imports with which a module could start processes, servers or clusters."""
    modules = ("subprocess", "multiprocessing", "http.server", "socketserver", "moto")
    support = ("cluster", "gate", "hosts", "jobs", "serving", "slurm", "web")
    imported = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return sorted(
        name
        for name in imported
        if name in modules
        or name in [f"tests.support.{each}" for each in support]
        or name in ("distributed.Client", "distributed.LocalCluster", "distributed.Scheduler")
    )


def is_private(name):
    return name.startswith("_") and not name.endswith("__")


@pytest.mark.parametrize("find", [misnamed, patched_in_private, time_dependent_constants])
def test_no_test_file_violates_the_rule(find, trees):
    violations = {name: find(tree) for name, tree in trees.items()}
    assert {name: found for name, found in violations.items() if found} == {}


def test_unit_tests_start_no_process_server_or_cluster():
    imports = {
        path.relative_to(UNIT).as_posix(): imported_starters(ast.parse(path.read_text("utf-8")))
        for path in UNIT.rglob("*.py")
    }
    assert {name: starters for name, starters in imports.items() if starters} == {}


def test_unit_tests_are_in_the_same_folders_as_the_package():
    def folders_with(pattern, top):
        return {path.parent.relative_to(top).as_posix() for path in top.rglob(pattern)}

    assert folders_with("test_*.py", UNIT) == folders_with("[!_]*.py", ROOT / "mrcdist")


def test_violations_of_the_rules_are_found():
    code = (
        "import subprocess, os; from distributed import Client; from tests.support import serving"
    )
    assert imported_starters(ast.parse(code)) == [
        "distributed.Client",
        "subprocess",
        "tests.support.serving",
    ]
    assert misnamed(ast.parse("class TestA:\n    def test_and_is_read(self): ...")) == [
        "test_and_is_read"
    ]
    code = 'monkeypatch.setattr(module, "_LIMIT", 1); patch.object(Class, "_read"); '
    code += 'monkeypatch.setattr("package.module._call", 1); monkeypatch.setattr(str, "__str__", 1)'
    assert patched_in_private(ast.parse(code)) == ["_LIMIT", "_read", "package.module._call"]
    code = 'TABLE = {"gzip": gzip.compress(b"a")}; OTHER = gzip.compress(b"a", mtime=0)\n'
    code += "def test_a(): return gzip.compress(b'b')"
    assert time_dependent_constants(ast.parse(code)) == ["gzip.compress(b'a')"]
