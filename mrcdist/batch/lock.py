"""A lock on an output: one job at a time writes it, whichever hosts the jobs run on."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Self

from mrcdist.errors import ArgumentError
from mrcdist.system_calls import lock_file, write_at

# Windows would change line ends, and has no O_NOFOLLOW.
_RAW = os.O_RDWR | getattr(os, "O_BINARY", 0)
_NEW = _RAW | os.O_CREAT | os.O_EXCL
_EXISTING = _RAW | getattr(os, "O_NOFOLLOW", 0)


@dataclass(eq=False)
class OutputLock:
    """The right to write an output, held by one job at a time.

    The file ``.OUT.lock`` beside the output names the holder. On one host, and on filesystems
    whose locks hold across hosts, the kernel's lock on that file (flock) excludes all others; it
    ends with its process. Some filesystems keep such locks on each host alone (Lustre with
    ``localflock``) or have none: there the holder sets the file's time of modification every few
    seconds, the `beat`. Who finds the file of a holder on another host watches it, tells what it
    waits for, and takes it over if the time has not changed for half a minute, the `silence`.
    Clocks, which differ between hosts, are not compared.
    """

    output: Path
    say: Callable[[str], None]
    _: KW_ONLY
    # Seconds between two signs of life, and without one until a job on another host counts as dead.
    beat: float = 5.0
    silence: float = 30.0

    def __post_init__(self) -> None:
        self._path = self.output.with_name(f".{self.output.name}.lock")
        self._ended = threading.Event()
        holder = {
            "host": socket.gethostname(),
            "kernel": _kernel(),
            "pid": os.getpid(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
            "lock": uuid.uuid4().hex,
        }
        self._own = json.dumps(holder).encode()

    def __enter__(self) -> Self:
        try:
            while (file := self._open()) is None:
                pass
        except OSError as error:
            raise ArgumentError(
                f"out={self.output}",
                code="destination-invalid",
                argument="out",
                cause=f"nothing can be written to the folder {self.output.parent}: "
                f"{error.strerror}: {error.filename}",
                remedy="create the folder, or choose another one",
            ) from None
        self._file = file
        # Not waited for: its last look may take as long as the filesystem hangs.
        threading.Thread(target=self._live, name="mrcdist-lock", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._look()[0] == self._own:
            with suppress(OSError):
                self._path.unlink()
        os.close(self._file)

    def _open(self) -> int | None:
        """Open the file, lock it and write who holds it; None if it went away meanwhile."""
        try:
            file, new = os.open(self._path, _NEW, 0o666), True
        except FileExistsError:
            try:
                file, new = os.open(self._path, _EXISTING), False
            except FileNotFoundError:
                return None
        try:
            try:
                lock_file(file)
                kernel = True
            except BlockingIOError:
                raise self._in_use(self._look()[0]) from None
            except OSError:
                kernel = False  # this filesystem has no such locks
            found, _ = self._look()
            # The kernel knows that a holder on this host is dead.
            if not new and not (kernel and _parsed(found).get("kernel") == _kernel()):
                self._watch(found)
            if not _is_at(file, self._path):
                os.close(file)
                return None
            os.ftruncate(file, 0)
            write_at(file, self._own, 0)
            os.fsync(file)
        except BaseException:
            os.close(file)
            raise
        return file

    def _watch(self, found: bytes | None) -> None:
        """Wait until the holder has ended or counts as dead; raise if it lives."""
        before = self._look()
        if found:
            self.say(
                f"{self._path} was left by {_words(found)}: waiting for {self.silence:.0f} s, "
                "to see whether that job still runs"
            )
        until = time.monotonic() + self.silence
        while time.monotonic() < until:
            time.sleep(self.beat / 5)
            now = self._look()
            if now[0] is None:
                return
            if now != before:
                raise self._in_use(now[0])

    def _live(self) -> None:
        """Give signs of life, until the lock is given back or lost."""
        while not self._ended.wait(self.beat):
            with suppress(OSError):
                if self._look()[0] == self._own:
                    os.utime(self._path)

    def _look(self) -> tuple[bytes | None, int]:
        """Who holds the lock, and the last sign of life; None if nobody does.

        Opened anew: network filesystems bring a file up to date when it is opened.
        """
        try:
            with self._path.open("rb") as file:
                return file.read(), os.fstat(file.fileno()).st_mtime_ns
        except OSError:
            return None, 0

    def _in_use(self, found: bytes | None) -> ArgumentError:
        return ArgumentError(
            f"out={self.output} is in use",
            code="destination-busy",
            argument="out",
            cause=f"another job is writing it: {_words(found)}",
            remedy="wait for that job to end, or choose another name",
        )


def _kernel() -> str:
    """Identify the running kernel since its start: several containers may share it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return socket.gethostname()


def _is_at(file: int, path: Path) -> bool:
    """Whether an open file is the one of that name: the holder may have deleted it."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except OSError:
        return False


def _parsed(found: bytes | None) -> dict[str, Any]:
    try:
        holder = json.loads(found or b"")
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _words(found: bytes | None) -> str:
    holder = _parsed(found)
    if not {"host", "pid", "since"} <= holder.keys():
        return "an unknown process"
    return f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
