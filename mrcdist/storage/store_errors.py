"""Errors of stores (S3, HTTP, disks) → errors of mrcdist: missing, refused, changed, unreadable."""

from __future__ import annotations

import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
from botocore import exceptions as boto

from mrcdist.errors import (
    AccessDeniedError,
    FileChangedError,
    MissingFileError,
    MrcdistError,
    ReadError,
    TruncatedFileError,
)

__all__ = [
    "causes",
    "describe_status",
    "explain_failure",
    "explain_status",
    "is_final",
    "is_past_end",
    "status_of",
]

_MISSING_REMEDY = (
    "check the spelling, and that the file is where every worker can read it (a shared filesystem "
    "at the same path, or an object store URL)"
)
_DENIED_REMEDY = (
    "give this process credentials that may read the file: in storage_options, or in the "
    "environment "
    "or instance role of every worker"
)
_PUBLIC_REMEDY = (
    'a public bucket needs none: storage_options={"anon": True}, or --storage-option anon=true; '
    f"else {_DENIED_REMEDY}"
)
_DENIED_CODES = {
    "AccessDenied",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}


_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.SSOError,
)

_DAMAGED = (
    gzip.BadGzipFile,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


def is_final(status: int, code: str) -> bool:
    """Whether an answer says something about the file, so that asking again is no use."""
    return status in (401, 403, 404, 412, 416) or code in _DENIED_CODES


def explain_status(status: int, code: str, shown: str, detail: str = "") -> MrcdistError:
    """Turn an HTTP status and a store's error code to the error to raise."""
    said = describe_status(status, code, detail)
    if status == 412:
        return FileChangedError(
            f"{shown} is no longer the version that was planned for",
            cause=f"the object was overwritten ({said})",
        )
    if status == 416:
        return FileChangedError(
            f"{shown} ends before the bytes that were planned for",
            cause=f"the object was replaced by a shorter one ({said})",
        )
    if status in (401, 403) or code in _DENIED_CODES:
        return AccessDeniedError(
            f"{shown} may not be read", cause=f"the store refused ({said})", remedy=_DENIED_REMEDY
        )
    if status == 404:
        return MissingFileError(
            f"{shown} does not exist",
            cause=f"reported by the store ({said})",
            remedy=_MISSING_REMEDY,
        )
    return ReadError(
        f"{shown} could not be read",
        code="request-refused",
        cause=f"the store answered {said}",
        remedy="check the URL and storage_options"
        if status < 500
        else "try again later, and check that the store can be reached from this host",
    )


def is_past_end(error: BaseException) -> bool:
    """Whether a store refused a range because the file ends before it."""
    status = status_of(error)
    return status is not None and status[0] == 416


def describe_status(status: int, code: str, detail: str = "") -> str:
    """Return what a store answered, such as "HTTP 403 AccessDenied: no such user"."""
    return (
        f"HTTP {status}"
        + (f" {code}" if code and code != str(status) else "")
        + (f": {detail}" if detail else "")
    )


def explain_failure(error: BaseException, shown: str, scrub: Callable[[str], str]) -> MrcdistError:
    """Turn any exception of a filesystem to one of ours.

    Parameters
    ----------
    error : BaseException
    shown : str
        The redacted URL.
    scrub : callable
        Removes secrets from a text.
    """
    if isinstance(error, MrcdistError):
        return error
    said = f"{type(error).__name__}: {scrub(str(error))}" if str(error) else type(error).__name__
    status = status_of(error)
    if status is not None:
        return explain_status(*status, shown)
    if isinstance(error, _NO_CREDENTIALS):
        return AccessDeniedError(
            f"{shown} may not be read",
            code="credentials-missing",
            cause=f"no credentials here ({said})",
            remedy=_PUBLIC_REMEDY,
        )
    if isinstance(error, PermissionError):
        return AccessDeniedError(f"{shown} may not be read", cause=said, remedy=_DENIED_REMEDY)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return MissingFileError(
            f"{shown} was not found by this process",
            cause=f"it does not exist, or is not mounted here ({said})",
            remedy=_MISSING_REMEDY,
        )
    if isinstance(error, IsADirectoryError):
        return MissingFileError(
            f"{shown} is a folder",
            code="file-is-folder",
            cause=said,
            remedy="pass the .mrc file in it",
        )
    # bz2's error has no type of its own.
    if isinstance(error, _DAMAGED) or str(error) == "Invalid data stream":
        return TruncatedFileError(
            f"{shown}: the archive is damaged or truncated",
            code="archive-damaged",
            cause=said,
            remedy="copy the archive again",
        )
    return ReadError(
        f"{shown} could not be read",
        cause=said,
        remedy="check that the store can be reached from this host, the URL and storage_options",
    )


def status_of(error: BaseException) -> tuple[int, str] | None:
    """Find an HTTP status in an exception or what it was raised from."""
    for seen in causes(error):
        response: Any = getattr(seen, "response", None)
        if isinstance(seen, boto.ClientError) and isinstance(response, dict):
            return (
                int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)),
                str(response.get("Error", {}).get("Code", "")),
            )
        if isinstance(seen, aiohttp.ClientResponseError):
            return seen.status, ""
    return None


def causes(error: BaseException) -> Iterator[BaseException]:
    """The exception, what it was raised from, and so on."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__
