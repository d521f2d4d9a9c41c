"""Progress of a file that tasks are writing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TextIO

from mrcdist.errors import MrcdistError
from mrcdist.progress import Progress

__all__ = ["show_progress"]

# Seconds between two looks at which blocks are written.
_INTERVAL = 2.0


class _Destination(Protocol):
    def kept(self) -> frozenset[Any]:
        """Return what is written so far."""


@contextmanager
def show_progress(
    destination: _Destination | None, blocks: int, stream: TextIO | None
) -> Iterator[None]:
    """Show how many blocks are written, for as long as the ``with`` block runs.

    Nothing is shown without a stream, or of a file that one task writes.
    """
    if stream is None or destination is None:
        yield
        return
    ended = threading.Event()

    def watch(progress: Progress) -> None:
        known = 0
        while not ended.wait(_INTERVAL):
            with suppress(MrcdistError):  # a store that does not answer now
                now = len(destination.kept())
                progress.advance(max(now - known, 0))
                known = max(now, known)

    with Progress("writing blocks", blocks, stream=stream, patience=0) as progress:
        thread = threading.Thread(target=watch, args=(progress,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        progress.advance(blocks)  # all are written; the last look at them was earlier
