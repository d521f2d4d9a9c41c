"""What a job did, in numbers and in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dask.utils import format_bytes

from mrcdist.formatting import shape_words

__all__ = ["Summary"]


@dataclass(frozen=True)
class Summary:
    """The end of a job; `str()` of it is for reading.

    Attributes
    ----------
    title, url : str
        What was computed, and of what (redacted).
    detector : str
        In words; empty where there is none.
    outputs : tuple of str
        Files that were written.
    shape : tuple of int
    dtype : str
    units : tuple of str
        Of the values.
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

    title: str
    url: str
    detector: str
    outputs: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    units: tuple[str, ...]
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
        """Return the same as JSON-serialisable values."""
        return {
            **dataclasses.asdict(self),
            "bytes": self.bytes,
            "bytes_per_second": self.bytes_per_second,
        }

    def __str__(self) -> str:
        kept = f", {self.parts_kept} of an earlier run" if self.parts_kept else ""
        lines = [
            f"{self.title} of {self.url}",
            f"  result    {shape_words(self.shape)} {self.dtype}, in {', '.join(self.units)}",
            *([f"  detector  {self.detector}"] if self.detector else []),
            *(f"  written   {output}" for output in self.outputs),
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
