"""What distributed raises when the scheduler is gone, as one error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client
from distributed.client import FutureCancelledError
from distributed.comm.core import CommClosedError

from mrcdist.errors import MrcdistError

__all__ = ["scheduler_watched"]

# Seconds for the scheduler to answer when a call has failed.
_PATIENCE = 5.0


@contextmanager
def scheduler_watched(client: Client) -> Iterator[None]:
    """Say that the scheduler is gone where a call in the block fails for that.

    Raises
    ------
    MrcdistError
    """
    try:
        yield
    except (FutureCancelledError, CommClosedError, TimeoutError) as error:
        raise _lost(error) from None
    except OSError as error:
        # Of a connection that cannot be made, or of a file.
        if _answers(client):
            raise
        raise _lost(error) from None


def _answers(client: Client) -> bool:
    try:
        client.sync(client.scheduler.identity, callback_timeout=_PATIENCE)
    except Exception:  # noqa: BLE001 each protocol has its own errors
        return False
    return True


def _lost(error: Exception) -> MrcdistError:
    return MrcdistError(
        "the scheduler is gone, and the job with it",
        code="scheduler-dropped-job",
        cause=str(error),
        remedy="look at the scheduler's log, and go on with {resume=True}",
    )
