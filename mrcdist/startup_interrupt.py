"""Ctrl-C while the `mrcdist` command imports its modules: exit without a traceback."""

from __future__ import annotations

import os
import signal
import sys

_STATUS = 128 + signal.SIGINT


def end_on_interrupt() -> None:
    """Make Ctrl-C end the process at once, if it is the `mrcdist` command.

    The handler raises no exception, which Python would print and ignore during some imports. If
    Ctrl-C is ignored, as in the background of a shell, it remains ignored.
    """
    if IS_COMMAND and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def raise_on_interrupt() -> None:
    """Make Ctrl-C raise `KeyboardInterrupt` again, which commands handle."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_command() -> bool:
    program = sys.argv[0] if sys.argv else ""
    if program == "-m":  # before Python has found the module
        return "mrcdist.cli" in sys.orig_argv
    return os.path.basename(program) in ("mrcdist", "mrcdist.exe")  # noqa: PTH119 importing pathlib is slow


def _end(*_: object) -> None:
    os._exit(_STATUS)


IS_COMMAND = _is_command()
"""Whether this process is the `mrcdist` command, not a program that imports the package."""
