"""What the stores' many exceptions mean: gone, refused, changed, try again, or broken for good."""

from __future__ import annotations

import asyncio
import socket
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
)

__all__ = [
    "Refused",
    "Transient",
    "explain_failure",
    "explain_status",
    "is_past_end",
    "is_refused",
    "is_transient",
    "is_unreachable",
    "what_passes",
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
_CHANGED_REMEDY = (
    "call read_mrc again to plan for the file as it is now, and do not write to it while tasks run"
)
# S3's words for 'later': https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_TRANSIENT_CODES = {
    "SlowDown",
    "RequestTimeout",
    "InternalError",
    "ServiceUnavailable",
    "ThrottlingException",
}
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


class Transient(Exception):  # noqa: N818 a signal to the retry loop, never seen outside
    """An attempt failed in a way that may pass."""


class Refused(Transient):
    """An answer that no store explains: a broken proxy's, which passes, or one that is meant."""


_TRANSIENT = (
    Transient,
    asyncio.TimeoutError,
    ConnectionError,
    aiohttp.ClientConnectionError,
    aiohttp.ClientPayloadError,
    boto.HTTPClientError,
    boto.ConnectionError,
    boto.IncompleteReadError,
    ResponseParserError,  # some stores answer no XML when they are overloaded
)


def explain_status(
    status: int, code: str, shown: str, detail: str = ""
) -> MrcdistError | Transient:
    """Turn an HTTP status and a store's error code to the error to raise."""
    said = (
        f"HTTP {status}"
        + (f" {code}" if code and code != str(status) else "")
        + (f": {detail}" if detail else "")
    )
    if status == 412:
        return FileChangedError(
            f"{shown} is no longer the version that was planned for",
            cause=f"the object was overwritten ({said})",
            remedy=_CHANGED_REMEDY,
        )
    if status == 416:
        return FileChangedError(
            f"{shown} ends before the bytes that were planned for",
            cause=f"the object was replaced by a shorter one ({said})",
            remedy=_CHANGED_REMEDY,
        )
    if status in (401, 403) or code in _DENIED_CODES:
        return AccessDeniedError(
            f"{shown} may not be read", cause=f"the store refused ({said})", remedy=_DENIED_REMEDY
        )
    if status == 404:
        return MissingFileError(
            f"{shown} does not exist", cause=f"the store says so ({said})", remedy=_MISSING_REMEDY
        )
    if status in (408, 429) or status >= 500 or code in _TRANSIENT_CODES:
        return Transient(said)
    if code in ("", str(status)):
        return Refused(said)
    return ReadError(
        f"{shown} could not be read",
        cause=f"the store answered {said}",
        remedy="check the URL and storage_options",
    )


def is_transient(error: BaseException) -> bool:
    """Whether an exception from the network, or one that it was raised from, may pass."""
    if isinstance(error, MrcdistError):
        return False
    status = _status_of(error)
    if status is not None:
        return isinstance(explain_status(*status, ""), Transient)
    chain = list(_chain(error))
    # Certificates do not mend themselves.
    if any("CERTIFICATE_VERIFY_FAILED" in str(seen) for seen in chain):
        return False
    return any(isinstance(seen, _TRANSIENT) for seen in chain)


def is_refused(error: BaseException) -> bool:
    """Whether an answer was an error that no store explains."""
    status = _status_of(error)
    return isinstance(error if status is None else explain_status(*status, ""), Refused)


def is_unreachable(error: BaseException) -> bool:
    """Whether there was nobody to ask: no such host, or nobody who listens there."""
    nobody = (
        aiohttp.ClientConnectorError,
        boto.EndpointConnectionError,
        ConnectionRefusedError,
        socket.gaierror,
    )
    return any(isinstance(seen, nobody) for seen in _chain(error))


def what_passes(error: BaseException) -> BaseException:
    """Of an exception and what it was raised from, the one that may pass.

    fsspec takes a server that cannot be reached for a file that is not there.
    """
    return next((seen for seen in _chain(error) if isinstance(seen, _TRANSIENT)), error)


def is_past_end(error: BaseException) -> bool:
    """Whether a store refused a range because the file ends before it."""
    status = _status_of(error)
    return status is not None and status[0] == 416


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
    status = _status_of(error)
    if status is not None:
        explained = explain_status(status[0], status[1], shown)
        if isinstance(explained, MrcdistError):
            return explained
    if isinstance(error, _NO_CREDENTIALS):
        return AccessDeniedError(
            f"{shown} may not be read", cause=f"no credentials here ({said})", remedy=_PUBLIC_REMEDY
        )
    if isinstance(error, PermissionError):
        return AccessDeniedError(f"{shown} may not be read", cause=said, remedy=_DENIED_REMEDY)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return MissingFileError(
            f"{shown} is not there for this process",
            cause=f"it does not exist, or is not mounted here ({said})",
            remedy=_MISSING_REMEDY,
        )
    if isinstance(error, IsADirectoryError):
        return MissingFileError(
            f"{shown} is a folder", cause=said, remedy="name the .mrc file in it"
        )
    return ReadError(
        f"{shown} could not be read",
        cause=said,
        remedy="check that the store can be reached from this host, the URL and storage_options",
    )


def _status_of(error: BaseException) -> tuple[int, str] | None:
    """Find an HTTP status in an exception or what it was raised from."""
    for seen in _chain(error):
        response: Any = getattr(seen, "response", None)
        if isinstance(seen, boto.ClientError) and isinstance(response, dict):
            return (
                int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)),
                str(response.get("Error", {}).get("Code", "")),
            )
        if isinstance(seen, aiohttp.ClientResponseError):
            return seen.status, ""
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, what it was raised from, and so on."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__
