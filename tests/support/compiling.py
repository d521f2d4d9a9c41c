"""Only one test at a time imports pyxem, which compiles orix for a minute the first time.

Processes that compile its functions at once can mix up each other's files, and every later import
then ends with a segmentation fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.processes import ROOT


@contextmanager
def pyxem_to_itself() -> Iterator[None]:
    """Wait until no other process of these tests uses pyxem."""
    import fcntl

    folder = ROOT / "build"
    folder.mkdir(exist_ok=True)
    with (folder / "pyxem.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
