"""Retries: how soon a failed request is repeated, and when it is given up.

Which failures are retried, such as HTTP 429, is decided by `store_errors`.

The libraries below (s3fs, botocore) are told to try once; otherwise their loops would multiply with
this one.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, TypeVar

from mrcdist import stats
from mrcdist.config import ReadSettings
from mrcdist.errors import ReadError
from mrcdist.progress import waiting
from mrcdist.storage.store_errors import Refused, Unreachable, as_transient, explain_failure

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

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


class Attempts:
    """Counts the attempts at one request and decides whether there is another one.

    `shown` is the redacted URL, `scrub` removes secrets from a text. `first_contact`: nothing was
    heard of the host before, and if it is not there, it is given up soon.
    """

    def __init__(
        self,
        settings: ReadSettings,
        shown: str,
        scrub: Callable[[str], str],
        *,
        first_contact: bool = False,
    ) -> None:
        self.words = ""  # about the last failure
        self._settings = settings
        self._first_contact = first_contact
        self._shown = shown
        self._scrub = scrub
        self.begun = time.monotonic()
        self._failed = 0
        self._refused = 0
        self._due = math.inf

    def begin(self, clock: asyncio.Timeout | None = None) -> None:
        """Begin an attempt, which `clock` ends after a silence in which no byte comes.

        The first one may have all of it, whatever the deadline for trying again. An attempt whose
        bytes come may go on beyond the deadline: a slow link is no failure.
        """
        now = self._asked = time.monotonic()
        left = self.begun + self._settings.deadline - now if self._failed else math.inf
        self._silence = max(min(self._settings.stall, left), _LEAST_SILENCE)
        self._clock = clock
        self._first = 0.0
        self._put_off(now)

    def _put_off(self, now: float) -> None:
        self._due, self._next = now + self._silence, now + self._silence / 8
        if self._clock is not None:
            self._clock.reschedule(asyncio.get_running_loop().time() + self._silence)

    def alive(self) -> None:
        """Record that bytes have arrived."""
        now = time.monotonic()
        self._first = self._first or now
        # Setting a timer costs more than receiving a piece of data, so it is not set for each.
        if now >= self._next:
            self._put_off(now)

    def times(self) -> tuple[float, float]:
        """Return the seconds until the first bytes of the attempt, and since then."""
        return self._first - self._asked, time.monotonic() - self._first

    def failed(self, error: BaseException) -> float:
        """Record a failure; return the seconds to wait before the next attempt.

        Raises
        ------
        MrcdistError
            The failure will not pass, or retries or deadline are used up.
        """
        failure = as_transient(error)
        if failure is None:
            raise explain_failure(error, self._shown, self._scrub) from None
        self.words = self._scrub(str(failure))
        self._failed += 1
        self._refused = self._refused + 1 if isinstance(failure, Refused) else 0
        now = time.monotonic()
        if now > self._due + _OVERSLEPT:
            # This process was stopped meanwhile; that time does not count.
            self.begun += now - self._due
        self._due = math.inf
        spent = now - self.begun
        longest = min(_FIRST_WAIT * 2.0 ** min(self._failed - 1, 30), _LONGEST_WAIT)
        wait = random.uniform(0, longest)  # noqa: S311 jitter
        nobody = isinstance(failure, Unreachable)
        if (
            spent + wait >= self._settings.deadline
            or self._failed > self._settings.retries
            or self._refused >= _ATTEMPTS_WHEN_REFUSED
            or (self._first_contact and nobody and self._failed >= _ATTEMPTS_AT_FIRST_CONTACT)
        ):
            raise self._given_up(spent, nobody=nobody) from None
        stats.add(retries=1)
        told = self._shown, self._failed, self.words, wait
        _log.info("%s: attempt %d failed (%s), next in %.1f s", *told)
        return wait

    def _given_up(self, spent: float, *, nobody: bool) -> ReadError:
        where = "the host name or the endpoint, then " * (self._first_contact or nobody)
        times = "1 attempt" if self._failed == 1 else f"{self._failed} attempts"
        return ReadError(
            f"{self._shown} could not be read after {times} in {spent:.1f} s",
            code="retries-exhausted",
            cause=f"the last attempt failed: {self.words}",
            remedy=f"check {where}the store and the network, then "
            f"{'try' if self._first_contact else 'compute'} again; to wait longer, "
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
    """Call until it works; for arguments, and for what is raised, see `Attempts`.

    What takes longer than two seconds says on a terminal what is waited for. But a `long` call may
    well take long; a time in which this process was stopped is then no time of failing.
    """
    attempts = Attempts(settings, shown, scrub, first_contact=first_contact)

    def words() -> str:
        so_far = f"({attempts.words}), trying again" if attempts.words else "yet, waiting"
        return f"no answer from {shown} {so_far} for up to {settings.deadline:g} s"

    with nullcontext() if long else waiting(words):
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


async def retried_async(
    call: Callable[[Attempts], Awaitable[_Result]],
    settings: ReadSettings,
    shown: str,
    scrub: Callable[[str], str],
    *,
    turn: Callable[[], AbstractAsyncContextManager[Any]] = nullcontext,
) -> _Result:
    """Await until it works, as `retried` calls: for requests of tasks, many at a time.

    A `call` begins its attempt with a clock if a silence of the store is to end it. `turn` returns
    what to wait for before each attempt; that time is no time of failing.
    """
    attempts = Attempts(settings, shown, scrub)
    while True:
        queued = time.monotonic()
        async with turn():
            attempts.begun += time.monotonic() - queued  # that is no time of failing
            try:
                return await call(attempts)
            except Exception as error:  # noqa: BLE001 each store has its own errors
                wait = attempts.failed(error)
        await asyncio.sleep(wait)  # without a turn, so that other stores can proceed
