"""Processes started by tests, with logs in a folder; they never outlive the test run.

A `with` block stops them by pid, also if starting one of them fails. If the test run is killed, the
kernel ends each child with its parent, more precisely with the *thread* that started it: start
processes from a thread that lives long enough.
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
    """Return this process's environment without S3 settings of the user, plus `extra`.

    Tests must not use or reveal the user's credentials, nor reach 127.0.0.1 through a web proxy.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {
        **inherited,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "no_proxy": "127.0.0.1,localhost",
        # Show tracebacks of unexpected errors.
        "MRCDIST_TRACEBACK": "1",
        **(extra or {}),
    }


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ends_with_parent(command: Sequence[str | Path]) -> list[str]:
    """Return a command line that the kernel kills when its parent dies (unchanged if not Linux)."""
    prefix = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
    return [*prefix, *map(str, command)]


class Processes:
    """A group of processes that live within a `with` block.

    Parameters
    ----------
    folder : Path
        Folder for their output, `<name>.out`.
    grace : float, default 0
        Seconds between SIGTERM and SIGKILL. With 0, processes are killed at once, which is right
        if their state is temporary; a process with children in other sessions (slurmd) needs time.
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
        """Run a command and return its output.

        Raises
        ------
        ProcessDiedError
            If it fails or runs longer than `timeout` seconds.
        """
        try:
            process = subprocess.run(
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
        return process.stdout

    def check(self) -> None:
        """Raise `ProcessDiedError`, with all logs, if one of the processes has ended."""
        for name, process in self.running.items():
            if process.poll() is not None:
                raise ProcessDiedError(f"{name} ended with {process.returncode}\n{self.logs()}")

    def wait_until(self, ready: Callable[[], bool], what: str, *, timeout: float = 120.0) -> None:
        """Wait until `ready()` is true; fail if a process ends or after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise ProcessDiedError(f"{what}: not ready after {timeout} s\n{self.logs()}")
            time.sleep(0.05)

    def logs(self) -> str:
        """Return the end of every log."""
        texts = []
        for name in self.running:
            text = (self.folder / f"{name}.out").read_text(errors="replace")
            texts.append(f"--- {name}\n{text[-_LOG_TAIL:]}")
        return "\n".join(texts)

    def stop(self) -> None:
        """End all processes and wait for them.

        A process that has to be killed is killed with its session, which `start` created.
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
