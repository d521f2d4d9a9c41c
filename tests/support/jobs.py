"""Batch jobs on a small movie with known results, for tests of `mrcdist virtual`, `mean`, `com`."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from click.testing import CliRunner
from distributed import Client

from mrcdist.cli import main
from mrcdist.compute.partial import PartialStore
from tests.support.http_log import Exchange, Fault
from tests.support.mrc_files import mrc_bytes
from tests.support.processes import ROOT, Processes
from tests.support.s3 import S3Server

SCAN, FRAME = (12, 10), (32, 24)
CENTRE, RADIUS = (17, 11), 5
# 24 blocks of half a scan row each, so 24 tasks and 24 finished parts.
SHAPE = ["--navigation-shape", "10,12", "--chunks", "1,5,-1,-1"]
N_BLOCKS = 24


def frames() -> np.ndarray:
    random = np.random.default_rng(7)
    pixels = random.poisson(3, (*SCAN, *FRAME))
    pixels += random.poisson(90, pixels.shape) * ring(0, RADIUS)
    return pixels.astype("uint16")


def ring(inner: float, outer: float) -> np.ndarray:
    y, x = np.indices(FRAME)
    distance = np.hypot(y - CENTRE[0], x - CENTRE[1])
    return (inner <= distance) & (distance <= outer)


DATA = frames()
MOVIE = mrc_bytes(DATA.reshape(-1, *FRAME))


def virtual(mask: np.ndarray) -> np.ndarray:
    return (DATA * mask.astype("uint64")).sum(axis=(2, 3))


def centre_of_mass(mask: np.ndarray) -> np.ndarray:
    weighted = DATA * mask.astype("uint64")
    return np.stack(
        [(weighted * at).sum(axis=(2, 3)) / weighted.sum(axis=(2, 3)) for at in np.indices(FRAME)]
    )


def mrcdist_json(*arguments: object, status: int = 0) -> dict:
    """Run a command in this process and return the JSON it prints."""
    result = CliRunner().invoke(main, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == status, result.output
    printed: dict = json.loads(result.stdout)
    return printed


def mrcdist_fails(*arguments: object, status: int = 1) -> str:
    """Run a command that fails and return its standard error."""
    disabled = logging.root.manager.disable
    result = CliRunner().invoke(main, [*map(str, arguments)], catch_exceptions=False)
    logging.disable(disabled)  # after Ctrl-C, a command leaves logs disabled until its process ends
    assert result.exit_code == status, result.output
    return result.stderr


def address(client: Client) -> str:
    return str(client.scheduler.address)


def parts_in(output: Path) -> set[str]:
    return {file.name for file in output.with_name(f"{output.name}.partial").glob("part-*.npz")}


@contextmanager
def failing_after(parts: int, output: Path, error: BaseException) -> Iterator[None]:
    """Raise an error in a job, as Ctrl-C does, once it has finished this many parts."""
    save = PartialStore.save

    def failing(self: PartialStore, number: int, values: Sequence[np.ndarray]) -> None:
        if len(parts_in(output)) == parts:
            raise error
        save(self, number, values)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(PartialStore, "save", failing)
        yield


@contextmanager
def killed_before_parts_are_removed() -> Iterator[None]:
    """Keep the finished parts of a job that ends, as if it were killed."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(PartialStore, "remove", lambda _: None)
        yield


def storage_options(server: S3Server) -> list[str]:
    options = {
        "key": server.key,
        "secret": server.secret,
        "client_kwargs.endpoint_url": server.endpoint,
        "client_kwargs.region_name": server.region,
    }
    return [
        word for key, value in options.items() for word in ("--storage-option", f"{key}={value}")
    ]


def only_data(respond):
    """Restrict a `respond` hook to requests for pixels."""

    def hook(exchange: Exchange) -> Fault | None:
        starts = (exchange.range or "bytes=0-").removeprefix("bytes=").split("-")[0]
        return respond(exchange) if exchange.method == "GET" and int(starts) >= 1024 else None

    return hook


def start_command(processes: Processes, *arguments: object, environment: dict | None = None):
    """Start a command in a new process; return a function that waits for its status and output."""
    name = f"mrcdist-{len(processes.running)}"
    processes.start(
        name,
        [sys.executable, "-m", "mrcdist.cli", *map(str, arguments)],
        environment={"PYTHONPATH": str(ROOT), **(environment or {})},
    )

    def ended() -> tuple[int, str]:
        status = processes.running[name].wait(timeout=120)
        return status, (processes.folder / f"{name}.out").read_text()

    ended.process = psutil.Process(processes.running[name].pid)
    return ended
