"""Errors of writing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager

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


@contextmanager
def write_errors(location: Location) -> Iterator[None]:
    """Turn exceptions of a store, and errors of reading, into errors of writing."""
    try:
        yield
    except (WriteError, ArgumentError, CancelledError):
        raise
    except Exception as error:  # noqa: BLE001 each store has its own errors
        failure = explain_failure(error, location.shown, location.scrub)
        raise _of_writing(failure, location) from None


def _of_writing(error: MrcdistError, location: Location) -> MrcdistError:
    where = error.where or here(location)
    if isinstance(error, AccessDeniedError):
        return AccessDeniedError(
            f"no permission to write {location.shown}",
            code=error.code,
            cause=error.cause,
            remedy="write to a folder in which every worker may create files"
            if location.is_local
            else "give this process credentials with write access: in `storage_options`, or in the "
            "environment or instance role of every worker",
            where=where,
        )
    if not isinstance(error, MissingFileError | ReadError):
        return error
    if location.is_local:
        remedy = (
            "check that every worker has the folder at the same path and may write to it, then "
            "call again with `resume=True`"
        )
    elif isinstance(error, MissingFileError):
        remedy = "check that the bucket or folder exists, and that nobody deletes unfinished files"
    else:
        remedy = (
            "check the store and the network, then call again, with `resume=True` if the first "
            "call had it"
        )
    problem = f"{location.shown} could not be written"
    return WriteError(problem, cause=error.cause, remedy=remedy, where=where)


@contextmanager
def abandoned_on_failure(abandon: Callable[[], object]) -> Iterator[None]:
    """If the block fails, call `abandon` to remove an unfinished file.

    The error of the block is raised even if that fails, too, with a note on it.
    """
    try:
        yield
    except BaseException as error:
        try:
            abandon()
        except (MrcdistError, OSError) as failure:
            error.add_note(f"unfinished files could not all be removed: {failure}")
        raise


def exists(
    shown: str, argument: str = "url", alternative: str = "pass `overwrite=True`"
) -> ArgumentError:
    """Build the error for a file that already exists."""
    return ArgumentError(
        f"{shown} exists",
        code="destination-exists",
        argument=argument,
        cause="existing files are not replaced by default",
        remedy=f"choose another name, or {alternative}",
    )


def in_the_way(shown: str, argument: str, cause: str) -> ArgumentError:
    """Build the error for something that has the name of a new file or folder."""
    return ArgumentError(
        f"{shown} is in the way",
        code="destination-invalid",
        argument=argument,
        cause=cause,
        remedy="delete or rename it, or choose another name",
    )


def is_input(destination: Location, argument: str, cause: str) -> ArgumentError:
    """Build the error for a destination that is also an input."""
    return ArgumentError(
        f"`{argument}={destination.shown}` is an input",
        code="destination-is-input",
        argument=argument,
        cause=cause,
        remedy="choose another name",
    )


def incomplete(location: Location, count: int, expected: int, items: str) -> WriteError:
    """Build the error for parts or bytes that are missing, or that this call has not written."""
    return WriteError(
        f"{location.shown}: {count} of {expected} {items} have arrived",
        cause="the store lost some, or another process has removed or changed them",
        remedy="call again with `overwrite=True`",
        where=here(location),
    )


def overtaken(location: Location, unfinished: str) -> WriteError:
    """Build the error for a call whose `unfinished` file was removed or taken over."""
    return WriteError(
        f"{location.shown}: the unfinished file no longer exists",
        code="unfinished-file-missing",
        cause=f"another call with `overwrite=True` has taken over, {unfinished} was deleted, or "
        "this worker sees a different folder under that path",
        remedy="write a file with only one call at a time, to a folder that all workers share",
        where=here(location),
    )


def busy(location: Location, unfinished: str) -> ArgumentError:
    """Build the error for a file that another call is writing, or was when it was interrupted."""
    return ArgumentError(
        f"{location.shown} is being written, or an earlier call was interrupted",
        code="destination-busy",
        argument="url",
        cause=f"{unfinished} exists",
        remedy="wait for the other call; if there is none, pass `resume=True` to continue, or "
        f"`overwrite=True` to start over, or delete {unfinished}",
    )
