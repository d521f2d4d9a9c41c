"""Local S3 server in a separate process that counts its requests.

The default is moto's server, which is made for tests and accepts dummy keys. It reads the whole
object for every range, which is fast enough up to about 1 GB, and uses several times the size of
the object in memory.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrcdist.errors import ReadError
from mrcdist.extras import install_command

__all__ = ["S3Server", "serve_s3"]

_START_SECONDS = 60.0
# Standard input is a pipe that is never written to. It is closed when this process ends, even if
# killed (such as the kernel of a notebook), so that the server does not outlive it.
_SERVE = """
import os, sys, threading
from moto.server import main
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
main()
"""
_MOTO = (sys.executable, "-c", _SERVE, "-H", "127.0.0.1", "-p", "0")
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
        Log with one line per request.
    """

    endpoint: str
    log: Path

    @property
    def storage_options(self) -> dict[str, Any]:
        """Options for fsspec to access the server."""
        return {
            "key": "demo",
            "secret": "demo",
            "endpoint_url": self.endpoint,
            "client_kwargs": {"region_name": "us-east-1"},
        }

    def requests(self) -> Counter[str]:
        """Return the number of requests answered so far, by HTTP method."""
        return Counter(_REQUEST.findall(self.log.read_text("utf-8", errors="replace")))


@contextmanager
def serve_s3(log: Path, command: Sequence[str] = _MOTO) -> Iterator[S3Server]:
    """Run an S3 server on a free local port for the duration of the context.

    Parameters
    ----------
    log : Path
        Log with one line per request; replaced if it exists.
    command : sequence of str, optional
        Program that prints ``Running on http://127.0.0.1:port`` and a line per request, and ends
        when its standard input is closed. Default: moto's server.

    Yields
    ------
    S3Server
        Ready for requests, with no buckets.

    Raises
    ------
    ReadError
        The server did not start, for instance because moto is not installed.
    """
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
    """Return the address from the log; the server itself chooses a free port."""
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        address = _ADDRESS.search(log.read_text("utf-8", errors="replace"))
        if address:
            return address[1]
        time.sleep(0.05)
    raise ReadError(
        f"the demo's S3 server did not start, exit status {process.poll()}",
        code="demo-server-failed",
        cause=log.read_text("utf-8", errors="replace")[-500:] or "its log is empty",
        remedy=f"if a module is missing, {install_command('demo')}; see the log, {log}",
    )
