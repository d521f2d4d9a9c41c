"""The errors that the package's code makes, found in its syntax trees."""

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
    """One place where an error is made."""

    place: str
    kind: type[errors.MrcdistError]
    code: str | None  # None: the class's own; a name: another error's
    source: str

    @property
    def known_as(self) -> str:
        """The code that the error has."""
        return self.code or self.kind.default_code


def _raised() -> list[Raised]:
    found = []
    for path in sorted((ROOT / "mrcdist").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            kind = getattr(errors, getattr(node.func, "id", ""), None)
            if isinstance(kind, type) and issubclass(kind, errors.MrcdistError):
                [code] = [k.value for k in node.keywords if k.arg == "code"] or [None]
                place = f"{path.relative_to(ROOT / 'mrcdist')}:{node.lineno}"
                # One of two codes, by a condition, is two places.
                either = [code.body, code.orelse] if isinstance(code, ast.IfExp) else [code]
                for one in either:
                    said = one.value if isinstance(one, ast.Constant) else one and ast.unparse(one)
                    found.append(Raised(place, kind, said, ast.unparse(node)))
    return found


RAISED = _raised()
