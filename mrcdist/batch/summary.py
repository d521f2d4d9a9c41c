"""Summary of a job, as numbers and as text."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dask.utils import format_bytes

from mrcdist.formatting import format_shape

__all__ = ["ResultSummary", "Summary"]


@dataclass(frozen=True)
class ResultSummary:
    """Name of the computed result.

    Attributes
    ----------
    name, title : str
    detector : str
        In words; empty where there is none.
    outputs : tuple of str
        Files that were written.
    shape : tuple of int
    dtype : str
    units : tuple of str
        Of the values.
    """

    name: str
    title: str
    detector: str
    outputs: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    units: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """Yield it in words."""
        yield f"  result    {format_shape(self.shape)} {self.dtype}, in {', '.join(self.units)}"
        if self.detector:
            yield f"  detector  {self.detector}"
        for output in self.outputs:
            yield f"  written   {output}"


@dataclass(frozen=True)
class Summary:
    """The end of a job; `str()` of it is for reading.

    Attributes
    ----------
    url : str
        What was read (redacted).
    results : tuple of ResultSummary
    parts, parts_kept : int
        Of the job, and those that an earlier run had finished.
    tasks, blocks : int
        Tasks that read, and blocks that they read, in this run.
    pixel_bytes : int
        Of the pixels that count, in this run, as the progress counts them: of a detector, the rows
        and columns that it spans.
    bytes_fetched, bytes_mapped : int
        By the workers, in this run: over a network or by read(), and mapped from local files, of
        which only the pages that are touched come from disk.
    requests, retries : int
        Ranged requests that succeeded, and attempts that had to be repeated.
    seconds : float
        Of computing, in this run.
    workers : int
        Processes that read.
    notes : tuple of str
        What the reader should know.
    """

    url: str
    results: tuple[ResultSummary, ...]
    parts: int
    parts_kept: int
    tasks: int
    blocks: int
    pixel_bytes: int
    bytes_fetched: int
    bytes_mapped: int
    requests: int
    retries: int
    seconds: float
    workers: int
    notes: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Fetched or mapped."""
        return self.bytes_fetched + self.bytes_mapped

    @property
    def bytes_per_second(self) -> float:
        """Pixels a second, as the progress counts them; 0 where nothing was computed.

        Mapped bytes would say nothing: most of them may never have been touched.
        """
        return self.pixel_bytes / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the same as JSON-serialisable values; a single result's at the top as well."""
        only = self.results[0] if len(self.results) == 1 else None
        return {
            **dataclasses.asdict(self),
            **({} if only is None else dataclasses.asdict(only)),
            "bytes": self.bytes,
            "bytes_per_second": self.bytes_per_second,
        }

    def __str__(self) -> str:
        kept = f", {self.parts_kept} of an earlier run" if self.parts_kept else ""
        lines = [
            *(
                line
                for one in self.results
                for line in (f"{one.title} of {self.url}", *one.lines())
            ),
            *([f"{len(self.results)} results in one pass"] if len(self.results) > 1 else []),
            f"  pixels    {format_bytes(self.pixel_bytes)} in {self.seconds:.1f} s, "
            f"{format_bytes(int(self.bytes_per_second))}/s",
            *(f"  read      {words}" for words in self._read()),
            f"  tasks     {self.tasks:,} on {self.workers} workers, {self.blocks:,} blocks; "
            f"{self.parts} parts{kept}",
        ]
        return "\n".join(lines)

    def _read(self) -> Iterator[str]:
        if self.bytes_mapped:
            yield (
                f"{format_bytes(self.bytes_mapped)} of local files mapped, of which the pages "
                "with these pixels are read"
            )
        if self.bytes_fetched or not self.bytes_mapped:
            yield (
                f"{format_bytes(self.bytes_fetched)} fetched; {self.requests:,} requests, "
                f"{self.retries:,} retries"
            )
