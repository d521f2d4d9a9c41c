"""Input and result of a check."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from mrcdist.errors import FormatError, MrcdistError
from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.header import Header

Severity = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """The result of one check: the value found and, unless it is ok, why it matters and a remedy.

    A file with an "error" is not valid.
    """

    check: str
    severity: Severity
    found: str
    matters: str = ""
    remedy: str = ""


def failure(check: str, problem: MrcdistError) -> Finding:
    """Return an error of reading as a finding."""
    return Finding(check, "error", problem.problem, problem.cause, problem.remedy)


@dataclass(frozen=True)
class Facts:
    """Input of the checks; `header` is None if it cannot be parsed.

    `doubt` is the error raised if it is unknown whether the extended header is present.
    """

    raw: bytes
    values: Any
    order: ByteOrder
    header: Header | None
    file_size: int | None
    extended_start: bytes
    doubt: FormatError | None

    @property
    def before_2000(self) -> bool:
        """Whether bytes 208 to 219 contain the origin, as in headers before 2000."""
        return self.header is not None and self.header.before_2000

    def ints(self, *names: str) -> tuple[int, ...]:
        """Return fields of the header as Python integers."""
        return tuple(int(self.values[name]) for name in names)


# A conforming value, an unusual but allowed one, and a violation of MRC2014 or damage. `check_file`
# adds the name of the check.
ok = partial(Finding, "", "ok")
warning = partial(Finding, "", "warning")
error = partial(Finding, "", "error")
