"""Check, before a long job, whether every worker can read the planned file."""

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
from mrcdist.format.header import HEADER_BYTES
from mrcdist.plan.chunks import block_boxes
from mrcdist.read_plan import Plan
from mrcdist.storage.stored_file import StoredFile, current_version

_PACKAGES = ("dask", "distributed", "numpy", "fsspec", "s3fs")


@dataclass(frozen=True)
class WorkerReport:
    """Report of one worker.

    `name` and `host` are empty if it did not answer. The memory limit is in bytes, or None if there
    is none. `versions` are those of Python and of packages, empty for missing packages. `problem`,
    `cause`, `remedy` and `code` are those of the error if it cannot read the file, otherwise empty.
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
    code: str = ""

    @property
    def bytes_per_second(self) -> float:
        """Read speed."""
        return self.bytes_read / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class CheckReport:
    """Reports of all workers, sorted by name; `str()` of it is a table.

    `url` is redacted. `identity` is the planned size and version of the file, `versions` are those
    of the client.
    """

    url: str
    identity: str
    versions: Mapping[str, str]
    workers: tuple[WorkerReport, ...]

    @property
    def ok(self) -> bool:
        """Whether there are workers and all of them can read the file."""
        return bool(self.workers) and not any(worker.problem for worker in self.workers)

    def differences(self, worker: WorkerReport) -> list[str]:
        """Return the packages of a worker whose version differs from the client's."""
        return [
            f"{package} {worker.versions.get(package) or 'missing'}"
            for package, version in self.versions.items()
            if worker.versions and worker.versions.get(package) != version
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-serialisable values."""
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
        verdict = f"{len(able)} of {len(self.workers)} workers can read the file"
        if able:
            most = max(worker.bytes_read for worker in able)
            speed = int(sum(worker.bytes_per_second for worker in able))
            verdict += f": {format_bytes(most)} each, in parallel, {format_bytes(speed)}/s in total"
        lines = [
            self.url,
            f"  planned   {self.identity}",
            "  versions  " + ", ".join(f"{name} {v}" for name, v in self.versions.items()),
            "",
            *_table(
                ("worker", "host", "threads", "memory", "reads at", "file", "other versions"),
                [self._row(worker) for worker in self.workers],
            ),
            "",
            verdict,
        ]
        reasons: dict[tuple[str, ...], list[str]] = {}
        for worker in self.workers:
            if worker.problem:
                reason = (worker.problem, worker.cause, worker.remedy, worker.code)
                reasons.setdefault(reason, []).append(worker.name or worker.address)
        for (problem, *details), names in reasons.items():
            lines += ["", f"cannot: {', '.join(names)}", f"  {problem}"]
            labelled = zip(("cause", "remedy", "code"), details, strict=True)
            lines += [f"  {label}: {text}" for label, text in labelled if text]
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
    """Let every worker compare the file with the planned one and read one chunk.

    All workers read at the same time, different chunks if there are enough, so that caches have
    less influence and the speeds add up to the throughput of a job. `patience` is the time limit
    for the storage of a worker, in seconds.
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
    """Return a chunk for each worker, evenly spread over the file."""
    blocks: list[Block] = list(block_boxes(plan.chunks))
    return {
        address: tuple(slice(*span) for span in blocks[i * len(blocks) // len(addresses)])
        for i, address in enumerate(addresses)
    }


def _report(address: str, threads: int, answer: Any, versions: Any) -> WorkerReport:
    if isinstance(answer, dict):
        version = answer.pop("mrcdist", "")
        return WorkerReport(address, versions=_versions(versions, version), **answer)
    error = MrcdistError(
        "no answer from the worker" if answer is None else f"it failed: {answer!r}",
        code="worker-failed",
        cause="the worker was lost, or its Python differs from the client's",
        remedy="check the worker's log, and install the client's versions of Python and mrcdist",
    )
    found = _versions(versions, "")
    return WorkerReport(address, threads=threads, versions=found, **explanation(error))


def _versions(versions: Any, mrcdist_version: str) -> dict[str, str]:
    """Select packages from the versions found by distributed, and add that of mrcdist."""
    if not isinstance(versions, dict):
        return {"mrcdist": mrcdist_version} if mrcdist_version else {}
    packages = versions["packages"]
    python = ".".join(str(packages.get("python", "")).split(".")[:3])
    others = {name: str(packages.get(name) or "") for name in _PACKAGES}
    return {"python": python, "mrcdist": mrcdist_version, **others}


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in itertools.chain([head], rows)
    ]


def _probe() -> Callable[..., Coroutine[Any, Any, dict[str, Any]]]:
    """Return the function to run on each worker.

    A nested function is pickled by value, so it also runs on a worker without mrcdist.
    """

    async def probe(payload: bytes, patience: float, dask_worker: Any = None) -> dict[str, Any]:
        import asyncio
        import os
        import socket

        report = {
            "name": str(dask_worker.name),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "threads": dask_worker.state.nthreads,
            "memory_limit": dask_worker.memory_manager.memory_limit,
        }
        try:
            import mrcdist

            report["mrcdist"] = mrcdist.__version__  # another version may lack what follows
            from mrcdist.batch.check_workers import explanation, probe_file
            from mrcdist.errors import MrcdistError
        except ImportError as error:
            return {
                **report,
                "problem": "mrcdist cannot be imported",
                "cause": str(error),
                "remedy": "install the client's version of mrcdist in the workers' environment",
                "code": "worker-import-failed",
            }
        try:
            # In a thread, since the worker's event loop must keep responding to the scheduler.
            reading = asyncio.to_thread(probe_file, payload, dask_worker.address)
            return {**report, **await asyncio.wait_for(reading, patience)}
        except TimeoutError:
            unresponsive = MrcdistError(
                f"no answer from the storage in {patience:g} s",
                code="storage-unresponsive",
                cause="a mount that hangs, or a network that drops packets",
                remedy="try to read the file on that host yourself",
            )
            return {**report, **explanation(unresponsive)}

    return probe


def probe_file(payload: bytes, address: str) -> dict[str, Any]:
    """Compare the file with the planned one, and measure how fast one block is read.

    `payload` is a pickle of the source and of an index into it for the address of each worker.
    Returns fields of `WorkerReport`: ``bytes_read`` and ``seconds``, or the problem.
    """
    try:
        source, indices = pickle.loads(payload)  # noqa: S301 from the client, like any task
        for part in source.parts:
            _require_planned(part.file)
        start = time.perf_counter()
        block = np.array(source[indices[address]])  # copied: reads all pages of a memory map
        return {"bytes_read": int(block.nbytes), "seconds": time.perf_counter() - start}
    except MrcdistError as error:
        return explanation(error)
    except Exception as error:  # noqa: BLE001 goes into the report
        explained = MrcdistError(
            f"{type(error).__name__}: {error}",
            code="worker-failed",
            cause="the worker's software differs from the client's",
            remedy="compare the versions",
        )
        return explanation(explained)


def explanation(error: MrcdistError) -> dict[str, Any]:
    """Return the fields of `WorkerReport` that describe an error."""
    return {name: getattr(error, name) for name in ("problem", "cause", "remedy", "code")}


def _require_planned(file: StoredFile) -> None:
    version = current_version(file.location, HEADER_BYTES)
    try:
        file.require(version)
    except FileChangedError as error:
        raise FileChangedError(
            f"{file.location.shown} on this worker is {version}, but {file.version} was planned",
            code=error.code,
            cause="this worker sees another copy or version, or the file is being written",
            remedy="make all workers see the same file, and plan again once it is complete",
        ) from None
