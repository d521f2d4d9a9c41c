"""Options that say where to compute, and how a job ends when it is told to."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from mrcdist.cli.console import say
from mrcdist.cli.options import COUNT

__all__ = ["cluster_options", "stopping"]

Command = Callable[..., Any]


def cluster_options(command: Command) -> Command:
    """Add the options of `mrcdist.batch.clusters.ClusterOptions`."""
    for option in (
        click.option(
            "--memory-limit",
            metavar="SIZE",
            help="Memory limit of each local worker, such as '8 GiB' (default: an equal share).",
        ),
        click.option(
            "--threads", type=COUNT, help="Threads per local worker (default: dask's choice)."
        ),
        click.option(
            "--workers",
            type=COUNT,
            help="Number of local worker processes (default: dask's choice).",
        ),
        click.option(
            "--jobqueue",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="YAML file for workers as Slurm, PBS, … jobs; see mrcdist.batch.jobqueue.",
        ),
        click.option(
            "--scheduler-file",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="File written by `dask scheduler --scheduler-file FILE`; waits until it exists.",
        ),
        click.option(
            "--scheduler",
            metavar="ADDRESS",
            help="Address of a running dask scheduler, such as tcp://node1:8786.",
        ),
    ):
        command = option(command)
    return command


class _Terminated(BaseException):
    """SIGTERM, raised as an exception so that cleanup code runs."""


@contextmanager
def stopping(ctx: click.Context, otherwise: str = "") -> Iterator[None]:
    """Stop cleanly on Ctrl-C and on SIGTERM, which batch systems send before they kill a job.

    The exit status is 130 or 143, as in a shell. A second signal stops immediately.

    Parameters
    ----------
    ctx : click.Context
    otherwise : str, optional
        Where the job stands, unless notes of the exception say it.
    """
    # Python allows handlers in the main thread only; elsewhere whoever runs us decides.
    handled = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _terminate) if handled else None
    hook = sys.unraisablehook
    sys.unraisablehook = _send_again_or(hook)
    try:
        yield
    except (_Terminated, KeyboardInterrupt) as stop:
        by_term = isinstance(stop, _Terminated)
        words = ["ended by SIGTERM" if by_term else "interrupted"]
        words += getattr(stop, "__notes__", [otherwise] * bool(otherwise))
        say(f"\n{'; '.join(words)}", err=True)
        ctx.exit(128 + (signal.SIGTERM if by_term else signal.SIGINT))
    finally:
        sys.unraisablehook = hook
        if handled:
            signal.signal(signal.SIGTERM, before)


def _terminate(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise _Terminated


def _send_again_or(
    hook: Callable[[sys.UnraisableHookArgs], Any],
) -> Callable[[sys.UnraisableHookArgs], Any]:
    """Send a signal again whose exception Python ignores, as in `__del__` and weak references."""
    main = threading.main_thread().ident or 0

    def send_again(ignored: sys.UnraisableHookArgs) -> None:
        if isinstance(ignored.exc_value, _Terminated):
            signal.signal(signal.SIGTERM, _terminate)
            number = signal.SIGTERM
        elif isinstance(ignored.exc_value, KeyboardInterrupt):
            number = signal.SIGINT
        else:
            hook(ignored)
            return
        # Later, and from another thread: here it would be ignored, too.
        threading.Timer(0.01, signal.pthread_kill, (main, number)).start()

    return send_again
