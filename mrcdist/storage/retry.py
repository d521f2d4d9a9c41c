"""Retries: which failures are tried again (HTTP 429, …), how soon, and when it is given up.

The libraries below (s3fs, botocore) are told to try once; otherwise their loops would multiply with
this one.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, TypeVar

import aiohttp
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from mrcdist import stats
from mrcdist.config import ReadSettings
from mrcdist.errors import MrcdistError, ReadError
from mrcdist.progress import waiting
from mrcdist.storage.store_errors import (
    causes,
    describe_status,
    explain_failure,
    explain_status,
    is_final,
    status_of,
)

__all__ = [
    "Attempts",
    "Refused",
    "Transient",
    "answer_error",
    "is_stopped",
    "is_transient",
    "retried",
    "retried_async",
    "stop_retries",
]

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

# HTTP statuses that are tried again, besides 500 and above: Request Timeout, Too Many Requests.
_RETRIED_STATUSES = (408, 429)

# S3's words for 'later': https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_RETRIED_CODES = (
    "SlowDown",
    "RequestTimeout",
    "InternalError",
    "ServiceUnavailable",
    "ThrottlingException",
)

# Seconds: the longest first wait, doubled after each failure up to a limit. The wait itself is
# drawn evenly from nothing to that ("full jitter"), so that workers that failed together do not
# come back together: https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
_FIRST_WAIT = 0.1
_LONGEST_WAIT = 10.0

# Seconds that an attempt begun just before the deadline has.
_LEAST_SILENCE = 0.01

# Attempts, some three seconds in all, at a host that nothing was heard of before and that is not
# there: its name is misspelt more often than it is about to come back.
_ATTEMPTS_AT_FIRST_CONTACT = 6

# Answers in a row, such as HTTP 400 without a reason, after which they are taken as they are meant:
# a proxy that spoils one of five does so six times running once in 15,000 requests.
_ATTEMPTS_WHEN_REFUSED = 6

# A silence that lasts so many seconds longer than was allowed has another cause than the store.
_OVERSLEPT = 1.0


_stopped: ContextVar[threading.Event | None] = ContextVar("stopped", default=None)


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
    boto.FlexibleChecksumError,  # bytes that were spoilt on the way
    ResponseParserError,  # some stores answer no XML when they are overloaded
)
_UNREACHABLE = (
    aiohttp.ClientConnectorError,
    boto.EndpointConnectionError,
    ConnectionRefusedError,
    socket.gaierror,
)


def is_transient(error: BaseException) -> bool:
    """Whether an exception from the network, or one that it was raised from, may pass."""
    if isinstance(error, MrcdistError):
        return False
    status = status_of(error)
    if status is not None:
        return isinstance(answer_error(*status, ""), Transient)
    chain = list(causes(error))
    # Certificates do not mend themselves.
    if any("CERTIFICATE_VERIFY_FAILED" in str(seen) for seen in chain):
        return False
    return any(isinstance(seen, _TRANSIENT) for seen in chain)


def answer_error(status: int, code: str, shown: str, detail: str = "") -> MrcdistError | Transient:
    """Turn an HTTP status and a store's error code to the error to raise."""
    said = describe_status(status, code, detail)
    if not is_final(status, code):
        if status in _RETRIED_STATUSES or status >= 500 or code in _RETRIED_CODES:
            return Transient(said)
        if code in ("", str(status)):
            return Refused(said)
    return explain_status(status, code, shown, detail)


def _is_refused(error: BaseException) -> bool:
    """Whether an answer was an error that no store explains."""
    status = status_of(error)
    return isinstance(error if status is None else answer_error(*status, ""), Refused)


def _what_passes(error: BaseException) -> BaseException:
    """Of an exception and what it was raised from, the one that may pass.

    fsspec takes a server that cannot be reached for a file that is not there.
    """
    return next((seen for seen in causes(error) if isinstance(seen, _TRANSIENT)), error)


def _is_unreachable(error: BaseException) -> bool:
    """Whether there was nobody to ask: no such host, or nobody who listens there."""
    return any(isinstance(seen, _UNREACHABLE) for seen in causes(error))


class Attempts:
    """Counts the attempts at one request and decides whether there is another one.

    Parameters
    ----------
    settings : ReadSettings
        ``retries``, ``deadline`` and ``stall``.
    shown : str
        The redacted URL.
    scrub : callable
        Removes secrets from a text.
    first_contact : bool, default False
        Nothing was heard of the host before: if it is not there, it is given up soon.
    """

    def __init__(
        self,
        settings: ReadSettings,
        shown: str,
        scrub: Callable[[str], str],
        *,
        first_contact: bool = False,
    ) -> None:
        self._settings = settings
        self._first_contact = first_contact
        self._shown = shown
        self._scrub = scrub
        self._begun = time.monotonic()
        self._failed = 0
        self._refused = 0
        self._silence = math.inf
        self._due = math.inf

    def begin(self) -> float:
        """Begin an attempt; return the seconds of silence, with no byte coming, that it may have.

        The first one may have them all, whatever the deadline for trying again. An attempt whose
        bytes come may go on beyond the deadline: a slow link is no failure.
        """
        now = time.monotonic()
        left = self._begun + self._settings.deadline - now if self._failed else math.inf
        self._silence = max(min(self._settings.stall, left), _LEAST_SILENCE)
        self._due = now + self._silence
        return self._silence

    def exclude_wait(self, seconds: float) -> None:
        """Leave out of the time of failing what was spent waiting for a turn."""
        self._begun += seconds

    def bytes_arrived(self) -> None:
        """Record bytes that have come."""
        self._due = time.monotonic() + self._silence

    def failed(self, error: BaseException) -> float:
        """Record a failure.

        Returns
        -------
        float
            Seconds to wait before the next attempt.

        Raises
        ------
        MrcdistError
            The failure will not pass, or retries or deadline are used up.
        """
        if not is_transient(error):
            raise explain_failure(error, self._shown, self._scrub) from None
        self._failed += 1
        self._refused = self._refused + 1 if _is_refused(error) else 0
        now = time.monotonic()
        if now > self._due + _OVERSLEPT:
            # This process was stopped meanwhile; that time does not count.
            self._begun += now - self._due
        self._due = math.inf
        spent = now - self._begun
        longest = min(_FIRST_WAIT * 2.0 ** min(self._failed - 1, 30), _LONGEST_WAIT)
        wait = random.uniform(0, longest)  # noqa: S311 jitter
        if spent + wait >= self._settings.deadline or self._used_up(error):
            raise self._given_up(error, spent) from None
        stats.add(retries=1)
        said = _said(_what_passes(error), self._scrub)
        _log.info(
            "%s: attempt %d failed (%s), next in %.1f s", self._shown, self._failed, said, wait
        )
        return wait

    def _used_up(self, error: BaseException) -> bool:
        """Whether there were as many attempts as a failure of this kind has."""
        return (
            self._failed > self._settings.retries
            or self._refused >= _ATTEMPTS_WHEN_REFUSED
            or (
                self._first_contact
                and self._failed >= _ATTEMPTS_AT_FIRST_CONTACT
                and _is_unreachable(error)
            )
        )

    def _given_up(self, error: BaseException, spent: float) -> ReadError:
        where = self._first_contact or _is_unreachable(error)
        times = "1 attempt" if self._failed == 1 else f"{self._failed} attempts"
        return ReadError(
            f"{self._shown} could not be read after {times} in {spent:.1f} s",
            code="retries-exhausted",
            cause=f"the last attempt failed: {_said(_what_passes(error), self._scrub)}",
            remedy=f"check {'the host name or the endpoint, then ' * where}the store and the "
            f"network, then {'try' if self._first_contact else 'compute'} again; to wait longer, "
            "raise mrcdist.retries, mrcdist.deadline or mrcdist.stall in dask's configuration",
        )


def retried(
    call: Callable[[], _Result],
    settings: ReadSettings,
    shown: str,
    scrub: Callable[[str], str],
    *,
    first_contact: bool = False,
    long: bool = False,
) -> _Result:
    """Call until it works.

    What takes longer than two seconds says on a terminal what is waited for.

    Parameters
    ----------
    call : callable
        One attempt.
    settings, shown, scrub, first_contact
        See `Attempts`.
    long : bool, default False
        A call may well take long, and says nothing; a time in which this process was stopped is no
        time of failing.

    Raises
    ------
    MrcdistError
        See `Attempts.failed`.
    """
    attempts = Attempts(settings, shown, scrub, first_contact=first_contact)
    so_far = "yet, waiting"

    def words() -> str:
        return f"no answer from {shown} {so_far} for up to {settings.deadline:g} s"

    with nullcontext() if long else waiting(words):
        while True:
            if long:
                attempts.begin()
            try:
                return call()
            except Exception as error:  # noqa: BLE001 each store has its own errors
                wait = attempts.failed(error)
                so_far = f"({_said(_what_passes(error), scrub)}), trying again"
                if _pause(wait):
                    raise explain_failure(error, shown, scrub) from None


@contextmanager
def stop_retries() -> Iterator[Callable[[], None]]:
    """Yield what makes calls of this context, and of threads that have a copy of it, end.

    Within another one, it is that one: whoever is interrupted has called the others.
    """
    event = _stopped.get() or threading.Event()
    token = _stopped.set(event)
    try:
        yield event.set
    finally:
        _stopped.reset(token)


def is_stopped() -> bool:
    """Whether this call's result is awaited no more."""
    event = _stopped.get()
    return event is not None and event.is_set()


def _pause(seconds: float) -> bool:
    """Wait before the next attempt; return whether there shall be none."""
    event = _stopped.get()
    if event is not None:
        return event.wait(seconds)
    time.sleep(seconds)
    return False


async def retried_async(
    call: Callable[[Attempts], Awaitable[_Result]],
    settings: ReadSettings,
    shown: str,
    scrub: Callable[[str], str],
    *,
    turn: Callable[[], AbstractAsyncContextManager[Any]] = nullcontext,
) -> _Result:
    """Await until it works: for requests of tasks, many at a time.

    Parameters
    ----------
    call : callable
        One attempt. It calls `Attempts.begin` if a silence of the store is to end it.
    settings, shown, scrub
        See `Attempts`.
    turn : callable, optional
        Returns what to wait for before each attempt; that time is no time of failing.

    Raises
    ------
    MrcdistError
        See `Attempts.failed`.
    """
    attempts = Attempts(settings, shown, scrub)
    while True:
        queued = time.monotonic()
        async with turn():
            attempts.exclude_wait(time.monotonic() - queued)
            try:
                return await call(attempts)
            except Exception as error:  # noqa: BLE001 each store has its own errors
                wait = attempts.failed(error)
        await asyncio.sleep(wait)  # without a turn, so that other stores can proceed


def _said(error: BaseException, scrub: Callable[[str], str]) -> str:
    if isinstance(error, Transient):
        return scrub(str(error))
    name = type(error).__name__
    if str(error):
        return f"{name}: {scrub(str(error))}"
    return "no byte in time" if isinstance(error, TimeoutError) else name
