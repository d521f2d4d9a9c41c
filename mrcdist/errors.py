"""Exceptions, each with the invalid value, the cause and a remedy.

Every error is a subclass of `MrcdistError` and of the built-in exception that a caller would catch.
Errors are pickled when tasks fail, so they contain only strings. URLs must be redacted before they
are passed to an error (see `mrcdist.storage.location`). Codes are stable, messages may change.
docs/howto/troubleshooting.md lists the codes; tests compare the list with the code.

Arguments in texts are in backticks, as in "pass `scan_file=None`": the command line shows its own
options instead.
"""

from __future__ import annotations

import copy
from typing import ClassVar, Self

from mrcdist.printable import printable


class MrcdistWarning(UserWarning):
    """The file is unusual but unambiguous; `code` is a stable identifier."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


class MrcdistError(Exception):
    """Base class of all errors raised by mrcdist.

    Parameters
    ----------
    problem : str
        Description of the error, with the invalid value.
    code : str, optional
        Stable identifier, listed on the troubleshooting page. Default: that of the class.
    argument : str, optional
        Name of the invalid argument, or of the setting in dask's configuration.
    cause : str, optional
        The probable cause.
    remedy : str, optional
        Suggested fix. Default: that of the class, if it has one.
    where : str, optional
        Redacted URL, byte range and host, if known.
    """

    default_code: ClassVar[str] = "failed"
    default_remedy: ClassVar[str] = ""

    def __init_subclass__(cls, code: str | None = None) -> None:
        cls.default_code = code or cls.default_code

    def __init__(
        self,
        problem: str,
        *,
        code: str | None = None,
        argument: str = "",
        cause: str = "",
        remedy: str = "",
        where: str = "",
    ) -> None:
        # Everything else is in `__dict__`, which Python pickles and copies with `args`.
        self.problem = printable(problem, lines=True)
        super().__init__(self.problem)
        self.code = code or self.default_code
        self.argument = argument
        self.cause = printable(cause, lines=True)
        self.where = printable(where, lines=True)
        self.remedy = printable(remedy or self.default_remedy, lines=True)

    def __str__(self) -> str:
        details = {name: getattr(self, name) for name in ("cause", "remedy", "where", "code")}
        lines = [f"  {label}: {text}" for label, text in details.items() if text]
        return "\n".join([self.problem, *lines])

    def __repr__(self) -> str:
        """Return the full message, which the logs of workers show in this form."""
        return f"{type(self).__name__}({str(self)!r})"

    def located(self, where: str) -> Self:
        """Return a copy of the error with `where`, or the error itself if it already has one."""
        return self if self.where else self._copy(where=printable(where, lines=True))

    def remedied(self, remedy: str) -> Self:
        """Return a copy of the error with another remedy."""
        return self._copy(remedy=printable(remedy, lines=True))

    def _copy(self, **changes: str) -> Self:
        # Not copy.copy(), which would include the cause and its traceback if tblib is installed.
        other = type(self)(self.problem)
        other.__dict__ |= copy.deepcopy(self.__dict__) | changes
        return other


class ArgumentError(MrcdistError, ValueError, code="argument-invalid"):
    """An argument or a setting is invalid."""


class FormatError(MrcdistError, ValueError, code="format-invalid"):
    """The file is not a readable MRC file."""


class TruncatedFileError(FormatError, code="file-truncated"):
    """The file ends before the data announced by its header."""


class SidecarError(FormatError, code="sidecar-invalid"):
    """An auxiliary file (sidecar, scan points) is invalid or contradicts the data."""


class MissingExtraError(MrcdistError, ImportError, code="package-missing"):
    """An optional package that is required for this operation is not installed."""


class MissingFileError(MrcdistError, FileNotFoundError, code="file-missing"):
    """The process cannot find the file."""


class AccessDeniedError(MrcdistError, PermissionError, code="access-denied"):
    """These credentials do not permit reading the file."""


class FileChangedError(MrcdistError, OSError, code="file-changed"):
    """The file has changed since it was opened for planning."""

    default_remedy: ClassVar[str] = (
        "call read_mrc again to plan for the current file, and do not write to it while tasks run"
    )


class ReadError(MrcdistError, OSError, code="read-failed"):
    """Reading failed because of the storage or the network."""


class WriteError(MrcdistError, OSError, code="write-failed"):
    """Writing failed because of the disk, the storage or the network."""
