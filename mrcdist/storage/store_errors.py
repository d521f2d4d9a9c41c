"""Explanation of errors of stores (S3, HTTP, disks): problem, cause and remedy.

Which failures are retried instead, such as HTTP 429, is decided in `retry`.
"""

from __future__ import annotations

import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable

from botocore import exceptions as boto

from mrcdist.errors import (
    AccessDeniedError,
    FileChangedError,
    MissingFileError,
    MrcdistError,
    ReadError,
    TruncatedFileError,
)
from mrcdist.storage.retry import (
    DENIED_CODES,
    Transient,
    describe,
    http_status,
    transient_status,
)

_MISSING_REMEDY = (
    "check the spelling, and that the file is where every worker can read it (a shared filesystem "
    "at the same path, or an object store URL)"
)
_DENIED_REMEDY = (
    "give this process credentials that may read the file: in `storage_options`, or in the "
    "environment or instance role of every worker"
)
_PUBLIC_REMEDY = (
    f'a public bucket needs none: `storage_options={{"anon": True}}`; else {_DENIED_REMEDY}'
)

_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.SSOError,
)

_DAMAGED = (gzip.BadGzipFile, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, zlib.error)


def response_error(
    status: int, code: str, shown: str, detail: str = ""
) -> MrcdistError | Transient:
    """Convert an HTTP status and a store's error code to the error to raise."""
    response = (
        f"HTTP {status}"
        + (f" {code}" if code and code != str(status) else "")
        + (f": {detail}" if detail else "")
    )
    if kind := transient_status(status, code):
        return kind(response)
    if status == 412:
        return FileChangedError(
            f"{shown} is no longer the planned version",
            cause=f"the object was overwritten ({response})",
        )
    if status == 416:
        return FileChangedError(
            f"{shown} ends before the planned byte range",
            cause=f"the object was replaced by a shorter one ({response})",
        )
    if status in (401, 403) or code in DENIED_CODES:
        cause = f"the store refused ({response})"
        return AccessDeniedError(
            f"no permission to read {shown}", cause=cause, remedy=_DENIED_REMEDY
        )
    if status == 404:
        cause = f"reported by the store ({response})"
        return MissingFileError(f"{shown} does not exist", cause=cause, remedy=_MISSING_REMEDY)
    return _request_refused(shown, response)


def _request_refused(shown: str, response: object, *, server_error: bool = False) -> ReadError:
    return ReadError(
        f"{shown} could not be read",
        code="request-refused",
        cause=f"the store answered {response}",
        remedy="try again later, and check that the store can be reached from this host"
        if server_error
        else "check the URL and `storage_options`",
    )


def is_past_end(error: BaseException) -> bool:
    """Whether a store refused a range because the file ends before it."""
    status = http_status(error)
    return status is not None and status[0] == 416


def explain_failure(error: BaseException, shown: str, scrub: Callable[[str], str]) -> MrcdistError:
    """Convert any exception of a filesystem to a `MrcdistError`.

    `shown` and `scrub` are those of a `Location`.
    """
    if isinstance(error, MrcdistError):
        return error
    if (status := http_status(error)) is not None:
        explained = response_error(*status, shown)
        if isinstance(explained, MrcdistError):
            return explained
        return _request_refused(shown, explained, server_error=status[0] >= 500)
    return _explain_exception(error, shown, scrub(describe(error)))


def _explain_exception(error: BaseException, shown: str, text: str) -> MrcdistError:
    """Convert an exception without an HTTP status; `text` describes it without secrets."""
    if isinstance(error, _NO_CREDENTIALS):
        return AccessDeniedError(
            f"no permission to read {shown}",
            code="credentials-missing",
            cause=f"no credentials found ({text})",
            remedy=_PUBLIC_REMEDY,
        )
    if isinstance(error, PermissionError):
        problem = f"no permission to read {shown}"
        return AccessDeniedError(problem, cause=text, remedy=_DENIED_REMEDY)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        problem = f"{shown} was not found by this process"
        cause = f"it does not exist, or is not mounted on this host ({text})"
        return MissingFileError(problem, cause=cause, remedy=_MISSING_REMEDY)
    if isinstance(error, IsADirectoryError):
        return MissingFileError(
            f"{shown} is a folder",
            code="file-is-folder",
            cause=text,
            remedy="pass the .mrc file in it",
        )
    # The error of bz2 has no type of its own.
    if isinstance(error, _DAMAGED) or str(error) == "Invalid data stream":
        return TruncatedFileError(
            f"{shown}: the archive is damaged or truncated",
            code="archive-damaged",
            cause=text,
            remedy="copy the archive again",
        )
    return ReadError(
        f"{shown} could not be read",
        cause=text,
        remedy="check that the store can be reached from this host, the URL and `storage_options`",
    )
