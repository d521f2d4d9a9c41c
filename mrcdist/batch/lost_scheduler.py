"""A lost scheduler: one error instead of everything that distributed raises and logs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client
from distributed.client import AllExit, FutureCancelledError
from distributed.comm.core import CommClosedError
from tornado.iostream import StreamClosedError

from mrcdist.errors import MrcdistError

# Time for the scheduler to respond after a failed call, in seconds.
_TIMEOUT = 5.0

# Loggers that report a closed connection with a traceback.
_LOGGERS = (
    *(f"distributed.{name}" for name in ("batched", "client", "comm.tcp", "core", "utils")),
    *("tornado.application", "asyncio"),
)

# Errors that are not logged. `AllExit` ends a wait for several results, even if Ctrl-C releases
# them: distributed retrieves the exception of the first waiting task only, asyncio logs the others.
_EXPECTED = (AllExit, CommClosedError, StreamClosedError)


@contextmanager
def scheduler_watched(client: Client, resume_hint: str) -> Iterator[None]:
    """Raise `MrcdistError` if a call in the block fails because the scheduler was lost.

    Its remedy ends with `resume_hint`.
    """
    try:
        yield
    except MrcdistError:
        raise  # already explained; some of these are also an OSError
    except (FutureCancelledError, OSError) as error:
        is_lost = isinstance(error, FutureCancelledError | CommClosedError)
        # Any other error concerns a file, or a connection that cannot be made or does not respond.
        if not is_lost and (error.filename is not None or _responds(client)):
            raise
        raise MrcdistError(
            "the scheduler is gone, and the job with it",
            code="scheduler-dropped-job",
            cause=str(error),
            remedy=f"look at the scheduler's log, then {resume_hint}",
        ) from None


def _responds(client: Client) -> bool:
    try:
        client.sync(client.scheduler.identity, callback_timeout=_TIMEOUT)
    except Exception:  # noqa: BLE001 depends on the protocol
        return False
    return True


@contextmanager
def logs_left_to_errors() -> Iterator[None]:
    """Suppress log records about closed connections and cancelled waits.

    If the block disables logging, it is enabled again at the end, except after Ctrl-C: the closing
    of a connection may then have been interrupted, and fails while the program exits.
    """
    disabled = logging.root.manager.disable
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        # As the first filter, since those that redact a record drop its exception.
        logger.filters.insert(0, _is_unexpected)
    try:
        yield
    except Exception:
        logging.disable(disabled)
        raise
    else:
        logging.disable(disabled)
    finally:
        for logger in loggers:
            logger.removeFilter(_is_unexpected)


def _is_unexpected(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, _EXPECTED)
