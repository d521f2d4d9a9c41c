"""A lost scheduler: one error in place of everything that distributed raises and logs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client
from distributed.client import AllExit, FutureCancelledError
from distributed.comm.core import CommClosedError
from tornado.iostream import StreamClosedError

from mrcdist.errors import MrcdistError

# Seconds for the scheduler to answer when a call has failed.
_PATIENCE = 5.0

# Loggers that tell of a closed connection with a traceback.
_LOGGERS = (
    *(f"distributed.{name}" for name in ("batched", "client", "comm.tcp", "core", "utils")),
    *("tornado.application", "asyncio"),
)

# `AllExit` ends a wait for several results, be it that Ctrl-C releases them: distributed asks only
# the first of the tasks that wait how it ended, and asyncio tells of the others.
_NO_NEWS = (AllExit, CommClosedError, StreamClosedError)


@contextmanager
def scheduler_watched(client: Client, again: str) -> Iterator[None]:
    """Raise `MrcdistError` where a call in the block fails because the scheduler is gone.

    Its remedy ends with what the caller can do then: `again`.
    """
    try:
        yield
    except MrcdistError:
        raise  # known already; that a file cannot be read or written is an OSError, too
    except (FutureCancelledError, OSError) as error:
        told = isinstance(error, FutureCancelledError | CommClosedError)
        # Else it is of a file, or of a connection that cannot be made or does not answer.
        if not told and (error.filename is not None or _answers(client)):
            raise
        raise MrcdistError(
            "the scheduler is gone, and the job with it",
            code="scheduler-dropped-job",
            cause=str(error),
            remedy=f"look at the scheduler's log, then {again}",
        ) from None


def _answers(client: Client) -> bool:
    try:
        client.sync(client.scheduler.identity, callback_timeout=_PATIENCE)
    except Exception:  # noqa: BLE001 each protocol has its own errors
        return False
    return True


@contextmanager
def logs_left_to_errors() -> Iterator[None]:
    """Let loggers say nothing of closed connections and given up waits.

    What the block disables of logging is enabled at its end, unless a signal ends the program:
    Ctrl-C may cut off the closing of a connection, which then fails while the program ends.
    """
    disabled = logging.root.manager.disable
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        # Before those that take secrets out of a record, and the exception with them.
        logger.filters.insert(0, _is_news)
    try:
        yield
    except Exception:
        logging.disable(disabled)
        raise
    else:
        logging.disable(disabled)
    finally:
        for logger in loggers:
            logger.removeFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, _NO_NEWS)
