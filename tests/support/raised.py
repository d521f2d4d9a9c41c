"""All errors and notes that the package creates, and all its texts, found in its syntax trees."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

import mrcdist
from mrcdist import errors
from tests.support.package_code import package_trees

__all__ = ["CALLS", "KINDS", "NOTE_CODES", "RAISED", "TEXTS", "Raised"]

# Names of the public exceptions and of the warning.
KINDS = sorted(name for name in mrcdist.__all__ if hasattr(errors, name))


def _text_of(node: ast.expr | None) -> str:
    """Return the text of a string; the values in an f-string are expressions in «»."""
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_text_of, node.values))
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.FormattedValue):
        node = node.value
    return f"«{ast.unparse(node)}»" if node else ""


@dataclass(frozen=True)
class Raised:
    """A call that creates an error; texts have the form of `_text_of`.

    Attributes
    ----------
    place : str
        Module and line.
    kind : type
    explicit_code : str or None
        The argument `code`, as source code if it is not a literal; None if there is none.
    argument, problem : str
    """

    place: str
    kind: type[errors.MrcdistError]
    explicit_code: str | None
    argument: str
    problem: str

    @property
    def code(self) -> str:
        """The code that the error has."""
        return self.explicit_code or self.kind.default_code


def _nodes() -> Iterator[tuple[str, ast.AST]]:
    """Yield all nodes of the syntax trees, each with its module and line."""
    for module, tree in package_trees().items():
        for node in ast.walk(tree):
            yield f"{module}:{getattr(node, 'lineno', 0)}", node


def _find_raised() -> Iterator[Raised]:
    for place, node in _nodes():
        if not isinstance(node, ast.Call):
            continue
        kind = getattr(errors, getattr(node.func, "id", ""), None)
        if isinstance(kind, type) and issubclass(kind, errors.MrcdistError):
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            code = keywords.get("code")
            argument, problem = _text_of(keywords.get("argument")), _text_of(node.args[0])
            # A conditional expression has two codes: one entry for each.
            for each in [code.body, code.orelse] if isinstance(code, ast.IfExp) else [code]:
                explicit = _text_of(each).strip("«»") or None
                yield Raised(place, kind, explicit, argument, problem)


def _find_texts() -> Iterator[tuple[str, str]]:
    """Yield all strings of several words except docstrings, each with its place."""
    inner: set[ast.AST] = set()
    for place, node in _nodes():
        if isinstance(node, ast.Expr | ast.JoinedStr):
            inner.update(ast.walk(node))
            inner.discard(node)
        text = _text_of(node) if isinstance(node, ast.Constant | ast.JoinedStr) else ""
        if node not in inner and (" " in text or isinstance(node, ast.JoinedStr)):
            yield place, text


RAISED = list(_find_raised())
TEXTS = dict(_find_texts())
# Place and name of all functions that are called, such as "warnings.warn".
CALLS = [(place, ast.unparse(node.func)) for place, node in _nodes() if isinstance(node, ast.Call)]
# Codes of notes, which become warnings; … stands for a name that is not a literal.
NOTE_CODES = sorted(
    {
        re.sub("«.*»", "…", _text_of(node.args[0]))
        for place, node in _nodes()
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Note"
        if not place.startswith("warning_notes.py")
    }
)
