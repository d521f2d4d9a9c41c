"""Ask every worker, before hours are spent, whether it can read the file as planned."""

from __future__ import annotations

import dataclasses
import itertools
import pickle
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from dask.utils import format_bytes
from distributed import Client

import mrcdist
from mrcdist.compute.schedule import Block
from mrcdist.errors import FileChangedError, MrcdistError
from mrcdist.plan.chunks import block_boxes
from mrcdist.read_plan import Plan
from mrcdist.storage.stored_file import StoredFile, current_version

_PACKAGES = ("dask", "distributed", "numpy", "fsspec", "s3fs")


@dataclass(frozen=True)
class WorkerReport:
    """Answer of one worker.

    `name` and `host` are empty where it did not answer; the memory limit is in bytes, None without
    one; `versions` are of Python and packages, empty for what is not installed; `problem`, `cause`
    and `remedy` say why it cannot read the file, and are empty where it can.
    """

    address: str
    name: str = ""
    host: str = ""
    pid: int = 0
    threads: int = 0
    memory_limit: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    bytes_read: int = 0
    seconds: float = 0.0
    problem: str = ""
    cause: str = ""
    remedy: str = ""

    @property
    def bytes_per_second(self) -> float:
        """Measured read speed."""
        return self.bytes_read / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class CheckReport:
    """Answers of all workers, by name; `str()` of it is for reading.

    The `url` is redacted; `identity` is the size and version that were planned for, `versions` are
    the client's.
    """

    url: str
    identity: str
    versions: Mapping[str, str]
    workers: tuple[WorkerReport, ...]

    @property
    def ok(self) -> bool:
        """Whether there are workers, and all can read the file."""
        return bool(self.workers) and not any(worker.problem for worker in self.workers)

    def differences(self, worker: WorkerReport) -> list[str]:
        """Versions of a worker that are not the client's, in words."""
        return [
            f"{package} {worker.versions.get(package) or 'missing'}"
            for package, here in self.versions.items()
            if worker.versions and worker.versions.get(package) != here
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the same as JSON-serialisable values."""
        return {
            **dataclasses.asdict(self),
            "ok": self.ok,
            "workers": [
                {
                    **dataclasses.asdict(worker),
                    "ok": not worker.problem,
                    "bytes_per_second": worker.bytes_per_second,
                    "differences": self.differences(worker),
                }
                for worker in self.workers
            ],
        }

    def __str__(self) -> str:
        able = [worker for worker in self.workers if not worker.problem]
        together = sum(worker.bytes_per_second for worker in able)
        most = max((worker.bytes_read for worker in able), default=0)
        lines = [
            f"{self.url}",
            f"  planned   {self.identity}",
            "  versions  " + ", ".join(f"{name} {v}" for name, v in self.versions.items()),
            "",
            *_table(
                ("worker", "host", "threads", "memory", "reads at", "file", "other versions"),
                [self._row(worker) for worker in self.workers],
            ),
            "",
            f"{len(able)} of {len(self.workers)} workers can read the file"
            + (
                f": {format_bytes(most)} each, all at once, "
                f"{format_bytes(int(together))}/s together"
                if able
                else ""
            ),
        ]
        reasons: dict[tuple[str, str, str], list[str]] = {}
        for worker in self.workers:
            if worker.problem:
                reason = (worker.problem, worker.cause, worker.remedy)
                reasons.setdefault(reason, []).append(worker.name or worker.address)
        for (problem, cause, remedy), names in reasons.items():
            lines += ["", f"cannot: {', '.join(names)}", f"  {problem}"]
            lines += [f"  cause: {cause}"] * bool(cause) + [f"  remedy: {remedy}"] * bool(remedy)
        return "\n".join(lines)

    def _row(self, worker: WorkerReport) -> tuple[str, ...]:
        speed = format_bytes(int(worker.bytes_per_second)) + "/s" if worker.bytes_read else "-"
        limit = format_bytes(worker.memory_limit) if worker.memory_limit else "no limit"
        return (
            worker.name or worker.address,
            worker.host or "?",
            str(worker.threads),
            limit if worker.host else "?",
            speed,
            "cannot" if worker.problem else "yes",
            ", ".join(self.differences(worker)) or "-",
        )


def check_workers(client: Client, plan: Plan, *, patience: float = 120.0) -> CheckReport:
    """Let every worker compare the file with the planned one, and read one of the plan's chunks.

    All read at the same time, each a chunk of its own as far as there are enough: caches flatter
    less, and the speeds add up to what a job can expect. A worker's storage is given up after
    `patience` seconds.
    """
    threads: dict[str, int] = client.nthreads()
    addresses = sorted(threads)
    payload = pickle.dumps((plan.source, _indices(plan, addresses)))
    answers = client.run(_probe(), payload, patience, workers=addresses, on_error="return")
    versions = client.get_versions(packages=list(_PACKAGES))
    reports = [
        _report(address, threads[address], answers.get(address), versions["workers"].get(address))
        for address in addresses
    ]
    return CheckReport(
        url=plan.location.shown,
        identity=str(plan.source.parts[0].file.version),
        versions=_versions(versions["client"], mrcdist.__version__),
        workers=tuple(sorted(reports, key=lambda worker: (worker.name, worker.address))),
    )


def _indices(plan: Plan, addresses: Sequence[str]) -> dict[str, Any]:
    """A chunk for each worker, spread over the file."""
    blocks: list[Block] = list(block_boxes(plan.chunks))
    chosen = (blocks[i * len(blocks) // len(addresses)] for i in range(len(addresses)))
    return {
        address: tuple(slice(*span) for span in block)
        for address, block in zip(addresses, chosen, strict=True)
    }


def _report(address: str, threads: int, answer: Any, versions: Any) -> WorkerReport:
    if isinstance(answer, dict):
        own = answer.pop("mrcdist", "")
        return WorkerReport(address, versions=_versions(versions, own), **answer)
    return WorkerReport(
        address,
        threads=threads,
        versions=_versions(versions, ""),
        problem="no answer from the worker" if answer is None else f"it fails: {answer!r}",
        cause="the worker is gone, or its Python is not the client's",
        remedy="check the worker's log, and that its versions of Python and mrcdist match the "
        "client's",
    )


def _versions(found: Any, own: str) -> dict[str, str]:
    """Pick the packages that matter from what distributed tells; `own` is as it is imported."""
    if not isinstance(found, dict):
        return {"mrcdist": own} if own else {}
    packages = found["packages"]
    python = ".".join(str(packages.get("python", "")).split(".")[:3])
    others = {name: str(packages.get(name) or "") for name in _PACKAGES}
    return {"python": python, "mrcdist": own, **others}


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in itertools.chain([head], rows)
    ]


def _probe() -> Callable[..., Coroutine[Any, Any, dict[str, Any]]]:
    """Return the function to be run on each worker.

    It is made inside another one so that it is sent by value: a worker without this package can
    run it, and say so.
    """

    async def probe(payload: bytes, patience: float, dask_worker: Any = None) -> dict[str, Any]:
        import asyncio
        import os
        import socket

        known = {
            "name": str(dask_worker.name),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "threads": dask_worker.state.nthreads,
            "memory_limit": dask_worker.memory_manager.memory_limit,
        }
        try:
            import mrcdist
            from mrcdist.batch.check_workers import probe_file
        except ImportError as error:
            return {
                **known,
                "problem": "mrcdist cannot be imported",
                "cause": str(error),
                "remedy": "install the client's version of it in the workers' environment",
            }
        known["mrcdist"] = mrcdist.__version__
        try:
            # Not in the worker's event loop: it has to go on answering its scheduler.
            reading = asyncio.to_thread(probe_file, payload, dask_worker.address)
            return {**known, **await asyncio.wait_for(reading, patience)}
        except asyncio.TimeoutError:  # noqa: UP041 another class in Python 3.10
            return {
                **known,
                "problem": f"no answer from the storage in {patience:g} s",
                "cause": "a mount that hangs, or a network that drops packets",
                "remedy": "try to read the file on that host by hand",
            }

    return probe


def probe_file(payload: bytes, address: str) -> dict[str, Any]:
    """Compare the file with the planned one, and time the reading of one block.

    `payload` is a pickle of the source, and of an index into it for each worker's address. Returns
    what `WorkerReport` tells of it: ``bytes_read`` and ``seconds``, or what is wrong.
    """
    try:
        source, index = pickle.loads(payload)  # noqa: S301 from the client, as any task is
        for part in source.parts:
            _require_planned(part.file)
        begun = time.perf_counter()
        block = source[index[address]]
        block = np.array(block)  # mapped pages come from the disk when they are touched
        return {"bytes_read": int(block.nbytes), "seconds": time.perf_counter() - begun}
    except MrcdistError as error:
        return {"problem": error.problem, "cause": error.cause, "remedy": error.remedy}
    except Exception as error:  # noqa: BLE001 whatever it is, it goes into the report
        return {
            "problem": f"{type(error).__name__}: {error}",
            "cause": "software that differs from the client's",
            "remedy": "compare the versions",
        }


def _require_planned(file: StoredFile) -> None:
    found = current_version(file.location)
    try:
        file.require(found)
    except FileChangedError as error:
        raise FileChangedError(
            f"{file.location.shown} on this worker is {found}, but {file.version} was planned",
            code=error.code,
            cause="this worker sees another copy or version, or the file is being written",
            remedy="make all workers see the same file, and plan again once it is complete",
        ) from None
