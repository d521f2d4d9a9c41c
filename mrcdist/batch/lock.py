"""Lock on an output file, so that only one job at a time writes it, even from other hosts."""

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

# Without O_BINARY, Windows translates line endings. It has no O_NOFOLLOW.
_RAW = os.O_RDWR | getattr(os, "O_BINARY", 0)
_NEW = _RAW | os.O_CREAT | os.O_EXCL
_EXISTING = _RAW | getattr(os, "O_NOFOLLOW", 0)


@dataclass(eq=False)
class OutputLock:
    """Exclusive right to write an output.

    The file ``.OUT.lock`` next to the output names the holder. On one host, and on filesystems
    whose locks are valid across hosts, the kernel's lock on that file (flock) excludes all other
    processes; it is released when the process ends. Some filesystems keep such locks separately on
    each host (Lustre with ``localflock``) or do not support them. There the holder updates the
    file's modification time every few seconds (`heartbeat`). A job that finds the lock file of a
    holder on another host reports this, watches the file, and takes it over if the time has not
    changed for half a minute (`timeout`). Clocks, which differ between hosts, are not compared.
    """

    output: Path
    report: Callable[[str], None]  # called with messages for the user
    _: KW_ONLY
    heartbeat: float = 5.0  # seconds
    timeout: float = 30.0  # seconds

    def __post_init__(self) -> None:
        self._path = self.output.with_name(f".{self.output.name}.lock")
        self._released = threading.Event()
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
                f"`out={self.output}`",
                code="destination-invalid",
                argument="out",
                cause=f"nothing can be written to the folder {self.output.parent}: "
                f"{error.strerror}: {error.filename}",
                remedy="create the folder, or choose another one",
            ) from None
        self._file = file
        # Never joined: its last access may take as long as the filesystem hangs.
        threading.Thread(target=self._send_heartbeats, name="mrcdist-lock", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        if self._read()[0] == self._own:
            with suppress(OSError):
                self._path.unlink()
        os.close(self._file)

    def _open(self) -> int | None:
        """Open and lock the file, and write the holder to it; None if it was just deleted."""
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
                locked = True
            except BlockingIOError:
                raise self._in_use(self._read()[0]) from None
            except OSError:
                locked = False  # not supported by this filesystem
            holder, _ = self._read()
            # A lock obtained from the kernel proves that an earlier holder on this host is dead.
            if not new and not (locked and _parse(holder).get("kernel") == _kernel()):
                self._watch(holder)
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

    def _watch(self, holder: bytes | None) -> None:
        """Wait until the holder releases the lock or is considered dead; raise if it is alive."""
        initial = self._read()
        if holder:
            self.report(
                f"{self._path} belongs to {_describe(holder)}: waiting for {self.timeout:.0f} s "
                "to see whether that job is still running"
            )
        deadline = time.monotonic() + self.timeout
        while time.monotonic() < deadline:
            time.sleep(self.heartbeat / 5)
            current = self._read()
            if current[0] is None:
                return
            if current != initial:
                raise self._in_use(current[0])

    def _send_heartbeats(self) -> None:
        """Update the modification time until the lock is released or lost."""
        while not self._released.wait(self.heartbeat):
            with suppress(OSError):
                if self._read()[0] == self._own:
                    os.utime(self._path)

    def _read(self) -> tuple[bytes | None, int]:
        """Return the holder, None if there is none, and the time of its last heartbeat.

        The file is opened again, because network filesystems update a file when it is opened.
        """
        try:
            with self._path.open("rb") as file:
                return file.read(), os.fstat(file.fileno()).st_mtime_ns
        except OSError:
            return None, 0

    def _in_use(self, holder: bytes | None) -> ArgumentError:
        return ArgumentError(
            f"`out={self.output}` is in use",
            code="destination-busy",
            argument="out",
            cause=f"another job is writing it: {_describe(holder)}",
            remedy="wait for that job to end, or choose another name",
        )


def _kernel() -> str:
    """Identify the running kernel, which several containers may share, until it is restarted."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return socket.gethostname()


def _is_at(file: int, path: Path) -> bool:
    """Return whether an open file still has this path: its holder may have deleted it."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except OSError:
        return False


def _parse(content: bytes | None) -> dict[str, Any]:
    try:
        holder = json.loads(content or b"")
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _describe(content: bytes | None) -> str:
    holder = _parse(content)
    if not {"host", "pid", "since"} <= holder.keys():
        return "an unknown process"
    return f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
