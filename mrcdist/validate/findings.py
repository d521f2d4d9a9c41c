"""Input and result of a check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from mrcdist.errors import FormatError
from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.header import Header

__all__ = ["Facts", "Finding", "Outcome", "Severity"]

Severity = Literal["ok", "warning", "error"]
Outcome = tuple[Severity, str] | tuple[Severity, str, str, str]
"""A finding without its check: `severity`, `found`, and unless it is ok `matters` and `remedy`."""


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes
    ----------
    check : str
        Name of the check, such as "machine stamp".
    severity : {"ok", "warning", "error"}
        A file with an "error" is not valid.
    found : str
        The value found.
    matters : str
        Why it matters; "" if there is no problem.
    remedy : str
        How to correct it; "" if there is no problem.
    """

    check: str
    severity: Severity
    found: str
    matters: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Facts:
    """Input of the checks; `header` is None if it cannot be parsed.

    `doubt` is set if it is unknown whether the extended header is present.
    """

    raw: bytes
    values: Any
    order: ByteOrder
    header: Header | None
    file_size: int | None
    extended_start: bytes
    doubt: FormatError | None = None

    @property
    def before_2000(self) -> bool:
        """Whether bytes 208 to 219 contain the origin, as in headers before 2000."""
        return self.header is not None and self.header.before_2000

    def ints(self, *names: str) -> tuple[int, ...]:
        """Return fields of the header as Python integers."""
        return tuple(int(self.values[name]) for name in names)
