"""Ctrl-C while the `mrcdist` command imports what it needs: it ends without a traceback."""

from __future__ import annotations

import os
import signal
import sys

_STATUS = 128 + signal.SIGINT


def end_on_interrupt() -> None:
    """Let Ctrl-C end the process at once, if it is the command and not a user of the package.

    The handler raises no exception: in the middle of some imports Python would print and ignore it.
    Where Ctrl-C is ignored, as in the background of a shell, it still is.
    """
    if IS_COMMAND and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def raise_on_interrupt() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` again, as commands expect it."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_command() -> bool:
    program = sys.argv[0] if sys.argv else ""
    if program == "-m":  # until Python has found the module
        return "mrcdist.cli" in sys.orig_argv
    return os.path.basename(program) in ("mrcdist", "mrcdist.exe")  # noqa: PTH119 pathlib takes long


def _end(*_: object) -> None:
    os._exit(_STATUS)


IS_COMMAND = _is_command()
"""Whether this process is the command, and no program that calls it."""
