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
def scheduler_watched(client: Client, again: str) -> Iterator[None]:
    """Say that the scheduler is gone where a call in the block fails for that.

    Parameters
    ----------
    client : distributed.Client
    again : str
        What the caller can do then: the end of the remedy.

    Raises
    ------
    MrcdistError
    """
    try:
        yield
    except MrcdistError:
        raise  # known already; that a file cannot be read or written is an OSError, too
    except (FutureCancelledError, CommClosedError) as error:
        raise _lost(error, again) from None
    except OSError as error:
        # Of a file, or of a connection that cannot be made or does not answer.
        if error.filename is not None or _answers(client):
            raise
        raise _lost(error, again) from None


def _answers(client: Client) -> bool:
    try:
        client.sync(client.scheduler.identity, callback_timeout=_PATIENCE)
    except Exception:  # noqa: BLE001 each protocol has its own errors
        return False
    return True


def _lost(error: Exception, again: str) -> MrcdistError:
    return MrcdistError(
        "the scheduler is gone, and the job with it",
        code="scheduler-dropped-job",
        cause=str(error),
        remedy=f"look at the scheduler's log, then {again}",
    )
