"""What can go wrong, each with the value, the cause and the remedy.

Every error is a subclass of `MrcdistError` and of the builtin that a caller would catch. Errors
cross process boundaries: they hold strings only, they pickle, and whoever raises one passes URLs
that are already redacted (see `mrcdist.storage.location`).
"""

from __future__ import annotations

from typing import Self, TypeVar

_E = TypeVar("_E", bound="MrcdistError")

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
]


class MrcdistWarning(UserWarning):
    """The data are certain, something about the file is odd."""


class MrcdistError(Exception):
    """Base of all errors raised on purpose.

    Parameters
    ----------
    problem : str
        What is wrong, with the offending value.
    cause : str, optional
        Why it probably came to be.
    remedy : str, optional
        What the caller can do.
    where : str, optional
        Redacted URL, byte range and host, where they are known.
    """

    def __init__(self, problem: str, *, cause: str = "", remedy: str = "", where: str = "") -> None:
        self.problem = problem
        self.cause = cause
        self.remedy = remedy
        self.where = where
        lines = [problem]
        lines += [f"  {label}: {text}" for label, text in self._details().items() if text]
        super().__init__("\n".join(lines))

    def _details(self) -> dict[str, str]:
        return {"cause": self.cause, "remedy": self.remedy, "where": self.where}

    def located(self, where: str) -> Self:
        """Return the same error with the place where it happened, unless it has one."""
        return (
            self
            if self.where
            else _rebuild(type(self), self.problem, {**self._details(), "where": where})
        )

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.problem, self._details())


def _rebuild(cls: type[_E], problem: str, details: dict[str, str]) -> _E:
    return cls(problem, **details)


class ArgumentError(MrcdistError, ValueError):
    """An argument of the public functions cannot be used."""


class FormatError(MrcdistError, ValueError):
    """The bytes are not those of an MRC file that can be read."""


class TruncatedFileError(FormatError):
    """The file ends before the data that its header announces."""


class SidecarError(FormatError):
    """A file beside the data (sidecar, scan points) cannot be used or contradicts the data."""


class MissingExtraError(MrcdistError, ImportError):
    """A package that this file needs, and that is optional, is not installed here."""


class MissingFileError(MrcdistError, FileNotFoundError):
    """The process that needs the file cannot see it."""


class AccessDeniedError(MrcdistError, PermissionError):
    """The file exists and may not be read with these credentials."""


class FileChangedError(MrcdistError, OSError):
    """The file is not the one that was planned for."""


class ReadError(MrcdistError, OSError):
    """Reading failed for good: storage or network."""
