"""What a check of a header looks at, and what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from mrcdist.errors import FormatError
from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.header import Header

__all__ = ["Facts", "Finding", "Severity"]

Severity = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes
    ----------
    check : str
        Name of the check, such as "machine stamp".
    severity : {"ok", "warning", "error"}
        "error" makes the file invalid.
    found : str
        What there is, with the value.
    matters : str
        Why it matters; "" where all is well.
    remedy : str
        What to do about it; "" where all is well.
    """

    check: str
    severity: Severity
    found: str
    matters: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Facts:
    """What the checks look at; `header` is None where it cannot be parsed.

    `doubt` says why it is not known whether the extended header is there.
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
        """Whether bytes 208 to 219 are the origin."""
        return self.header is not None and self.header.before_2000

    def ints(self, *names: str) -> tuple[int, ...]:
        """Fields of the header as Python numbers."""
        return tuple(int(self.values[name]) for name in names)
