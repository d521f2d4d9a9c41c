"""Rules for the code of the package: sizes, and first lines of docstrings."""

from __future__ import annotations

import ast

import pytest

from tests.support.package_code import package_trees

# First words with which a docstring would be a clause, rather than a noun phrase or an imperative.
CLAUSES = ("How", "That", "What", "When", "Where", "Whether", "Which", "Who", "Why")


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
