"""Importing pyxem, which compiles orix: a minute the first time, half a minute in each new process.

Processes that compile at the same time can corrupt each other's cache files; every later import
then ends with a segmentation fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import ROOT


@contextmanager
def pyxem_to_itself() -> Iterator[None]:
    """Wait until no other test process uses pyxem, and keep others waiting within the block."""
    import fcntl

    folder = ROOT / "build"
    folder.mkdir(exist_ok=True)
    with (folder / "pyxem.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def pyxem_as_python(folder: Path) -> Iterator[None]:
    """Import pyxem in seconds, with most functions not compiled; cache the others in `folder`.

    Functions run slowly then, which does not matter for a few frames.
    """
    from numba.core import config

    before = config.DISABLE_JIT, config.CACHE_DIR
    config.DISABLE_JIT, config.CACHE_DIR = 1, str(folder)
    try:
        yield
    finally:
        config.DISABLE_JIT, config.CACHE_DIR = before
