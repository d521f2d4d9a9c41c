"""What loggers tell of closed connections and ended waits; the error of a job tells it already."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack

from distributed.client import AllExit
from distributed.comm.core import CommClosedError
from tornado.iostream import StreamClosedError

__all__ = ["leave_to_errors"]

# Loggers that tell of a closed connection with a traceback.
_LOGGERS = (
    *(f"distributed.{name}" for name in ("batched", "client", "comm.tcp", "core", "utils")),
    *("tornado.application", "asyncio"),
)

# `AllExit` ends a wait for several results, be it that Ctrl-C releases them: distributed asks only
# the first of the tasks that wait how it ended, and asyncio tells of the others.
_NO_NEWS = (AllExit, CommClosedError, StreamClosedError)


def leave_to_errors(stack: ExitStack) -> None:
    """Let loggers say nothing of closed connections and given up waits until a stack ends.

    What the stack disables of logging is enabled at its end, unless a signal ends the program.
    """
    stack.push(_logs_again(logging.root.manager.disable))
    for logger in map(logging.getLogger, _LOGGERS):
        # Before those that take secrets out of a record, and the exception with them.
        logger.filters.insert(0, _is_news)
        stack.callback(logger.removeFilter, _is_news)


def _logs_again(disabled: int) -> Callable[..., None]:
    """Return what lets loggers tell again as before, unless a signal ends the program.

    Ctrl-C may cut off the closing of a connection; then it fails while the program ends.
    """

    def exit_with(kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, Exception):
            logging.disable(disabled)

    return exit_with


def _is_news(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, _NO_NEWS)
