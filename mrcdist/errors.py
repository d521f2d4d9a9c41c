"""Exceptions, with the offending value, the cause and a remedy.

Every error is a subclass of `MrcdistError` and of the built-in exception that a caller would catch.
Errors are pickled when tasks fail, so they contain only strings. URLs must be redacted before they
are passed to an error (see `mrcdist.storage.location`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar, Literal, Self, TypeVar, get_args

from mrcdist.printable import printable

_E = TypeVar("_E", bound="MrcdistError")

# Stable identifiers: messages may change, codes do not. docs/howto/troubleshooting.md has an entry
# for each.
Code = Literal[
    "access-denied",
    "archive-damaged",
    "archive-unversioned",
    "argument-invalid",
    "argument-type-invalid",
    "auxiliary-file-too-large",
    "axes-mismatch",
    "blosc-chunk-invalid",
    "bright-disk-not-found",
    "budget-invalid",
    "budget-too-small",
    "byte-order-invalid",
    "chunks-invalid",
    "chunks-split-frames",
    "chunks-too-many",
    "cluster-options-conflict",
    "compressed-twice",
    "compression-unsupported",
    "compressor-invalid",
    "credentials-missing",
    "data-not-browsable",
    "data-not-reducible",
    "data-not-writable",
    "demo-invalid",
    "demo-server-failed",
    "destination-busy",
    "destination-differs",
    "destination-exists",
    "destination-invalid",
    "destination-is-input",
    "destination-unsuited",
    "detector-empty",
    "detector-invalid",
    "detector-no-room",
    "device-unknown",
    "disk-full",
    "dtype-unwritable",
    "extended-header-doubtful",
    "extended-header-invalid",
    "extended-header-too-long",
    "extended-header-type-invalid",
    "failed",
    "file-changed",
    "file-is-folder",
    "file-listed-twice",
    "file-missing",
    "file-truncated",
    "filename-invalid",
    "files-missing",
    "filesystem-unavailable",
    "format-invalid",
    "frames-invalid",
    "function-invalid",
    "header-field-overflow",
    "header-sizes-invalid",
    "job-differs",
    "job-lost",
    "job-unfinished",
    "jobqueue-invalid",
    "jobs-ended",
    "jobs-refused",
    "jobs-stuck",
    "kind-invalid",
    "labels-invalid",
    "memory-limit-invalid",
    "mmap-mode-invalid",
    "mode-unknown",
    "mode0-invalid",
    "mrcz-section-damaged",
    "mrcz-walk-invalid",
    "navigation-shape-invalid",
    "navigation-shape-mismatch",
    "not-mrc",
    "options-invalid",
    "package-missing",
    "part-missing",
    "part-truncated",
    "partial-result-damaged",
    "parts-differ",
    "pattern-ambiguous",
    "pattern-unmatched",
    "pixels-missing",
    "radii-invalid",
    "radius-invalid",
    "ranges-unsupported",
    "read-failed",
    "references-impossible",
    "request-refused",
    "result-name-invalid",
    "results-empty",
    "results-invalid",
    "retries-exhausted",
    "scan-grid-too-large",
    "scan-incomplete",
    "scan-parts-missing",
    "scan-point-outside",
    "scan-points-columns",
    "scan-points-invalid",
    "scan-points-mismatch",
    "scan-points-missing",
    "scan-size-mismatch",
    "scan-too-fast",
    "scan-too-long",
    "scheduler-dropped-job",
    "scheduler-file-missing",
    "scheduler-unreachable",
    "section-missing",
    "select-invalid",
    "setting-invalid",
    "shown-frames-missing",
    "sidecar-invalid",
    "sidecar-key-missing",
    "sidecar-not-text",
    "sidecar-value-invalid",
    "sidecars-differ",
    "size-unknown",
    "skip-frames-invalid",
    "storage-options-invalid",
    "stream-damaged",
    "stream-truncated",
    "stream-unreadable",
    "system-failed",
    "tilt-angles-invalid",
    "tilt-angles-mismatch",
    "tilt-angles-missing",
    "unexpected",
    "unfinished-file-missing",
    "upload-parts-too-many",
    "value-does-not-fit",
    "verification-failed",
    "version-unknown",
    "view-unsuited",
    "worker-import-failed",
    "workers-died",
    "workers-invalid",
    "workers-missing",
    "write-failed",
]
CODES: tuple[Code, ...] = get_args(Code)

# An argument in a remedy, {allow_truncated=True} or {scan_file}: the command line shows the name of
# its option instead.
_ARGUMENT = re.compile(r"\{([a-z]\w*)(?:=([^{}]*))?\}")

__all__ = [
    "AccessDeniedError",
    "ArgumentError",
    "FileChangedError",
    "FormatError",
    "MissingExtraError",
    "MissingFileError",
    "MrcdistError",
    "MrcdistWarning",
    "ReadError",
    "SidecarError",
    "TruncatedFileError",
    "WriteError",
]


class MrcdistWarning(UserWarning):
    """Something in the file is unusual, but the data are unambiguous."""


class MrcdistError(Exception):
    """Base class of all errors raised by mrcdist.

    Parameters
    ----------
    problem : str
        What is wrong, with the offending value. If it begins with the name of `argument`, the
        command line shows its option instead.
    code : str, optional
        Stable identifier, listed on the troubleshooting page. Default: that of the class.
    argument : str, optional
        Name of the invalid argument.
    cause : str, optional
        The probable cause.
    remedy : str, optional
        What the caller can do. Names of arguments are in braces: ``{scan_file=None}``. Default:
        that of the class, if it has one.
    where : str, optional
        Redacted URL, byte range and host, if known.

    Attributes
    ----------
    remedy : str
        The remedy with Python arguments, without braces.
    """

    default_code: ClassVar[Code] = "failed"
    default_remedy: ClassVar[str] = ""

    def __init__(
        self,
        problem: str,
        *,
        code: Code | None = None,
        argument: str = "",
        cause: str = "",
        remedy: str = "",
        where: str = "",
    ) -> None:
        self.problem = printable(problem, lines=True)
        self.code: Code = code or self.default_code
        self.argument = argument
        self.cause = printable(cause, lines=True)
        self.where = printable(where, lines=True)
        self._remedy = printable(remedy or self.default_remedy, lines=True)
        super().__init__(self.text(_in_python))

    @property
    def remedy(self) -> str:
        """Remedy for the caller, in terms of Python arguments."""
        return _with_arguments(self._remedy, _in_python)

    def text(self, name_argument: Callable[[str, str | None], str]) -> str:
        """Return the full message, with arguments formatted by `name_argument`.

        Parameters
        ----------
        name_argument : callable
            Called with the name of an argument and its value as Python code, or None if no value
            is given; returns what the user would write.
        """
        problem = self.problem
        if self.argument and re.match(rf"{re.escape(self.argument)}\b", problem):
            named, rest = name_argument(self.argument, None), problem.removeprefix(self.argument)
            is_option = named != self.argument and rest.startswith("=")
            problem = f"{named} {rest[1:]}" if is_option else f"{named}{rest}"
        remedy = _with_arguments(self._remedy, name_argument)
        details = {"cause": self.cause, "remedy": remedy, "where": self.where}
        lines = [f"  {label}: {text}" for label, text in details.items() if text]
        return "\n".join([problem, *lines])

    def located(self, where: str) -> Self:
        """Return the same error with `where`, unless it has one already."""
        return self if self.where else self._with(where=where)

    def remedied(self, remedy: str) -> Self:
        """Return the same error with another remedy."""
        return self._with(remedy=remedy)

    def _with(self, **details: str) -> Self:
        other = _rebuild(type(self), self.problem, self.code, {**self._details(), **details})
        other.__dict__ |= self._noted()
        return other

    def _details(self) -> dict[str, str]:
        return {
            "argument": self.argument,
            "cause": self.cause,
            "remedy": self._remedy,
            "where": self.where,
        }

    def _noted(self) -> dict[str, list[str]]:
        """Notes of `add_note`, as an exception keeps them; nothing where there are none."""
        notes = getattr(self, "__notes__", ())
        return {"__notes__": list(notes)} if notes else {}

    def __reduce__(self) -> tuple[object, ...]:
        details = (type(self), self.problem, self.code, self._details())
        return _rebuild, details, self._noted() or None


def _rebuild(cls: type[_E], problem: str, code: Code, details: dict[str, str]) -> _E:
    return cls(problem, code=code, **details)


def _with_arguments(text: str, name_argument: Callable[[str, str | None], str]) -> str:
    return _ARGUMENT.sub(lambda found: name_argument(found[1], found[2]), text)


def _in_python(name: str, value: str | None) -> str:
    return name if value is None else f"{name}={value}"


class ArgumentError(MrcdistError, ValueError):
    """An argument or a setting is invalid."""

    default_code: ClassVar[Code] = "argument-invalid"


class FormatError(MrcdistError, ValueError):
    """The file is not a readable MRC file."""

    default_code: ClassVar[Code] = "format-invalid"


class TruncatedFileError(FormatError):
    """The file ends before the data announced by its header."""

    default_code: ClassVar[Code] = "file-truncated"


class SidecarError(FormatError):
    """An auxiliary file (sidecar, scan points) is invalid or contradicts the data."""

    default_code: ClassVar[Code] = "sidecar-invalid"


class MissingExtraError(MrcdistError, ImportError):
    """An optional package that is required for this operation is not installed."""

    default_code: ClassVar[Code] = "package-missing"


class MissingFileError(MrcdistError, FileNotFoundError):
    """The process cannot find the file."""

    default_code: ClassVar[Code] = "file-missing"


class AccessDeniedError(MrcdistError, PermissionError):
    """The file may not be read with these credentials."""

    default_code: ClassVar[Code] = "access-denied"


class FileChangedError(MrcdistError, OSError):
    """The file has changed since it was opened for planning."""

    default_code: ClassVar[Code] = "file-changed"
    default_remedy: ClassVar[str] = (
        "call read_mrc again to plan for the file as it is now, and do not write to it while tasks "
        "run"
    )


class ReadError(MrcdistError, OSError):
    """Reading failed because of the storage or the network."""

    default_code: ClassVar[Code] = "read-failed"


class WriteError(MrcdistError, OSError):
    """Writing failed because of the disk, the storage or the network."""

    default_code: ClassVar[Code] = "write-failed"
