"""Options that say where to compute, and how a job ends when it is told to."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

__all__ = ["cluster_options", "stopping"]

Command = Callable[..., Any]


def cluster_options(command: Command) -> Command:
    """Add the options of `mrcdist.batch.clusters.Where`."""
    for option in (
        click.option(
            "--memory-limit",
            metavar="SIZE",
            help="Of each local worker, such as '8 GiB'; by default its share of the machine.",
        ),
        click.option(
            "--threads", type=int, help="Threads of each local worker; by default as dask chooses."
        ),
        click.option(
            "--workers",
            type=int,
            help="Processes of a local cluster, which is the default; as many as dask chooses.",
        ),
        click.option(
            "--jobqueue",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="Workers are jobs of Slurm, PBS, …: YAML, see mrcdist.batch.jobqueue.",
        ),
        click.option(
            "--scheduler-file",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="Written by `dask scheduler --scheduler-file FILE`; waits for it.",
        ),
        click.option(
            "--scheduler",
            metavar="ADDRESS",
            help="Of a dask scheduler that is running, such as tcp://node1:8786.",
        ),
    ):
        command = option(command)
    return command


class _Terminated(BaseException):
    """SIGTERM, on its way up through the blocks that clean up."""


@contextmanager
def stopping(ctx: click.Context, advice: str) -> Iterator[None]:
    """End in good order on SIGTERM, which batch systems send before they kill, and on Ctrl-C.

    The exit status is 143 or 130, as a shell would have it. A second signal ends at once.

    Parameters
    ----------
    ctx : click.Context
    advice : str
        Printed last.
    """
    # Python allows handlers in the main thread only; elsewhere whoever runs us decides.
    handled = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _terminate) if handled else None
    try:
        yield
    except _Terminated:
        click.echo(f"\nended by SIGTERM{advice}", err=True)
        ctx.exit(128 + signal.SIGTERM)
    except KeyboardInterrupt:
        click.echo(f"\ninterrupted{advice}", err=True)
        ctx.exit(128 + signal.SIGINT)
    finally:
        if handled:
            signal.signal(signal.SIGTERM, before)


def _terminate(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise _Terminated
