"""Rules for tests: their names stand alone and never vary, and they do not patch the package.

Unit tests mirror the folders of the package, and start no process, server or cluster.
"""

from __future__ import annotations

import ast

import pytest

from tests.support.processes import ROOT

UNIT = ROOT / "tests" / "unit"

# First words that make a name depend on the test before it, or on its class or file.
DEPENDENT = (
    *("and", "are", "but", "in", "is", "it", "its", "nor", "of", "that", "they", "their"),
    *("another", "auto", "new", "none", "other", "others", "same", "such", "the", "this"),
)


# Members of the package that tests replace, and what that stands for. Limits are arguments; faults
# are simulated in the filesystem, in dask or in the operating system.
PATCHED = {
    "mrcdist.cli.main.commands": "a command of the test",
    "mrcdist.compute.partial.PartialStore.remove": "a job killed before it removes its parts",
    "mrcdist.compute.partial.PartialStore.save": "a job interrupted between two parts",
    "mrcdist.compute.reduce_block.compiled": "numba is not installed",
    "mrcdist.interop.zarr_destination.ZarrDestination.abandon": "a call killed while it ends",
    "mrcdist.interop.zarr_destination.ZarrDestination.finish": "a call interrupted before its end",
    "mrcdist.read.mmap_pool.POOL.shared": "a file truncated before it is mapped",
    "mrcdist.read.source.RemoteReader": "counts files that are opened",
    "mrcdist.storage.url.Path": "Windows",
    "mrcdist.write.local.LocalDestination.write": "records what is written",
    "mrcdist.write.plan.local_grid": "a network filesystem with large pages",
    "mrcdist.storage.layers.Progress": "an operation that takes longer than two seconds",
    "mrcdist.{}.Progress": "an operation that takes longer than two seconds",
}


@pytest.fixture(scope="module")
def trees():
    """Path of each file below `tests` → its syntax tree."""
    tests = ROOT / "tests"
    return {
        path.relative_to(tests).as_posix(): ast.parse(path.read_text("utf-8"))
        for path in sorted(tests.rglob("*.py"))
    }


def misnamed(tree):
    """Return names of tests that cannot be understood alone."""
    return [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("test_")
        and node.name.split("_")[1] in DEPENDENT
    ]


def wrongly_patched(tree):
    """Return what is patched, if it is private, or a member of the package not in `PATCHED`."""
    return [
        name
        for name in patched(tree)
        if is_private(name.rpartition(".")[2]) or (is_of_package(name) and name not in PATCHED)
    ]


def patched(tree):
    """Return the full names of what is replaced by methods that patch, or by an assignment."""
    imported = imported_names(tree)
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            method = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if method in ("setitem", "delitem", "patch"):
                names.append(full_name(node.args[0], imported))
            elif method in ("setattr", "delattr", "object"):
                parts = [full_name(each, imported) for each in node.args[:2]]
                names.append(".".join(filter(None, parts)))
        elif isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            name = full_name(node, imported)
            names += [name] if is_of_package(name) else []
    return names


def imported_names(tree):
    """Return what each imported name stands for."""
    names = {}
    for node in ast.walk(tree):
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
            module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            names[alias.asname or alias.name] = module + alias.name
    return names


def full_name(node, imported):
    """Return the full name of a text, an attribute or an item; empty for other expressions."""
    if isinstance(node, ast.Attribute):
        return f"{full_name(node.value, imported)}.{node.attr}"
    if isinstance(node, ast.Subscript):
        return full_name(node.value, imported)
    if isinstance(node, ast.JoinedStr):
        return "".join(full_name(part, {}) or "{}" for part in node.values)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return imported.get(getattr(node, "id", None), "")


def is_of_package(name):
    return name.partition(".")[0] == "mrcdist"


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


@pytest.mark.parametrize("find", [misnamed, wrongly_patched, time_dependent_constants])
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

    package = folders_with("[!_]*.py", ROOT / "mrcdist")
    assert folders_with("test_*.py", UNIT) == package | {"demo"}


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
    code = """
from mrcdist.a import b as c; import mrcdist
monkeypatch.setattr(module, "_LIMIT", 1); patch.object(c, "read"); patch("package.module._call")
monkeypatch.setattr(mrcdist.read, "open", 1); monkeypatch.setitem(mrcdist.names, "x", 1)
monkeypatch.setattr(str, "__str__", 1); c.limit = 1
"""
    assert sorted(wrongly_patched(ast.parse(code))) == [
        "_LIMIT",
        "mrcdist.a.b.limit",
        "mrcdist.a.b.read",
        "mrcdist.names",
        "mrcdist.read.open",
        "package.module._call",
    ]
    code = 'TABLE = {"gzip": gzip.compress(b"a")}; OTHER = gzip.compress(b"a", mtime=0)\n'
    code += "def test_a(): return gzip.compress(b'b')"
    assert time_dependent_constants(ast.parse(code)) == ["gzip.compress(b'a')"]
