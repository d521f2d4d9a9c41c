"""Commands that start without delay: each is forked from a process that has imported everything.

So a test can kill a command at many moments of its work instead of during its imports.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import ROOT, ends_with_parent, isolated_environment


class WarmCommands:
    """A process that forks a child per command; see `warm_commands`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._request()

    def start(self, arguments: Sequence[object], log: Path, program: str = "mrcdist") -> int:
        """Start `mrcdist` or `dask` in a new process group; return its pid."""
        texts = [str(argument) for argument in arguments]
        return self._request({"program": program, "arguments": texts, "log": str(log)})

    @contextmanager
    def started(self, arguments: Sequence[object], log: Path, program: str) -> Iterator[int]:
        """Start a program, yield its pid, and kill it at the end of the block."""
        pid = self.start(arguments, log, program)
        try:
            yield pid
        finally:
            os.kill(pid, signal.SIGKILL)
            self.wait(pid)

    def wait(self, pid: int) -> int:
        """Wait for a command to end; return its status, negative after a signal."""
        return self._request({"wait": pid})

    def _request(self, request: dict | None = None) -> int:
        if request is not None:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextmanager
def warm_commands(folder: Path) -> Iterator[WarmCommands]:
    """Yield a `WarmCommands` whose commands run in a folder."""
    with subprocess.Popen(
        ends_with_parent([sys.executable, "-m", "tests.support.warm"]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=isolated_environment({"PYTHONPATH": str(ROOT)}),
    ) as process:
        yield WarmCommands(process)
        process.stdin.close()


def _serve() -> None:
    from dask.cli import cli as dask
    from distributed.cli import dask_scheduler, dask_worker

    import mrcdist.batch.run_job  # noqa: F401 imported here because it takes long
    from mrcdist.cli import main

    dask.add_command(dask_scheduler.main, "scheduler")
    dask.add_command(dask_worker.main, "worker")
    programs = {"mrcdist": main, "dask": dask}
    print(0, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        # Block Ctrl-C until the program starts: a test must not interrupt this loop.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        if pid := os.fork():
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            print(pid, flush=True)
        else:
            os.setpgid(0, 0)
            log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            null = os.open(os.devnull, os.O_RDONLY)
            for old, new in ((null, 0), (log, 1), (log, 2)):
                os.dup2(old, new)
            status = 99
            try:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
                programs[request["program"]](request["arguments"])
            except SystemExit as end:
                status = int(end.code or 0)
            except KeyboardInterrupt:  # before the program started or after it ended
                status = 128 + signal.SIGINT
            except BaseException:  # noqa: BLE001 must not reach the loop
                traceback.print_exc()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)


if __name__ == "__main__":
    _serve()
