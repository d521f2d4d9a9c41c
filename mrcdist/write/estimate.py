"""Estimate of a write, and the report about it."""

from __future__ import annotations

from dataclasses import dataclass

from dask.utils import format_bytes

__all__ = ["WriteEstimate", "WriteReport"]


@dataclass(frozen=True)
class WriteReport:
    """Report on a written file.

    Attributes
    ----------
    url : str
        Redacted.
    nbytes : int
        Size of the file.
    shape : tuple of int
        Shape of the array.
    mode : int
        MODE of the header.
    statistics : tuple of four floats or None
        DMIN, DMAX, DMEAN, RMS deviation from the mean.
    seconds : float
    verified : bool
        Whether the file was read back and compared with the source.
    notes : tuple of str
        Information that could not be stored, and other warnings; each has a ``code``.
    """

    url: str
    nbytes: int
    shape: tuple[int, ...]
    mode: int
    statistics: tuple[float, float, float, float] | None
    seconds: float
    verified: bool = False
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        size = f"{format_bytes(self.nbytes)} in {self.seconds:.1f} s"
        lines = [self.url, f"  array    {' × '.join(map(str, self.shape))}, mode {self.mode}"]
        lines.append(f"  written  {size}, {format_bytes(int(self.nbytes / self.seconds))}/s")
        if self.statistics is not None:
            low, high, mean, rms = self.statistics
            lines.append(f"  values   {low:g} to {high:g}, mean {mean:g}, RMS deviation {rms:g}")
        if self.verified:
            lines.append("  verified by reading it back")
        return "\n".join(lines)


@dataclass(frozen=True)
class WriteEstimate:
    """Estimated cost of a write; print it for a summary.

    Attributes
    ----------
    url : str
        Redacted.
    tasks : int
        Number of write tasks, one per block.
    nbytes : int
        Bytes of the file.
    task_bytes : int
        Bytes that a task writes.
    requests : int
        Requests to a store that a task makes; 0 on a disk.
    task_memory : int
        Peak memory of a task in bytes, including its block.
    remarks : tuple of str
    """

    url: str
    tasks: int
    nbytes: int
    task_bytes: int
    requests: int
    task_memory: int
    remarks: tuple[str, ...]

    def __str__(self) -> str:
        requests = f" in {self.requests} requests" if self.requests else ""
        lines = [
            self.url,
            f"  file     {format_bytes(self.nbytes)}",
            f"  tasks    {self.tasks:,}",
            f"  a task   {format_bytes(self.task_bytes)}{requests}",
            f"  memory   {format_bytes(self.task_memory)} per task",
        ]
        return "\n".join(lines + [f"  note     {remark}" for remark in self.remarks])
