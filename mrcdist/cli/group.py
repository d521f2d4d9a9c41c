"""Command group: errors without tracebacks, Ctrl-C and SIGTERM, exit status."""

from __future__ import annotations

import io
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

import click

from mrcdist.cli.console import UnwritableError, console, echo, print_error
from mrcdist.errors import MrcdistError
from mrcdist.startup_interrupt import IS_COMMAND, raise_on_interrupt
from mrcdist.storage.event_loop import end_waiting
from mrcdist.system_calls import send_to_main_thread

# Environment variable that requests tracebacks of unexpected errors.
_TRACEBACK = "MRCDIST_TRACEBACK"


class _Terminated(BaseException):
    """SIGTERM, raised as an exception so that cleanup code runs."""


def _signal_status(error: BaseException) -> int:
    """Return the exit status for `_Terminated` or `KeyboardInterrupt`: 143 or 130."""
    return 128 + (signal.SIGTERM if isinstance(error, _Terminated) else signal.SIGINT)


@contextmanager
def stopping(ctx: click.Context, state: str = "") -> Iterator[None]:
    """Stop cleanly on Ctrl-C and on SIGTERM, which batch systems send before they kill a job.

    A second signal stops immediately. Signals that arrive while the context is entered or left are
    handled by the command group. `state` describes the unfinished job, and is printed unless the
    exception has notes.
    """
    # Signal handlers can only be set in the main thread.
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler, hook = signal.getsignal(signal.SIGTERM), sys.unraisablehook
    try:
        sys.unraisablehook = _resend_signals(hook)
        if in_main_thread:
            signal.signal(signal.SIGTERM, _terminate)
        yield
    except BaseException as error:
        stop = _signal_error(error)
        if stop is None:
            raise
        message = ["ended by SIGTERM" if isinstance(stop, _Terminated) else "interrupted"]
        message += getattr(error, "__notes__", [state] if state else [])
        echo(f"\n{'; '.join(message)}", err=True)
        ctx.exit(_signal_status(stop))
    finally:
        sys.unraisablehook = hook
        if in_main_thread:
            signal.signal(signal.SIGTERM, handler)


def _signal_error(error: BaseException) -> BaseException | None:
    """Return the exception raised for a signal, even if cleaning up after it failed."""
    cause: BaseException | None = error
    while not isinstance(cause, KeyboardInterrupt | _Terminated | None):
        cause = cause.__context__
    return cause


def _terminate(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise _Terminated


def _resend_signals(
    hook: Callable[[sys.UnraisableHookArgs], Any],
) -> Callable[[sys.UnraisableHookArgs], Any]:
    """Return a hook that sends a signal again if Python ignored its exception, as in `__del__`."""
    main_thread = threading.main_thread().ident or 0

    def resend(unraisable: sys.UnraisableHookArgs) -> None:
        if isinstance(unraisable.exc_value, _Terminated):
            signal.signal(signal.SIGTERM, _terminate)
            number = signal.SIGTERM
        elif isinstance(unraisable.exc_value, KeyboardInterrupt):
            number = signal.SIGINT
        else:
            hook(unraisable)
            return

        def send() -> None:
            if sys.unraisablehook is resend:  # the job has not ended in the meantime
                send_to_main_thread(number, main_thread)

        # Later and from another thread: within the hook, the exception would be ignored again.
        threading.Timer(0.01, send).start()

    return resend


class _Terminal(io.StringIO):
    """Stands for a terminal, so that click does not strip escape sequences."""

    def isatty(self) -> bool:
        return True


class _Group(click.Group):
    """Command group that prints the errors of its commands without a traceback."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command, and exit with one of the statuses listed in docs/cli.md."""
        run = partial(super().main, *args, **{**options, "standalone_mode": False})
        if not options.get("standalone_mode", True):
            return run()
        try:
            raise_on_interrupt()
            with console():
                status = self._exit_status(run)
            _abandon_threads(status)
        except (KeyboardInterrupt, _Terminated) as stop:  # raised outside of click
            status = _signal_status(stop)
            _abandon_threads(status)
        sys.exit(status)

    def _exit_status(self, run: Callable[[], Any]) -> int:
        try:
            return int(run() or 0)
        except UnwritableError as error:
            if error.closed:
                return 128 + getattr(signal, "SIGPIPE", 13)
            print_error(f"standard output cannot be written\n  cause: {error}")
            return 1
        except click.Abort:
            echo("interrupted", err=True)
            return 128 + signal.SIGINT
        except click.ClickException as error:
            message = _Terminal()
            error.show(message)
            echo(message.getvalue().removesuffix("\n"), err=True)
            return error.exit_code
        except Exception as error:
            if os.environ.get(_TRACEBACK):
                raise
            print_error(str(_unexpected_error(error)))
            return 1

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if not any(sign in args[0] for sign in "./\\"):
                raise
            hint = f"For a file: mrcdist info {shlex.quote(args[0])}"
            raise click.UsageError(f"{error.message} {hint}", ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MrcdistError as error:
            print_error("\n".join([str(error), *getattr(error, "__notes__", ())]))
            ctx.exit(1)


def _abandon_threads(status: int) -> None:
    """Do not wait for threads after a signal, if the process is the command and will exit."""
    if IS_COMMAND and status in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        end_waiting()


def _unexpected_error(error: Exception) -> MrcdistError:
    """Describe an error of the operating system, or a bug in this program."""
    if isinstance(error, OSError | MemoryError):
        return MrcdistError(
            str(error) or type(error).__name__,
            code="system-failed",
            cause="the operating system refused this",
            remedy="check the files named in the command, free disk space, and memory",
        )
    return MrcdistError(
        f"{type(error).__name__}: {error}",
        code="unexpected",
        cause="unexpected error: this is a bug in mrcdist",
        remedy=f"report it, with the output of the same command run with {_TRACEBACK}=1",
    )


@click.group(
    cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="mrcdist")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Inspect MRC files, on disk or in an object store, and compute images from them.

    A file is given as a path or as any fsspec URL: s3://, https://, ... . Colours are used on
    terminals only, and not if NO_COLOR is set.

    \b
    Examples:
      mrcdist info s3://bucket/20241021_00405_movie.mrc
      mrcdist preview tomogram.mrc -o look.png
      mrcdist virtual --help
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False
