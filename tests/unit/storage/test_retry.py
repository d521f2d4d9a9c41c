"""Limits of the retries of a request."""

from __future__ import annotations

import time

import pytest

from mrcdist.config import ReadSettings
from mrcdist.errors import ReadError
from mrcdist.storage.location import Location
from mrcdist.storage.retry import Attempts, Refused, RetryLimits, Transient, retried

AT_ONCE = RetryLimits(first_wait=0)
RESOURCE = Location("s3://b/x.mrc")


def failing(*errors):
    """Return a call that raises these errors one after the other, and then returns bytes."""
    remaining = iter(errors)

    def call():
        for error in remaining:
            raise error
        return b"bytes"

    return call


def test_six_attempts_are_made_if_a_host_was_never_reached_before():
    call = failing(*[ConnectionRefusedError()] * 6)
    with pytest.raises(ReadError, match="after 6 attempts"):
        retried(call, RESOURCE, ReadSettings(), first_contact=True, limits=AT_ONCE)


def test_store_reached_before_is_retried_for_longer():
    """A task survives the restart of a server."""
    call = failing(*[ConnectionRefusedError()] * 9)
    assert retried(call, RESOURCE, ReadSettings(), limits=AT_ONCE) == b"bytes"


def test_only_consecutive_refusals_without_a_reason_are_taken_seriously():
    limits = RetryLimits(first_wait=0, attempts_when_refused=3)
    errors = [Refused(), Refused(), Transient(), Refused(), Refused()]
    assert retried(failing(*errors), RESOURCE, ReadSettings(), limits=limits) == b"bytes"
    with pytest.raises(ReadError, match="after 3 attempts"):
        retried(failing(*[Refused()] * 3), RESOURCE, ReadSettings(), limits=limits)


def test_waits_are_bounded_and_doubled_up_to_the_longest():
    attempts = Attempts(RESOURCE, ReadSettings(), limits=RetryLimits(1, 4))
    waits = [attempts.failed(Transient()) for _ in range(10)]
    assert all(0 <= wait <= longest for wait, longest in zip(waits, [1, 2] + [4] * 8, strict=True))
    assert max(waits) > 1


def test_time_in_which_the_process_was_suspended_does_not_count():
    settings = ReadSettings(deadline=0.15, stall=0.001)
    for overslept, retries in [(0.01, True), (10.0, False)]:
        attempts = Attempts(RESOURCE, settings, limits=RetryLimits(0, overslept=overslept))
        attempts.begin()
        time.sleep(0.2)
        if retries:
            assert attempts.failed(Transient()) == 0
        else:
            with pytest.raises(ReadError, match="after 1 attempt"):
                attempts.failed(Transient())
