"""All state that outlives a call is listed in a table of ARCHITECTURE.md."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support.package_code import package_trees
from tests.support.processes import ROOT

ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
[TABLE] = re.findall(r"^## What a process keeps\n(.*?)^## ", ARCHITECTURE, re.M | re.S)
LISTED = re.findall(r"`([\w/]+)\.py:([\w]+)`", TABLE)

FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
MUTATING_METHODS = (
    *("add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "forget"),
    *("insert", "keep", "pop", "popitem", "popleft", "remove", "setdefault", "update"),
)
CACHES = ("cache", "lru_cache")


def persistent_state(tree: ast.Module) -> set[str]:
    """Return names of a module whose values calls change: containers, objects, caches, globals."""
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
    mutated = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and is_mutated(tree, target.id, node.value)
    }
    return cached | rebound | mutated


def is_mutated(tree: ast.Module, name: str, value: ast.expr | None) -> bool:
    """Return whether a module changes the object with this name, by item or by method."""
    if not isinstance(value, ast.Call | ast.Dict | ast.List | ast.Set | ast.DictComp):
        return False
    for node in ast.walk(tree):
        owner = getattr(node, "value", None)
        if not (isinstance(owner, ast.Name) and owner.id == name):
            continue
        if isinstance(node, ast.Attribute) and node.attr in MUTATING_METHODS:
            return True
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            return True
    mutable_classes = {node.name for node in tree.body if is_mutable_class(node)}
    return isinstance(value, ast.Call) and last_name(value.func) in mutable_classes


def is_mutable_class(node: ast.stmt) -> bool:
    """Return whether a statement defines a class with a method that sets an attribute."""
    return isinstance(node, ast.ClassDef) and any(
        isinstance(below, ast.Attribute) and isinstance(below.ctx, ast.Store)
        for method in node.body
        if isinstance(method, FUNCTION) and method.name != "__init__"
        for below in ast.walk(method)
    )


def last_name(function: ast.expr) -> str:
    return ast.unparse(function).rpartition(".")[2].partition("[")[0]


def test_all_persistent_state_of_a_process_is_listed_in_architecture() -> None:
    state = {
        (module.removesuffix(".py"), name)
        for module, tree in package_trees().items()
        for name in persistent_state(tree)
    }
    assert state == set(LISTED)


@pytest.mark.parametrize(
    ("code", "names"),
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
def test_persistent_state_is_found_in_code(code: str, names: set[str]) -> None:
    assert persistent_state(ast.parse(code)) == names
