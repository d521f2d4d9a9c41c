"""Rules for the code of the package: sizes, first lines of docstrings, no unused code."""

from __future__ import annotations

import ast
from collections import Counter

import pytest

from tests.support.package_code import package_trees

# First words with which a docstring would be a clause, rather than a noun phrase or an imperative.
CLAUSES = ("How", "That", "What", "When", "Where", "Whether", "Which", "Who", "Why")

# Functions that other packages call, by package.
CALLBACKS = {
    "botocore": {"get_frozen_credentials", "seekable"},
    "click": {"invoke", "resolve_command"},
    "dask": {"_posttask", "_start_state"},
    "fsspec": {"relative_update", "set_size"},
    "IPython": {"_ipython_display_", "_repr_html_"},
    "xarray": {"MrcBackend", "guess_can_open", "open_dataset", "open_datatree"},
    "zarr": {
        *("_decode_partial_single", "get_partial_values", "getsize", "list_dir", "with_read_only"),
    },
}
# Those for users that are not in the list of public names.
FOR_USERS = {"to_xarray", "frame_index", "serve_s3", "crystal_frames", "write_acquisition"}


def nodes(*kinds):
    """Yield all nodes of the package of these kinds, each with its module and line."""
    for module, tree in package_trees().items():
        for node in ast.walk(tree):
            if isinstance(node, kinds):
                yield f"{module}:{getattr(node, 'lineno', 1)}", node


def body_lines(function):
    """Return the number of lines of a function without its signature and docstring."""
    has_docstring = ast.get_docstring(function) is not None
    body = function.body[1:] if has_docstring else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_no_module_has_more_than_400_lines():
    ends = {module: tree.body[-1].end_lineno for module, tree in package_trees().items()}
    assert {module: end for module, end in ends.items() if end > 400} == {}


def test_no_function_body_has_more_than_40_lines():
    functions = nodes(ast.FunctionDef, ast.AsyncFunctionDef)
    lines = {place: body_lines(function) for place, function in functions}
    assert {place: count for place, count in lines.items() if count > 40} == {}


def test_docstrings_of_modules_and_classes_are_not_clauses():
    first_lines = {
        place: (ast.get_docstring(node) or "").partition("\n")[0]
        for place, node in nodes(ast.Module, ast.ClassDef)
    }
    clauses = {place: line for place, line in first_lines.items() if line.startswith(CLAUSES)}
    assert clauses == {}


def names_in(tree):
    """Count the names that are read or imported."""
    names: Counter[str] = Counter()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            names[node.id] += 1
        elif isinstance(node, ast.Attribute):
            names[node.attr] += 1
        elif isinstance(node, ast.alias):
            names[node.name] += 1
    return names


def unused(trees):
    """Return the functions and classes that nothing but their own body names."""
    named: Counter[str] = Counter()
    for tree in trees:
        named.update(names_in(tree))
    definitions = ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef
    return {
        node.name
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, definitions) and not node.name.startswith("__")
        if named[node.name] == names_in(node)[node.name]
    }


def test_all_code_of_the_package_is_used():
    """Tests alone are no reason to keep code."""
    assert unused(package_trees().values()) == FOR_USERS.union(*CALLBACKS.values())


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("def f(): return f()", {"f"}),
        ("def f(): ...\nf()", set()),
        ("class A:\n    def b(self): ...\nA().b()", set()),
        ("class A:\n    async def b(self): ...\nA()", {"b"}),
        ("from a import f\ndef f(): ...", set()),
        ("def f(): ...\nf = 1", {"f"}),
    ],
)
def test_unused_functions_and_classes_are_found(code, names):
    assert unused([ast.parse(code)]) == names


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("def f(a,\n      b):\n    return a", 1),
        ('def f():\n    """Return 3.\n\n    Always.\n    """\n    a = 3\n\n    return a', 3),
        ('def f():\n    """Return None."""', 0),
    ],
)
def test_lines_of_a_function_are_counted_without_signature_and_docstring(code, count):
    assert body_lines(ast.parse(code).body[0]) == count
