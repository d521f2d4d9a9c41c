"""Ask every worker, before hours are spent, whether it can read the file as planned."""

from __future__ import annotations

import dataclasses
import itertools
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dask.utils import format_bytes
from distributed import Client

import mrcdist
from mrcdist.batch.probe import worker_probe
from mrcdist.compute.schedule import Block
from mrcdist.plan.chunks import block_boxes
from mrcdist.read_plan import Plan

__all__ = ["CheckReport", "WorkerReport", "check_workers"]

_PACKAGES = ("dask", "distributed", "numpy", "fsspec", "s3fs")


@dataclass(frozen=True)
class WorkerReport:
    """Answer of one worker.

    Attributes
    ----------
    address, name, host : str
        `name` and `host` are empty where it did not answer.
    pid, threads : int
    memory_limit : int or None
        Bytes; None without a limit.
    versions : mapping of str to str
        Of Python and packages; empty for what is not installed.
    bytes_read, seconds : number
        What it read of the file, and in what time; 0 where it could not.
    problem, cause, remedy : str
        Why it cannot read the file; empty where it can.
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
    """Answers of all workers; `str()` of it is for reading.

    Attributes
    ----------
    url : str
        Redacted.
    identity : str
        Size and version that were planned for.
    versions : mapping of str to str
        The client's.
    workers : tuple of WorkerReport
        By name.
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
            "url": self.url,
            "identity": self.identity,
            "ok": self.ok,
            "versions": dict(self.versions),
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
        for (problem, cause, remedy), names in self._problems().items():
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

    def _problems(self) -> dict[tuple[str, str, str], list[str]]:
        """Workers by what is wrong with them."""
        found: dict[tuple[str, str, str], list[str]] = {}
        for worker in self.workers:
            if worker.problem:
                key = (worker.problem, worker.cause, worker.remedy)
                found.setdefault(key, []).append(worker.name or worker.address)
        return found


def check_workers(client: Client, plan: Plan, *, patience: float = 120.0) -> CheckReport:
    """Let every worker compare the file with the planned one, and read a chunk of it.

    All read at the same time, each a chunk of its own as far as there are enough: caches flatter
    less, and the speeds add up to what a job can expect.

    Parameters
    ----------
    client : distributed.Client
    plan : Plan
        Its chunks say how much is read.
    patience : float, default 120
        Seconds after which a worker's storage is given up.
    """
    threads: dict[str, int] = client.nthreads()
    addresses = sorted(threads)
    payload = pickle.dumps((plan.source, _indices(plan, addresses)))
    answers = client.run(worker_probe(), payload, patience, workers=addresses, on_error="return")
    versions = client.get_versions(packages=list(_PACKAGES))
    here = _versions(versions["client"], mrcdist.__version__)
    reports = [
        _report(address, threads[address], answers.get(address), versions["workers"].get(address))
        for address in addresses
    ]
    return CheckReport(
        url=plan.location.shown,
        identity=str(plan.source.parts[0].file.version),
        versions=here,
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
    if not isinstance(answer, dict):
        known = _versions(versions, "")
        return WorkerReport(
            address,
            threads=threads,
            versions=known,
            problem="no answer from the worker" if answer is None else f"it fails: {answer!r}",
            cause="the worker is gone, or its Python is not the client's",
            remedy="check the worker's log, and that its versions of Python and mrcdist match the "
            "client's",
        )
    known = _versions(versions, answer.pop("mrcdist", ""))
    return WorkerReport(address, versions=known, **answer)


def _versions(found: Any, own: str) -> dict[str, str]:
    """Pick the packages that matter from what distributed tells."""
    if not isinstance(found, dict):
        return {"mrcdist": own} if own else {}
    packages = found["packages"]
    python = ".".join(str(packages.get("python", "")).split(".")[:3])
    others = {package: str(packages.get(package) or "") for package in _PACKAGES}
    return {"python": python, "mrcdist": own, **others}


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in itertools.chain([head], rows)
    ]
