"""What a process keeps from one call to the next stands in one table of ARCHITECTURE.md."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support.processes import ROOT

ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
[TABLE] = re.findall(r"^## What a process keeps\n(.*?)^## ", ARCHITECTURE, re.M | re.S)
TOLD = re.findall(r"`([\w/]+)\.py:([\w]+)`", TABLE)

FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
CHANGING = (
    *("add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "forget"),
    *("insert", "keep", "pop", "popitem", "popleft", "remove", "setdefault", "update"),
)
CACHES = ("cache", "lru_cache")


def kept_in(tree: ast.Module) -> set[str]:
    """Names of a module that hold what calls leave behind: containers, objects, caches, globals."""
    functions = [node for node in ast.walk(tree) if isinstance(node, FUNCTION)]
    cached = {
        function.name
        for function in functions
        for decorator in function.decorator_list
        if ast.unparse(decorator).partition("(")[0].rpartition(".")[2] in CACHES
    }
    rebound = {
        name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names
    }
    filled = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and is_changed(tree, target.id, node.value)
    }
    return cached | rebound | filled


def is_changed(tree: ast.Module, name: str, value: ast.expr | None) -> bool:
    """Whether a module changes what a name stands for: an entry, or by a method."""
    if not isinstance(value, ast.Call | ast.Dict | ast.List | ast.Set | ast.DictComp):
        return False
    for node in ast.walk(tree):
        owner = getattr(node, "value", None)
        if not (isinstance(owner, ast.Name) and owner.id == name):
            continue
        if isinstance(node, ast.Attribute) and node.attr in CHANGING:
            return True
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            return True
    changing_themselves = {node.name for node in tree.body if changes_itself(node)}
    return isinstance(value, ast.Call) and last_word(value.func) in changing_themselves


def changes_itself(node: ast.stmt) -> bool:
    """Whether a class has a method that sets an attribute."""
    return isinstance(node, ast.ClassDef) and any(
        isinstance(below, ast.Attribute) and isinstance(below.ctx, ast.Store)
        for method in node.body
        if isinstance(method, FUNCTION) and method.name != "__init__"
        for below in ast.walk(method)
    )


def last_word(function: ast.expr) -> str:
    return ast.unparse(function).rpartition(".")[2].partition("[")[0]


def test_what_a_process_keeps_is_in_the_table() -> None:
    package = ROOT / "mrcdist"
    kept = {
        (path.relative_to(package).with_suffix("").as_posix(), name)
        for path in package.rglob("*.py")
        for name in kept_in(ast.parse(path.read_text("utf-8")))
    }
    assert kept == set(TOLD)


@pytest.mark.parametrize(
    ("code", "kept"),
    [
        ("A = {}\ndef f(): A['x'] = 1", {"A"}),
        ("A = []\ndef f(): A.append(1)", {"A"}),
        ("A = {'x': 1}\ndef f(): return A['x']", set()),
        ("class P:\n    def f(self): self.n = 1\nPOOL = P()", {"POOL"}),
        ("class P:\n    def __init__(self): self.n = 1\nONE = P()", set()),
        ("A = 0\ndef f():\n    global A\n    A = 1", {"A"}),
        ("@functools.lru_cache(maxsize=4)\ndef f(): ...", {"f"}),
        ("A = []\ndef f(): A.extend([1])", {"A"}),
        ("A = set()\ndef f(): A.discard(1)", {"A"}),
        ("A = []\ndef f(): A.insert(0, 1)", {"A"}),
        ("A = deque()\ndef f(): A.appendleft(1)", {"A"}),
        ("@lru_cache\nasync def f(): ...", {"f"}),
        ("@cached_property\ndef f(self): ...", set()),
    ],
)
def test_what_is_kept_is_found(code: str, kept: set[str]) -> None:
    assert kept_in(ast.parse(code)) == kept
