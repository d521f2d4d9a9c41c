"""An S3 server on this machine, in a process of its own, that counts what it is asked for.

It is moto's: made for tests, installed by pip, with keys that open nothing. It reads a whole object
for every range of it, which is quick enough up to about a gigabyte, and takes several times the
object's size in memory.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrcdist.errors import ReadError

__all__ = ["S3Server", "serve_s3"]

_START_SECONDS = 60.0
# Standard input is a pipe that nobody writes to. It closes with this process, however that ends
# (a notebook's kernel is killed, say), and the server does not outlive it.
_SERVE = """
import os, sys, threading
from moto.server import main
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
main()
"""
_ADDRESS = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")
_REQUEST = re.compile(r'"(?:\x1b\[[\d;]*m)*([A-Z]+) \S+ HTTP/')


@dataclass(frozen=True)
class S3Server:
    """A running server.

    Parameters
    ----------
    endpoint : str
        `http://127.0.0.1:port`.
    log : Path
        A line for each request.
    """

    endpoint: str
    log: Path

    @property
    def storage_options(self) -> dict[str, Any]:
        """What fsspec needs to reach it."""
        return {
            "key": "demo",
            "secret": "demo",
            "endpoint_url": self.endpoint,
            "client_kwargs": {"region_name": "us-east-1"},
        }

    def requests(self) -> Counter[str]:
        """Return how many requests were answered so far, by method."""
        return Counter(_REQUEST.findall(self.log.read_text("utf-8", errors="replace")))


@contextmanager
def serve_s3(log: Path) -> Iterator[S3Server]:
    """Run a server for as long as the block lasts, on a free port of this machine only.

    Parameters
    ----------
    log : Path
        Where the server writes a line for each request; replaced.

    Yields
    ------
    S3Server
        Ready for requests, without buckets.

    Raises
    ------
    ReadError
        The server did not start; moto is missing, perhaps.
    """
    command = [sys.executable, "-c", _SERVE, "-H", "127.0.0.1", "-p", "0"]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield S3Server(_address(process, log), log)
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait for the line that names the port: the server itself chose a free one."""
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        found = _ADDRESS.search(log.read_text("utf-8", errors="replace"))
        if found:
            return found[1]
        time.sleep(0.05)
    raise ReadError(
        f"the demo's S3 server did not start, exit status {process.poll()}",
        code="demo-server-failed",
        cause=log.read_text("utf-8", errors="replace")[-500:] or "it said nothing",
        remedy=f"if a module is missing, pip install 'mrcdist[demo]'; the whole log is {log}",
    )
