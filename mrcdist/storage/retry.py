"""Retries: which failures are retried, how soon, and when a request is given up.

The libraries below (s3fs, botocore) try each request once; otherwise their retries would multiply
with these. `store_errors` explains the failures that are not retried.
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
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import aiohttp
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from mrcdist import stats
from mrcdist.config import ReadSettings
from mrcdist.errors import MrcdistError, ReadError
from mrcdist.progress import waiting

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

# HTTP statuses that are retried, besides 500 and above: Request Timeout, Too Many Requests.
_RETRIED_STATUSES = (408, 429)

# S3's codes for 'later': https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_RETRIED_CODES = (
    *("SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "ThrottlingException"),
)

# Statuses and codes that `store_errors` explains.
_EXPLAINED_STATUSES = (401, 403, 404, 412, 416)
DENIED_CODES = (
    *("AccessDenied", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken"),
    *("SignatureDoesNotMatch", "TokenRefreshRequired"),
)


@dataclass(frozen=True)
class RetryLimits:
    """Limits of retries that are not settings; times are in seconds."""

    # Upper bound of the first wait, doubled after each failure up to a limit. The wait itself is
    # drawn uniformly from zero to that bound ("full jitter"), so that workers that failed together
    # do not retry together:
    # https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
    first_wait: float = 0.1
    longest_wait: float = 10.0

    # Least timeout of an attempt that begins just before the deadline.
    least_stall: float = 0.01

    # Give up after about 3 s on a host never reached before: a typo is likelier than an outage.
    attempts_at_first_contact: int = 6

    # Consecutive responses like HTTP 400 without a reason before they are taken seriously: a proxy
    # that garbles one response in five garbles six in a row once in 15,000 requests.
    attempts_when_refused: int = 6

    # If a stall lasts this much longer than allowed, the process was suspended.
    overslept: float = 1.0


_LIMITS = RetryLimits()

_stopped: ContextVar[threading.Event | None] = ContextVar("stopped", default=None)


class Transient(Exception):  # noqa: N818 a signal to the retry loop, never seen outside
    """A failure that may pass."""


class Refused(Transient):
    """A rejection without a reason, from a broken proxy (transient) or deliberate (permanent)."""


class Unreachable(Transient):
    """The host cannot be reached: its name is unknown, or nothing listens at the port."""


_TRANSIENT = (
    Transient,
    asyncio.TimeoutError,
    ConnectionError,
    aiohttp.ClientConnectionError,
    aiohttp.ClientPayloadError,
    boto.HTTPClientError,
    boto.ConnectionError,
    boto.IncompleteReadError,
    boto.FlexibleChecksumError,  # bytes corrupted in transit
    ResponseParserError,  # some overloaded stores respond with something other than XML
)
_UNREACHABLE = (
    aiohttp.ClientConnectorError,
    boto.EndpointConnectionError,
    ConnectionRefusedError,
    socket.gaierror,
)


def as_transient(error: BaseException) -> Transient | None:
    """Return an error as `Transient` with a description if it may pass, else None.

    Its causes count, too: fsspec reports a server that cannot be reached as a missing file.
    """
    if isinstance(error, Transient | MrcdistError):
        return error if isinstance(error, Transient) else None
    causes = list(_causes(error))
    cause = next((each for each in causes if isinstance(each, _TRANSIENT)), None)
    if (status := http_status(error)) is not None:
        kind = transient_status(*status)
        return kind(describe(cause or error)) if kind else None
    # An invalid certificate does not become valid.
    if cause is None or any("CERTIFICATE_VERIFY_FAILED" in str(each) for each in causes):
        return None
    unreachable = any(isinstance(each, _UNREACHABLE) for each in causes)
    return (Unreachable if unreachable else Transient)(describe(cause))


def transient_status(status: int, code: str) -> type[Transient] | None:
    """Return the kind of failure if an HTTP status with a store's error code may pass."""
    if status in _EXPLAINED_STATUSES or code in DENIED_CODES:
        return None
    if status in _RETRIED_STATUSES or status >= 500 or code in _RETRIED_CODES:
        return Transient
    return Refused if code in ("", str(status)) else None


def http_status(error: BaseException) -> tuple[int, str] | None:
    """Return the HTTP status and the store's error code of an exception or one of its causes."""
    for each in _causes(error):
        response: Any = getattr(each, "response", None)
        if isinstance(each, boto.ClientError) and isinstance(response, dict):
            return (
                int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)),
                str(response.get("Error", {}).get("Code", "")),
            )
        if isinstance(each, aiohttp.ClientResponseError):
            return each.status, ""
    return None


def describe(error: BaseException) -> str:
    """Return the type and the message of an exception, which may contain secrets."""
    if isinstance(error, Transient):
        return str(error)
    name = type(error).__name__
    if str(error):
        return f"{name}: {error}"
    return "no byte in time" if isinstance(error, TimeoutError) else name


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, the exception it was raised from, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


class Resource(Protocol):
    """The methods of `Location` that retries need."""

    @property
    def shown(self) -> str:
        """The redacted URL."""

    def scrub(self, text: str) -> str:
        """Remove secrets from a text."""

    def explained(
        self, error: BaseException, start: int | None = None, stop: int | None = None
    ) -> MrcdistError:
        """Convert an exception to a `MrcdistError`, with the byte range concerned."""


class Attempts:
    """Counts the attempts at one request and decides whether there is another one.

    `span` is the byte range (start, stop) requested, for errors. `first_contact`: give up early if
    the host, never reached before, cannot be reached.
    """

    def __init__(
        self,
        resource: Resource,
        settings: ReadSettings,
        span: tuple[int, int] | tuple[()] = (),
        *,
        first_contact: bool = False,
        limits: RetryLimits = _LIMITS,
    ) -> None:
        self.last_failure = ""  # a description
        self.started = time.monotonic()
        self._resource = resource
        self._settings = settings
        self._span = span
        self._limits = limits
        self._first_contact = first_contact
        self._failed = 0
        self._refused = 0
        self._due = math.inf

    def begin(self, clock: asyncio.Timeout | None = None) -> None:
        """Begin an attempt, which `clock` ends if no byte arrives for the time of a stall.

        The first attempt has all of that time, whatever the deadline for retries. An attempt may
        continue beyond the deadline while bytes arrive: a slow connection is not a failure.
        """
        now = self._begun = time.monotonic()
        remaining = self.started + self._settings.deadline - now if self._failed else math.inf
        self._stall = max(min(self._settings.stall, remaining), self._limits.least_stall)
        self._clock = clock
        self._first_byte = 0.0
        self._postpone(now)

    def _postpone(self, now: float) -> None:
        self._due, self._next = now + self._stall, now + self._stall / 8
        if self._clock is not None:
            self._clock.reschedule(asyncio.get_running_loop().time() + self._stall)

    def alive(self) -> None:
        """Record that bytes have arrived."""
        now = time.monotonic()
        self._first_byte = self._first_byte or now
        # Rescheduling a timer costs more than receiving a piece of data, so it is done rarely.
        if now >= self._next:
            self._postpone(now)

    def times(self) -> tuple[float, float]:
        """Return the seconds until the first bytes of the attempt, and since then."""
        return self._first_byte - self._begun, time.monotonic() - self._first_byte

    def failed(self, error: BaseException) -> float:
        """Record a failure; return the seconds to wait before the next attempt.

        Raises
        ------
        MrcdistError
            The failure is not transient, or retries or deadline are exhausted.
        """
        limits, failure = self._limits, as_transient(error)
        if failure is None:
            raise self.explained(error) from None
        self.last_failure = self._resource.scrub(str(failure))
        self._failed += 1
        self._refused = self._refused + 1 if isinstance(failure, Refused) else 0
        now = time.monotonic()
        if now > self._due + limits.overslept:
            self.started += now - self._due  # the process was suspended
        self._due = math.inf
        elapsed = now - self.started
        longest = min(limits.first_wait * 2.0 ** min(self._failed - 1, 30), limits.longest_wait)
        wait = random.uniform(0, longest)  # noqa: S311 jitter
        unreachable = isinstance(failure, Unreachable)
        first_contact = self._first_contact and unreachable
        if (
            elapsed + wait >= self._settings.deadline
            or self._failed > self._settings.retries
            or self._refused >= limits.attempts_when_refused
            or (first_contact and self._failed >= limits.attempts_at_first_contact)
        ):
            raise self._exhausted(elapsed, unreachable=unreachable) from None
        stats.add(retries=1)
        _log.info(
            "%s: attempt %d failed (%s), next in %.1f s",
            *(self._resource.shown, self._failed, self.last_failure, wait),
        )
        return wait

    def explained(self, error: BaseException) -> MrcdistError:
        """Return an exception as a `MrcdistError` that says where it happened."""
        return self._resource.explained(error, *self._span)

    def _exhausted(self, elapsed: float, *, unreachable: bool) -> MrcdistError:
        host = "the host name or the endpoint, then " * (self._first_contact or unreachable)
        times = "1 attempt" if self._failed == 1 else f"{self._failed} attempts"
        error = ReadError(
            f"{self._resource.shown} could not be read after {times} in {elapsed:.1f} s",
            code="retries-exhausted",
            cause=f"the last attempt failed: {self.last_failure}",
            remedy=f"check {host}the store and the network, then "
            f"{'try' if self._first_contact else 'compute'} again; to wait longer, "
            "raise mrcdist.retries, mrcdist.deadline or mrcdist.stall in dask's configuration",
        )
        return self.explained(error)


def retried(
    call: Callable[[], _Result],
    resource: Resource,
    settings: ReadSettings,
    *,
    first_contact: bool = False,
    long: bool = False,
    limits: RetryLimits = _LIMITS,
) -> _Result:
    """Return the result of a call, which is retried as `Attempts` decides.

    After two seconds, a message on the terminal says what is being waited for. A `long` call may
    take longer than that; it shows no message, and time in which this process was suspended does
    not count as time spent retrying.
    """
    attempts = Attempts(resource, settings, first_contact=first_contact, limits=limits)

    def message() -> str:
        failure = attempts.last_failure
        state = f"({failure}), trying again" if failure else "yet, waiting"
        return f"no answer from {resource.shown} {state} for up to {settings.deadline:g} s"

    with nullcontext() if long else waiting(message):
        while True:
            if long:
                attempts.begin()
            try:
                return call()
            except Exception as error:  # noqa: BLE001 each store has its own errors
                wait = attempts.failed(error)
                stopped = _stopped.get()
                if stopped is None:
                    time.sleep(wait)
                elif stopped.wait(wait):
                    raise attempts.explained(error) from None


@contextmanager
def stop_retries() -> Iterator[Callable[[], None]]:
    """Yield a function that ends the retries of this context and of threads with a copy of it.

    A nested call yields the same function: an interrupt ends the outer call, too.
    """
    event = _stopped.get() or threading.Event()
    token = _stopped.set(event)
    try:
        yield event.set
    finally:
        _stopped.reset(token)


def is_stopped() -> bool:
    """Whether the retries of this context have been ended."""
    event = _stopped.get()
    return event is not None and event.is_set()


async def retried_async(
    call: Callable[[Attempts], Awaitable[_Result]],
    resource: Resource,
    settings: ReadSettings,
    span: tuple[int, int],
    turn: Callable[[], AbstractAsyncContextManager[Any]],
) -> _Result:
    """Await a call that reads a byte range, retrying it as `retried` does.

    `call` begins its attempt with a clock if a stall is to end it. `turn` returns a context in
    which each attempt is made; time spent waiting for it does not count towards the deadline.
    """
    attempts = Attempts(resource, settings, span)
    while True:
        queued = time.monotonic()
        async with turn():
            attempts.started += time.monotonic() - queued
            try:
                return await call(attempts)
            except Exception as error:  # noqa: BLE001 each store has its own errors
                wait = attempts.failed(error)
        await asyncio.sleep(wait)  # without a turn, so that other stores can proceed
