"""The end of a command: errors in place of tracebacks, Ctrl-C and SIGTERM, exit status."""

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

# Where the command line takes less than Python does.
_REMEDIES: dict[str, str] = {
    "chunks-invalid": 'pass auto, a size such as "256 MiB", or a length for each axis '
    "(-1: the whole axis): 32,256,-1,-1",
    "results-empty": "add --mean, --com, --std or --virtual bf=bf",
}

# Set it to see where an error comes from.
_TRACEBACK = "MRCDIST_TRACEBACK"


class _Terminated(BaseException):
    """SIGTERM, raised as an exception so that cleanup code runs."""


def _status_of_signal(stop: BaseException) -> int:
    """Return the exit status for what a signal raised, as in a shell: 130 or 143."""
    return 128 + (signal.SIGTERM if isinstance(stop, _Terminated) else signal.SIGINT)


@contextmanager
def stopping(ctx: click.Context, otherwise: str = "") -> Iterator[None]:
    """Stop cleanly on Ctrl-C and on SIGTERM, which batch systems send before they kill a job.

    A second signal stops immediately. A signal that comes while this begins or ends is left to the
    command group. `otherwise` is where the job stands, unless notes of the exception say it.
    """
    # Python allows handlers in the main thread only; elsewhere whoever runs us decides.
    handled = threading.current_thread() is threading.main_thread()
    before, hook = signal.getsignal(signal.SIGTERM), sys.unraisablehook
    later: list[threading.Timer] = []
    try:
        sys.unraisablehook = _send_again_or(hook, later)
        if handled:
            signal.signal(signal.SIGTERM, _terminate)
        yield
    except BaseException as error:
        stop = _stop_behind(error)
        if stop is None:
            raise
        words = ["ended by SIGTERM" if isinstance(stop, _Terminated) else "interrupted"]
        words += getattr(error, "__notes__", [otherwise] * bool(otherwise))
        echo(f"\n{'; '.join(words)}", err=True)
        ctx.exit(_status_of_signal(stop))
    finally:
        sys.unraisablehook = hook
        for timer in later:  # what it would stop is over
            timer.cancel()
        if handled:
            signal.signal(signal.SIGTERM, before)


def _stop_behind(error: BaseException) -> BaseException | None:
    """Return what a signal raised, be it that something else failed on the way out."""
    seen: BaseException | None = error
    while not isinstance(seen, KeyboardInterrupt | _Terminated | None):
        seen = seen.__context__
    return seen


def _terminate(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise _Terminated


def _send_again_or(
    hook: Callable[[sys.UnraisableHookArgs], Any], later: list[threading.Timer]
) -> Callable[[sys.UnraisableHookArgs], Any]:
    """Send a signal again whose exception Python ignores, as in `__del__` and weak references.

    The timers that will do so are appended to `later`.
    """
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
        timer = threading.Timer(0.01, send_to_main_thread, (number, main))
        later.append(timer)
        timer.start()

    return send_again


class _Verbatim(io.StringIO):
    """Text as click writes it on a terminal: elsewhere it takes out what looks like colours."""

    def isatty(self) -> bool:
        return True


class _Group(click.Group):
    """Command group that prints the errors of its commands without a traceback."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command, and end the process with the exit status that docs/cli.md lists."""
        run = partial(super().main, *args, **{**options, "standalone_mode": False})
        if not options.get("standalone_mode", True):
            return run()
        try:
            raise_on_interrupt()
            with console():
                status = self._status_of(run)
            _let_go(status)
        except (KeyboardInterrupt, _Terminated) as stop:  # where click does not catch it
            status = _status_of_signal(stop)
            _let_go(status)
        sys.exit(status)

    def _status_of(self, run: Callable[[], Any]) -> int:
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
            text = _Verbatim()
            error.show(text)
            echo(text.getvalue().removesuffix("\n"), err=True)
            return error.exit_code
        except Exception as error:
            if os.environ.get(_TRACEBACK):
                raise
            print_error(str(_unexpected(error)))
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
            said = "\n".join([self._in_options(error, ctx), *getattr(error, "__notes__", ())])
            print_error(said)
            ctx.exit(1)

    def _in_options(self, error: MrcdistError, ctx: click.Context) -> str:
        """Return an error's text with arguments as the options of the command that raised it."""
        command = self.get_command(ctx, ctx.invoked_subcommand or "")
        options = {
            str(option.name): max(option.opts, key=len)
            for option in (command.params if command else ())
            if isinstance(option, click.Option)
        }

        def name(argument: str, value: str | None) -> str:
            if argument not in options:
                return argument if value is None else f"{argument}={value}"
            if value is None or value == "True":
                return options[argument]
            return f"{options[argument]} {_as_typed(value)}"

        if error.code in _REMEDIES:
            error = error.remedied(_REMEDIES[error.code])
        return error.text(name)


def _let_go(status: int) -> None:
    """Wait for no thread after a signal: this was the last act, unless a program called it."""
    if IS_COMMAND and status in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        end_waiting()


def _as_typed(value: str) -> str:
    """Return a value in a remedy as the command line takes it."""
    if value.startswith("("):
        return value.strip("(),").replace(", ", ",").upper()
    return {"None": "none", "...": "FILE"}.get(value, value.strip('"'))


def _unexpected(error: Exception) -> MrcdistError:
    """The error for what no command expects: of the system, or a defect of this program."""
    if isinstance(error, OSError | MemoryError):
        return MrcdistError(
            str(error) or type(error).__name__,
            code="system-failed",
            cause="the operating system refused this",
            remedy="check the files that the command names, the space on their disks, and memory",
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
