"""All places in the package where an error is created, found in its syntax trees."""

from __future__ import annotations

import ast
from dataclasses import dataclass

import mrcdist
from mrcdist import errors
from tests.support.processes import ROOT

__all__ = ["KINDS", "RAISED", "Raised"]

# Names of the public exceptions and of the warning.
KINDS = sorted(name for name in mrcdist.__all__ if hasattr(errors, name))


@dataclass(frozen=True)
class Raised:
    """A call that creates an error.

    Attributes
    ----------
    place : str
        Module and line.
    kind : type
    explicit_code : str or None
        The argument `code`, as source code if it is not a literal; None if there is none.
    source : str
        The call.
    """

    place: str
    kind: type[errors.MrcdistError]
    explicit_code: str | None
    source: str

    @property
    def code(self) -> str:
        """The code that the error has."""
        return self.explicit_code or self.kind.default_code


def _find_raised() -> list[Raised]:
    raised = []
    for path in sorted((ROOT / "mrcdist").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            kind = getattr(errors, getattr(node.func, "id", ""), None)
            if isinstance(kind, type) and issubclass(kind, errors.MrcdistError):
                [code] = [k.value for k in node.keywords if k.arg == "code"] or [None]
                place = f"{path.relative_to(ROOT / 'mrcdist')}:{node.lineno}"
                # A conditional expression has two codes: one entry for each.
                codes = [code.body, code.orelse] if isinstance(code, ast.IfExp) else [code]
                for node_of_code in codes:
                    explicit = (
                        node_of_code.value
                        if isinstance(node_of_code, ast.Constant)
                        else node_of_code and ast.unparse(node_of_code)
                    )
                    raised.append(Raised(place, kind, explicit, ast.unparse(node)))
    return raised


RAISED = _find_raised()
