"""Processes that tests start: logged to a folder, ended by pid on every way out.

`with` takes care of the ordinary ways out, a failure in the middle of a start included. For the
others (the test run is killed, or a time limit ends it at once) the kernel is asked to end a child
together with its parent. It is the parent's *thread* that counts: start processes from one that
lives as long as they should.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]

_LOG_TAIL = 4000


class ProcessDiedError(RuntimeError):
    """A process that a test depends on ended, or did not become ready."""


def isolated_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without anybody's S3 settings, plus `extra`.

    A test must neither use nor reveal the credentials of whoever runs it, and must not go through
    a web proxy to reach 127.0.0.1.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {
        **kept,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "no_proxy": "127.0.0.1,localhost",
        # What the command line did not expect is a test's to see.
        "MRCDIST_TRACEBACK": "1",
        **(extra or {}),
    }


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ends_with_parent(command: Sequence[str | Path]) -> list[str]:
    """Return `command` such that the kernel kills it when its parent dies (Linux; a no-op else)."""
    prefix = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
    return [*prefix, *map(str, command)]


class Processes:
    """A group of processes that live as long as a `with` block.

    Parameters
    ----------
    folder : Path
        Where their output goes: `<name>.out`.
    grace : float, default 0
        Seconds between asking a process to end and killing it. 0 kills at once, which is right
        where all state is thrown away; a process with children in sessions of their own
        (slurmd) has to be asked.
    """

    def __init__(self, folder: Path, *, grace: float = 0.0) -> None:
        self.folder = folder
        self.grace = grace
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        working_folder: Path | None = None,
    ) -> int:
        """Start `command` in the background and return its pid."""
        with (self.folder / f"{name}.out").open("wb") as log:
            process = subprocess.Popen(
                ends_with_parent(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=working_folder or self.folder,
                env=isolated_environment(environment),
                start_new_session=True,
            )
        self.running[name] = process
        return process.pid

    def run(self, command: Sequence[str | Path], *, timeout: float = 60.0) -> str:
        """Run `command` to its end and return what it printed.

        Raises
        ------
        ProcessDiedError
            It failed, or ran longer than `timeout` seconds.
        """
        try:
            done = subprocess.run(
                ends_with_parent(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=isolated_environment(),
                timeout=timeout,
                check=True,
                text=True,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise ProcessDiedError(f"{error}\n{error.output}\n{self.logs()}") from error
        return done.stdout

    def check(self) -> None:
        """Raise `ProcessDiedError`, with all logs, if one of the processes has ended."""
        for name, process in self.running.items():
            if process.poll() is not None:
                raise ProcessDiedError(f"{name} ended with {process.returncode}\n{self.logs()}")

    def wait_until(self, ready: Callable[[], bool], what: str, *, timeout: float = 120.0) -> None:
        """Wait for `ready()`, but no longer than the processes live or `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise ProcessDiedError(f"{what}: not ready after {timeout} s\n{self.logs()}")
            time.sleep(0.05)

    def logs(self) -> str:
        """Return the last lines of every log."""
        texts = []
        for name in self.running:
            text = (self.folder / f"{name}.out").read_text(errors="replace")
            texts.append(f"--- {name}\n{text[-_LOG_TAIL:]}")
        return "\n".join(texts)

    def stop(self) -> None:
        """End all processes; return when they are gone.

        A process that has to be killed goes with its session, which `start` made its own.
        """
        deadline = time.monotonic() + self.grace
        for process in self.running.values():
            if process.poll() is None and self.grace > 0:
                process.terminate()
        for process in self.running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.running.clear()
