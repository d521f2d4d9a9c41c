"""Plan of a dataset, made before any pixel is read, and lazy arrays of it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

import dask.array as da
import numpy as np
from dask.tokenize import tokenize

from mrcdist.default_chunk_size import default_chunk_size
from mrcdist.discover.files import Directory
from mrcdist.discover.images import CompanionImages
from mrcdist.errors import ArgumentError
from mrcdist.explain import PlanReport, report
from mrcdist.format.axis import Axis
from mrcdist.format.direct_electron.sidecar import Sidecar
from mrcdist.format.extended.registry import ExtendedHeader
from mrcdist.format.extended.stored_records import StoredRecords
from mrcdist.format.header import Header
from mrcdist.formatting import format_steps
from mrcdist.options import ReadOptions
from mrcdist.plan.chunks import Chunks, chunk_notes, is_auto, plan_chunks
from mrcdist.plan.layout import Layout
from mrcdist.plan.navigation_shape import scan_question
from mrcdist.plan.selection import selected_frames
from mrcdist.plan.tilt_series import TiltSeries
from mrcdist.read.source import MrcSource
from mrcdist.remembered import Remembered
from mrcdist.storage.location import Location
from mrcdist.warning_notes import Note

# Names of lazy arrays start with this.
_PREFIX = "read-mrc-"

# Sources and options of the arrays of this process, by name if they are lazy, or else by id.
_origins: Remembered[str | int, tuple[MrcSource, tuple[str, ...]]] = Remembered(1000)


def origin_of(array: da.Array | np.ndarray[Any, Any]) -> tuple[MrcSource, tuple[str, ...]] | None:
    """Return the source and options of the plan from which an array was made, if known."""
    return _origins.get(array.name if isinstance(array, da.Array) else id(array))


def select_frames(
    source: MrcSource, axes: tuple[Axis, ...], which: Any, chunks: Any = ReadOptions.chunks
) -> tuple[MrcSource, tuple[Axis, ...], Chunks]:
    """Return the source, axes and chunks of selected frames; `which` is that of `Plan.frames`."""
    numbers = selected_frames(which, source.layout.navigation_shape)
    signal = axes[len(source.layout.navigation_shape) :]
    source = source.select(numbers)
    axes = (Axis("frame", len(numbers), navigate=True), *signal)
    return source, axes, source_chunks(source, chunks)


def source_chunks(source: MrcSource, chunks: Any) -> Chunks:
    """Return the caller's chunks of a source; one per file if files are compressed streams.

    Such a stream is read from its start, once for all frames.
    """
    layout = source.layout
    if any(part.compression is not None for part in source.parts):
        counts = tuple(part.frames for part in source.parts)
        by_file = source.table is None and layout.navigation_shape == (sum(counts),)
        first, *others = layout.shape
        return (counts if by_file else (first,), *((size,) for size in others))
    cut_frames = all(part.sections is None for part in source.parts)
    size = default_chunk_size(layout.dtype.itemsize, source.limits)
    return plan_chunks(layout, chunks, size, source.limits, cut_frames=cut_frames)


def plan_to_resume(make: Callable[..., Plan], chunks: Any, previous: Chunks | None) -> Plan:
    """Return `make(chunks=...)` with the chunks of an unfinished job, if `chunks` are automatic.

    Automatic chunks depend on the workers that are connected, which may have changed since.
    """
    if previous is not None and is_auto(chunks):
        with suppress(ArgumentError):  # chunks of another file: reported by the job
            return make(chunks=previous)
    return make(chunks=chunks)


@dataclass(frozen=True)
class Plan:
    """All that is known about a dataset before any pixel is read.

    Attributes
    ----------
    source : MrcSource
        The array-like object that tasks index. Indexing it reads in this process.
    header : Header
        The main header; for several files, that of the first, with the calibration shared by all.
    axes : tuple of Axis
        Navigation and signal axes in array order.
    chunks : tuple of tuple of int
        Block lengths along every axis.
    directory : Directory
        Directory of the first file.
    companions : CompanionImages
        Images recorded with a scan; its method `find` searches for them.
    sidecar : Sidecar or None
        The Direct Electron sidecar, if there is one.
    extended : ExtendedHeader or None
        The extended header, if there is one; for several files, their concatenated records.
    tilts : TiltSeries or None
        Tilt angles of the sections, in array order, if the file is a tilt series.
    file_notes : tuple of Note
        Warnings about the files.
    options : tuple of str
        Command-line options that produce the same plan.
    """

    source: MrcSource
    header: Header = field(repr=False)
    axes: tuple[Axis, ...]
    chunks: Chunks = field(repr=False)
    directory: Directory = field(repr=False)
    companions: CompanionImages = field(repr=False, compare=False)
    sidecar: Sidecar | None = field(repr=False)
    extended: ExtendedHeader | None = field(repr=False)
    tilts: TiltSeries | None = field(repr=False)
    file_notes: tuple[Note, ...]
    options: tuple[str, ...] = field(default=(), repr=False)

    @property
    def notes(self) -> tuple[Note, ...]:
        """Warnings about the files, and notes about the chunks."""
        return (
            *self.file_notes,
            *chunk_notes(self.chunks, self.dtype.itemsize, self.source.limits),
        )

    @property
    def question(self) -> str:
        """Suggestion how to read a long stack as a scan, or ""."""
        return scan_question(self.axes)

    @property
    def location(self) -> Location:
        """Location of the first file; its repr shows no secrets."""
        return self.source.parts[0].file.location

    @property
    def layout(self) -> Layout:
        """Shape and stored form of the frames."""
        return self.source.layout

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.layout.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Native-endian dtype of the array."""
        return self.layout.dtype

    @property
    def stored_records(self) -> StoredRecords | None:
        """Bytes of the extended header in array order; None if a frame of the array has none."""
        stored = None if self.extended is None else StoredRecords.of(self.extended)
        if stored is None or not stored.per_section:
            return stored
        table = self.source.table
        frames = range(self.layout.n_frames) if table is None else table.ravel().tolist()
        # The number of a missing frame is -1.
        available = all(0 <= frame < len(stored.records) for frame in frames)
        return stored.of_sections(frames) if available else None

    def to_dask(self) -> da.Array:
        """Return the lazy array, with one task per chunk."""
        array = to_dask(self.source, self.chunks)
        _origins.keep(array.name, (self.source, self.options))
        return array

    def frames(self, which: Any, *, chunks: Any = ReadOptions.chunks) -> da.Array:
        """Return the lazy array of selected frames; tasks read no others.

        Parameters
        ----------
        which : array_like or slice
            A mask over the scan: bool, with the shape of the navigation axes. Or scan points: int,
            shape (n, number of navigation axes). Or frame numbers, counted along the navigation
            axes with the last one fastest: int, shape (n,), or a slice. Points and numbers may be
            in any order, and may repeat.
        chunks : default "auto"
            As for `read_mrc`, for an array with one navigation axis.

        Returns
        -------
        dask.array.Array
            Shape (n, rows, columns), plus a colour axis for colour images. Frames are in the given
            order; those of a mask are in array order.

        Raises
        ------
        ArgumentError
            `which` has another shape or dtype, or an index is out of range.

        Examples
        --------
        >>> from mrcdist import plan_mrc
        >>> from mrcdist.testing.acquisition import write_acquisition
        >>> movie = write_acquisition("demo", scan_shape=(8, 8), frame_shape=(16, 16)).movie
        >>> plan_mrc(movie).frames([(0, 0), (7, 3)]).shape
        (2, 16, 16)
        """
        return self.select(which, chunks=chunks).to_dask()

    def select(self, which: Any, *, chunks: Any = ReadOptions.chunks) -> Plan:
        """Return the plan of selected frames; the parameters are those of `frames`."""
        source, axes, lengths = select_frames(self.source, self.axes, which, chunks)
        return replace(self, source=source, axes=axes, chunks=lengths, tilts=None)

    def explain(self, *, threads: int = 1) -> PlanReport:
        """Estimate the cost of computing the array.

        Parameters
        ----------
        threads : int, default 1
            Threads per worker, for the memory estimate.

        Returns
        -------
        PlanReport
            Figures as attributes; `print` it for a readable report.
        """
        cost = report(self.source, self.chunks, threads=threads)
        return replace(cost, remarks=(*cost.remarks, self.question)) if self.question else cost

    def __str__(self) -> str:
        """Return the report of `explain` as text."""
        return str(self.explain())

    def _repr_html_(self) -> str:
        """Return the HTML that a notebook shows: text, and dask's chart of the chunks.

        Nothing is read.
        """
        rows = {axis.name: f"{axis.size}, {format_steps(axis)}" for axis in self.axes}
        if images := self.companions.find(may_list=False):
            rows["images"] = ", ".join(image.name for image in images)
        if self.sidecar is not None:
            rows["sidecar"] = "Direct Electron"
        if self.extended is not None:
            rows["extended header"] = self.extended.kind
        lines = [*rows.items(), *(("note", note) for note in self.file_notes)]
        text = "\n".join([str(self), *(f"  {label:8} {text}" for label, text in lines)])
        pre = f'<pre style="white-space: pre-wrap">{escape(text)}</pre>'
        return f"{pre}{self.to_dask()._repr_html_()}"


def remember_origin(array: np.ndarray[Any, Any], plan: Plan) -> None:
    """Remember for `origin_of` from which plan an array was read, for as long as it exists."""
    _origins.keep(id(array), (plan.source, plan.options))
    weakref.finalize(array, _origins.pop, id(array), None).atexit = False


def to_dask(source: MrcSource, chunks: Chunks) -> da.Array:
    """Return a lazy dask array of a source, with one task per chunk.

    `dask.array.from_array` keeps the size of the layer constant, pushes slices into the read, and
    marks the tasks as data producers, so that the scheduler queues them. The name is derived from
    URL, version, layout and chunks, so it changes with the file.
    """
    # As arrays, because dask tokenises a tuple number by number: here up to a hundred thousand.
    lengths = [np.asarray(axis) for axis in chunks]
    array: Any = da.from_array(
        source,
        chunks=chunks,
        name=f"{_PREFIX}{tokenize(source, lengths)}",
        meta=np.empty((0,) * source.ndim, source.dtype),
        asarray=False,
        # A source with a table of frames or many files is sent once per worker, not per task.
        inline_array=source.fits_in_tasks,
    )
    return array


def source_of(array: da.Array) -> MrcSource | None:
    """Return the source of an array from `to_dask`; None if the array was computed from it."""
    if not array.name.startswith(_PREFIX):
        return None
    for layer in array.dask.layers.values():
        values: list[Any] = [value for value, _ in getattr(layer, "indices", ())]
        for value in values or [getattr(task, "value", task) for task in layer.values()]:
            if isinstance(value, MrcSource):
                return value
    return None
