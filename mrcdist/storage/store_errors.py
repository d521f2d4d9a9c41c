"""Errors of stores (S3, HTTP, disks): which are retried, and what the others become."""

from __future__ import annotations

import asyncio
import gzip
import lzma
import socket
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from mrcdist.errors import (
    AccessDeniedError,
    FileChangedError,
    MissingFileError,
    MrcdistError,
    ReadError,
    TruncatedFileError,
)

_MISSING_REMEDY = (
    "check the spelling, and that the file is where every worker can read it (a shared filesystem "
    "at the same path, or an object store URL)"
)
_DENIED_REMEDY = (
    "give this process credentials that may read the file: in storage_options, or in the "
    "environment or instance role of every worker"
)
_PUBLIC_REMEDY = (
    'a public bucket needs none: storage_options={"anon": True}, or --storage-option anon=true; '
    f"else {_DENIED_REMEDY}"
)
_DENIED_CODES = (
    *("AccessDenied", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken"),
    *("SignatureDoesNotMatch", "TokenRefreshRequired"),
)

# HTTP statuses that are tried again, besides 500 and above: Request Timeout, Too Many Requests.
_RETRIED_STATUSES = (408, 429)

# S3's words for 'later': https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_RETRIED_CODES = (
    *("SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "ThrottlingException"),
)

_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.SSOError,
)

_DAMAGED = (gzip.BadGzipFile, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, zlib.error)


class Transient(Exception):  # noqa: N818 a signal to the retry loop, never seen outside
    """An attempt failed in a way that may pass."""


class Refused(Transient):
    """An answer that no store explains: a broken proxy's, which passes, or one that is meant."""


class Unreachable(Transient):
    """There was nobody to ask: no such host, or nobody who listens there."""


_TRANSIENT = (
    Transient,
    asyncio.TimeoutError,
    ConnectionError,
    aiohttp.ClientConnectionError,
    aiohttp.ClientPayloadError,
    boto.HTTPClientError,
    boto.ConnectionError,
    boto.IncompleteReadError,
    boto.FlexibleChecksumError,  # bytes that were spoilt on the way
    ResponseParserError,  # some stores answer no XML when they are overloaded
)
_UNREACHABLE = (
    aiohttp.ClientConnectorError,
    boto.EndpointConnectionError,
    ConnectionRefusedError,
    socket.gaierror,
)


def answer_error(status: int, code: str, shown: str, detail: str = "") -> MrcdistError | Transient:
    """Turn an HTTP status and a store's error code to the error to raise."""
    answered = (
        f"HTTP {status}"
        + (f" {code}" if code and code != str(status) else "")
        + (f": {detail}" if detail else "")
    )
    if status == 412:
        return FileChangedError(
            f"{shown} is no longer the version that was planned for",
            cause=f"the object was overwritten ({answered})",
        )
    if status == 416:
        return FileChangedError(
            f"{shown} ends before the bytes that were planned for",
            cause=f"the object was replaced by a shorter one ({answered})",
        )
    if status in (401, 403) or code in _DENIED_CODES:
        cause = f"the store refused ({answered})"
        return AccessDeniedError(f"{shown} may not be read", cause=cause, remedy=_DENIED_REMEDY)
    if status == 404:
        cause = f"reported by the store ({answered})"
        return MissingFileError(f"{shown} does not exist", cause=cause, remedy=_MISSING_REMEDY)
    if status in _RETRIED_STATUSES or status >= 500 or code in _RETRIED_CODES:
        return Transient(answered)
    if code in ("", str(status)):
        return Refused(answered)
    return _request_refused(shown, answered, "check the URL and storage_options")


def _request_refused(shown: str, answered: object, remedy: str) -> ReadError:
    return ReadError(
        f"{shown} could not be read",
        code="request-refused",
        cause=f"the store answered {answered}",
        remedy=remedy,
    )


def as_transient(error: BaseException) -> Transient | None:
    """Return a failure that may pass as what `said` understands; None if it will not pass.

    It may pass for what it was raised from, too: fsspec takes a server that cannot be reached for
    a file that is not there.
    """
    if isinstance(error, Transient | MrcdistError):
        return error if isinstance(error, Transient) else None
    chain = list(_causes(error))
    cause = next((seen for seen in chain if isinstance(seen, _TRANSIENT)), None)
    if (status := _status_of(error)) is not None:
        answer = answer_error(*status, "")
        return type(answer)(said(cause or error)) if isinstance(answer, Transient) else None
    # Certificates do not mend themselves.
    if cause is None or any("CERTIFICATE_VERIFY_FAILED" in str(seen) for seen in chain):
        return None
    nobody = any(isinstance(seen, _UNREACHABLE) for seen in chain)
    return (Unreachable if nobody else Transient)(said(cause))


def said(error: BaseException) -> str:
    """Return the type and the words of an exception, in which there may be secrets."""
    if isinstance(error, Transient):
        return str(error)
    name = type(error).__name__
    if str(error):
        return f"{name}: {error}"
    return "no byte in time" if isinstance(error, TimeoutError) else name


def is_past_end(error: BaseException) -> bool:
    """Whether a store refused a range because the file ends before it."""
    status = _status_of(error)
    return status is not None and status[0] == 416


def explain_failure(error: BaseException, shown: str, scrub: Callable[[str], str]) -> MrcdistError:
    """Turn any exception of a filesystem to one of ours; `shown` and `scrub` are a location's."""
    if isinstance(error, MrcdistError):
        return error
    words = scrub(said(error))
    if (status := _status_of(error)) is not None:
        explained = answer_error(*status, shown)
        if isinstance(explained, MrcdistError):
            return explained
        remedy = "try again later, and check that the store can be reached from this host"
        if status[0] < 500:
            remedy = "check the URL and storage_options"
        return _request_refused(shown, explained, remedy)
    if isinstance(error, _NO_CREDENTIALS):
        return AccessDeniedError(
            f"{shown} may not be read",
            code="credentials-missing",
            cause=f"no credentials here ({words})",
            remedy=_PUBLIC_REMEDY,
        )
    if isinstance(error, PermissionError):
        return AccessDeniedError(f"{shown} may not be read", cause=words, remedy=_DENIED_REMEDY)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        cause = f"it does not exist, or is not mounted here ({words})"
        problem = f"{shown} was not found by this process"
        return MissingFileError(problem, cause=cause, remedy=_MISSING_REMEDY)
    if isinstance(error, IsADirectoryError):
        return MissingFileError(
            f"{shown} is a folder",
            code="file-is-folder",
            cause=words,
            remedy="pass the .mrc file in it",
        )
    # bz2's error has no type of its own.
    if isinstance(error, _DAMAGED) or str(error) == "Invalid data stream":
        return TruncatedFileError(
            f"{shown}: the archive is damaged or truncated",
            code="archive-damaged",
            cause=words,
            remedy="copy the archive again",
        )
    return ReadError(
        f"{shown} could not be read",
        cause=words,
        remedy="check that the store can be reached from this host, the URL and storage_options",
    )


def _status_of(error: BaseException) -> tuple[int, str] | None:
    """Find an HTTP status in an exception or what it was raised from."""
    for seen in _causes(error):
        response: Any = getattr(seen, "response", None)
        if isinstance(seen, boto.ClientError) and isinstance(response, dict):
            return (
                int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)),
                str(response.get("Error", {}).get("Code", "")),
            )
        if isinstance(seen, aiohttp.ClientResponseError):
            return seen.status, ""
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception, what it was raised from, and so on."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__
