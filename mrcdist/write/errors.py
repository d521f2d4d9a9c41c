"""Errors of writing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsspec.core import split_protocol

from mrcdist.errors import (
    AccessDeniedError,
    ArgumentError,
    MissingFileError,
    MrcdistError,
    ReadError,
    WriteError,
)
from mrcdist.storage.location import Location, here
from mrcdist.storage.store_errors import explain_failure
from mrcdist.storage.url import lies_in


@contextmanager
def write_errors(location: Location) -> Iterator[None]:
    """Turn what a store raises, or what reading would say of it, to an error of writing."""
    try:
        yield
    except (WriteError, ArgumentError, CancelledError):
        raise
    except Exception as error:  # noqa: BLE001 each store has its own errors
        raise _explained(explain_failure(error, location.shown, location.scrub), location) from None


def _explained(error: MrcdistError, location: Location) -> MrcdistError:
    where = error.where or here(location)
    if isinstance(error, AccessDeniedError):
        return AccessDeniedError(
            f"{location.shown} may not be written",
            code=error.code,
            cause=error.cause,
            remedy="write to a folder in which every worker may create files"
            if location.is_local
            else "give this process credentials that may write here: in storage_options, or in the "
            "environment or instance role of every worker",
            where=where,
        )
    if not isinstance(error, MissingFileError | ReadError):
        return error
    if location.is_local:
        remedy = (
            "check that every worker has the folder at the same path and may write to it, then "
            "call again with {resume=True}"
        )
    elif isinstance(error, MissingFileError):
        remedy = (
            "check that the bucket or folder exists, and that nobody removes what is being written"
        )
    else:
        remedy = (
            "check the store and the network, then call again, with {resume=True} if the first "
            "call had it"
        )
    problem = f"{location.shown} could not be written"
    return WriteError(problem, cause=error.cause, remedy=remedy, where=where)


def give_up(abandon: Callable[[], object], error: BaseException) -> None:
    """Abandon what was begun; that this failed, too, is a note of the first error."""
    try:
        abandon()
    except MrcdistError as failure:
        error.add_note(f"what was written before could not all be removed: {failure}")


def exists(
    shown: str, argument: str = "url", otherwise: str = "pass {overwrite=True}"
) -> ArgumentError:
    """Build the error for a file that is there."""
    return ArgumentError(
        f"{shown} exists",
        code="destination-exists",
        argument=argument,
        cause="existing files are not replaced by default",
        remedy=f"choose another name, or {otherwise}",
    )


def is_input(shown: str, argument: str, cause: str) -> ArgumentError:
    """Build the error for a file that would be replaced while it is read."""
    return ArgumentError(
        f"{shown} is an input",
        code="destination-is-input",
        argument=argument,
        cause=cause,
        remedy="choose another name",
    )


def require_other(destination: Location, source: Location, shown: str, argument: str) -> None:
    """Raise if a destination is an input, by whatever name, or a folder with an input in it."""
    for part in source.url.split("::") if destination.is_local else ():
        protocol, name = split_protocol(part)
        if protocol in (None, "file", "local"):
            path, file = Path(destination.url), Path(name)
            if path.exists() and file.exists() and path.samefile(file):
                raise is_input(shown, argument, f"it is the same file as {source.shown}")
            if lies_in(file, path):
                raise is_input(shown, argument, f"{source.shown} is in this folder, and is read")
    if f"{source.url}/".startswith(f"{destination.url.rstrip('/')}/"):
        raise is_input(shown, argument, f"{source.shown} is read")


def incomplete(location: Location, found: int, expected: int, what: str) -> WriteError:
    """Build the error for parts or bytes that are not those which were written."""
    return WriteError(
        f"{location.shown}: {found} of {expected} {what} have arrived",
        cause="the store lost some, or another process has removed them or written to them",
        remedy="call again with {overwrite=True}",
        where=here(location),
    )


def overtaken(location: Location, left: str) -> WriteError:
    """Build the error for a call of which the unfinished file is no longer there."""
    return WriteError(
        f"{location.shown}: the unfinished file is no longer there",
        code="unfinished-file-missing",
        cause=f"another call with {{overwrite=True}} has taken over, {left} was removed after a "
        "failure or by somebody, or this worker sees another folder of that name",
        remedy="write a file with one call at a time, to a folder that all workers share",
        where=here(location),
    )


def interrupted(
    shown: str, left: str, differs: tuple[Any, Mapping[str, Any]] | None = None
) -> ArgumentError:
    """Build the error for a write that has begun before, of which `left` is there.

    `differs` are the records of that and of this one, if something else was begun; where these are
    the same, its cells do not fit.
    """
    if differs and differs[0] == differs[1]:
        return ArgumentError(
            f"{shown} cannot be resumed here",
            code="destination-differs",
            argument="resume",
            cause=f"{left} was started by an earlier version of mrcdist, or by a host that has "
            "this folder on its own disk and not on a network: blocks were cut otherwise",
            remedy=f"resume it there, or delete {left} to start over",
        )
    if differs:
        return ArgumentError(
            f"{shown}: an earlier call has written a different array",
            code="destination-differs",
            argument="resume",
            cause=f"{left} was started with other {_difference(*differs)}",
            remedy=f"pass the same data in the same chunks, or delete {left} to start over",
        )
    return ArgumentError(
        f"{shown} is being written, or an earlier call was interrupted",
        code="destination-busy",
        argument="url",
        cause=f"{left} exists",
        remedy="wait for the other one; if there is none, pass {resume=True} to go on, or "
        f"{{overwrite=True}} to start over, or delete {left}",
    )


def _difference(then: Any, now: Mapping[str, Any]) -> str:
    """Name what differs: the longest chunks, if these do."""
    before = then if isinstance(then, Mapping) else {}
    for key in ("read_chunks", "chunks"):
        old, new = before.get(key), now.get(key)
        if old and new and old != new:
            old, new = (" × ".join(str(max(axis)) for axis in chunks) for chunks in (old, new))
            return f"chunks: up to {old} then, {new} now"
    return "data, dtype, chunks or metadata"
