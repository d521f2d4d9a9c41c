"""pyxem compiles orix for a minute the first time, and for half a minute in every other process.

Processes that compile its functions at once can mix up each other's files, and every later import
then ends with a segmentation fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


@contextmanager
def pyxem_as_python(folder: Path) -> Iterator[None]:
    """Import pyxem in seconds: most of its functions are not compiled, the others for this folder.

    They run slowly, which does not matter for a few frames.
    """
    from numba.core import config

    before = config.DISABLE_JIT, config.CACHE_DIR
    config.DISABLE_JIT, config.CACHE_DIR = 1, str(folder)
    try:
        yield
    finally:
        config.DISABLE_JIT, config.CACHE_DIR = before
