"""The picklable array-like that tasks index; it contains no open files."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from mrcdist import stats
from mrcdist.config import ReadSettings, read_settings
from mrcdist.errors import MrcdistError
from mrcdist.format.mrcz import SectionTable
from mrcdist.format.pixels import PixelFormat
from mrcdist.plan.block import BlockPlan, BlockRequest, plan_by_rows
from mrcdist.plan.coalesce import Merging, Window
from mrcdist.plan.layout import Frames, FrameTable, Layout, within
from mrcdist.plan.reader_capabilities import Capabilities, Cost, FrameFile
from mrcdist.plan.selection import Selection, select
from mrcdist.read.compressed import SectionReader, StreamReader
from mrcdist.read.execute import execute, execute_awaited, execute_together
from mrcdist.read.mapped import open_local
from mrcdist.read.remote import RemoteReader
from mrcdist.read_limits import DEFAULT_LIMITS, ReadLimits
from mrcdist.remembered import unpickle_once
from mrcdist.storage.stored_file import StoredFile


class RangeReader(Protocol):
    """Reader of byte ranges of one version of one file.

    Reads raise `FileChangedError`, `MissingFileError`, `AccessDeniedError` or `ReadError`; those of
    compressed files also `TruncatedFileError` or `FormatError`.
    """

    @property
    def can(self) -> Capabilities:
        """Capabilities for planning and reading."""


class _PlannedPart(NamedTuple):
    """Plans for consecutive groups of rows of some frames of a block."""

    plans: list[BlockPlan]
    frames: Frames | slice

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels."""
        itemsize = self.plans[0].request.layout.dtype.itemsize
        return sum(math.prod(plan.shape) for plan in self.plans) * itemsize

    @property
    def cost(self) -> Cost:
        """Cost of `read`."""
        costs = [plan.cost for plan in self.plans]
        if len(costs) == 1:
            return costs[0]
        held = sum(cost.held for cost in costs) + self.nbytes
        return Cost(sum(cost.requests for cost in costs), sum(cost.nbytes for cost in costs), held)

    def read(self) -> npt.NDArray[Any]:
        """Return the frames."""
        if len(self.plans) == 1:
            return execute(self.plans[0])
        return np.concatenate(execute_together(self.plans), axis=1)


@dataclass(frozen=True)
class DatasetFile:
    """One file of a dataset, in the planned version; most datasets have one.

    `frames` is the number of complete frames, and `offset` the byte offset of the first one: in the
    decompressed bytes if the whole file is one stream (`compression` is "gzip" or "bzip2"), and 0
    for an MRCZ file, which has `sections` of `section_bytes` when decompressed. `pixels` is the
    storage format of its pixels, or None if it is that of the layout.
    """

    file: StoredFile
    offset: int
    frames: int
    compression: str | None = None
    sections: SectionTable | None = field(default=None, repr=False)
    section_bytes: int = 0
    pixels: PixelFormat | None = None

    def open(self, settings: ReadSettings, limits: ReadLimits) -> RangeReader:
        """Return a reader of the file in this process."""
        if self.compression is not None:
            return StreamReader(self.file, self.compression, limits)
        reader: RangeReader = (
            open_local(self.file, settings, limits)
            if self.file.location.is_local
            else RemoteReader(self.file, settings, limits)
        )
        if self.sections is not None:
            return SectionReader(reader.can, self.sections, self.section_bytes)
        return reader


@dataclass(frozen=True, eq=False)
class MrcSource:
    """MRC data as an array-like: indexing opens the file in this process and reads the selection.

    Deliberately not a duck array (no ``copy``, no ``__array_function__``), so that dask passes
    slices to it. `parts` are the files, in the order of their frames. If frames are not in file
    order, `table` has the frame number at each navigation position (shape
    ``layout.navigation_shape``).
    """

    parts: tuple[DatasetFile, ...]
    layout: Layout = field(repr=False)
    table: FrameTable | None = field(default=None, repr=False)
    limits: ReadLimits = field(default=DEFAULT_LIMITS, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.layout.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.layout.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Native-endian dtype."""
        return self.layout.dtype

    @property
    def fits_in_tasks(self) -> bool:
        """Whether the source is small enough to be sent with every task."""
        return self.table is None and len(self.parts) == 1 and self.parts[0].sections is None

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        return self.read(select(index, self.shape))

    def read(self, selection: Selection, rows: Frames | None = None) -> npt.NDArray[Any]:
        """Read a selection, with all components of RGB.

        `rows` are the selected rows, in increasing order, if they are not evenly spaced; the
        selection then has only their number.
        """
        settings = read_settings()
        if 0 in selection.shape:
            return _read_only(np.empty(selection.result_shape, self.dtype))
        stats.add(blocks=1)
        try:
            block = self._read(*self._to_read(selection, rows), settings)
        except MrcdistError as error:
            # The original exception of a library may not be picklable, and may contain secrets.
            error.__context__ = None
            raise
        return self._selected(block, selection)

    async def read_awaited(
        self, index: Any, settings: ReadSettings, readers: Sequence[RangeReader]
    ) -> npt.NDArray[Any] | None:
        """Return the block ``source[index]``, awaiting its bytes, or None if that needs a thread.

        `readers` has one awaitable reader per element of `parts`; they can be reused.
        """
        selection = select(index, self.shape)
        if 0 in selection.shape:
            return None
        planned = self._planned(*self._to_read(selection), settings, readers)
        plans = planned[0].plans
        if len(planned) > 1 or len(plans) > 1:
            return None
        try:
            block = await execute_awaited(plans[0])
        except MrcdistError as error:
            error.__context__ = None  # as above
            raise
        if block is None:
            return None
        stats.add(blocks=1)
        return self._selected(block, selection)

    def _to_read(
        self, selection: Selection, rows: Frames | None = None
    ) -> tuple[tuple[range, ...], Window]:
        """Return navigation positions and the window to read, in file order."""
        n_navigation = len(self.layout.navigation_shape)
        counted, columns, *_ = selection.ranges[n_navigation:]
        window = Window(_increasing(counted) if rows is None else rows, _increasing(columns))
        return selection.ranges[:n_navigation], window

    def _selected(self, block: npt.NDArray[Any], selection: Selection) -> npt.NDArray[Any]:
        """Return the selected part of a block in file order, in the shape of the result."""
        rows, columns, *components = selection.ranges[len(self.layout.navigation_shape) :]
        block = block[
            :,
            :: -1 if rows.step < 0 else 1,
            :: -1 if columns.step < 0 else 1,
            *(slice(r.start, None if r.stop < 0 else r.stop, r.step) for r in components),
        ]
        # Splitting the axis of frames and dropping axes of length 1 is always a view.
        return _read_only(block.reshape(selection.result_shape))

    def select(self, positions: Frames) -> MrcSource:
        """Return the source of the frames at some navigation positions.

        Positions are flat indices (C order), in any order and possibly repeated; their shape
        becomes that of the navigation axes.
        """
        table = positions if self.table is None else self.table.ravel()[positions]
        layout = replace(self.layout, navigation_shape=positions.shape)
        return replace(self, layout=layout, table=table)

    def cost(self, box: tuple[range, ...], settings: ReadSettings) -> Cost:
        """Return the cost of reading a box, from its plans, without reading it.

        The box has at least one position along each axis, in increasing order.
        """
        n_navigation = len(self.layout.navigation_shape)
        rows, columns, *_ = box[n_navigation:]
        parts = self._planned(box[:n_navigation], Window(rows, columns), settings)
        if len(parts) == 1:
            return parts[0].cost
        costs = [part.cost for part in parts]
        held = max(cost.held + part.nbytes for cost, part in zip(costs, parts, strict=True))
        return Cost(sum(cost.requests for cost in costs), sum(cost.nbytes for cost in costs), held)

    def _read(
        self, navigation: tuple[range, ...], window: Window, settings: ReadSettings
    ) -> npt.NDArray[Any]:
        """Read a window of the frames in a box of navigation positions."""
        planned = self._planned(navigation, window, settings)
        if len(planned) == 1:
            return planned[0].read()
        n_frames, n_rows = math.prod(map(len, navigation)), len(window.rows)
        block = np.zeros((n_frames, n_rows, *planned[0].plans[0].shape[2:]), self.dtype)
        for part in planned:
            block[part.frames] = part.read()
        return block

    def _planned(
        self,
        navigation: tuple[range, ...],
        window: Window,
        settings: ReadSettings,
        readers: Sequence[RangeReader] = (),
    ) -> list[_PlannedPart]:
        """Return plans for reading a window of the frames in a box of navigation positions.

        There is one plan per pixel format of the files and group of rows without long gaps. Without
        `readers`, files are opened.
        """
        frames = self.layout.frames(navigation, self.table)

        def capabilities_of(number: int) -> Capabilities:
            part = self.parts[number]
            return (readers[number] if readers else part.open(settings, self.limits)).can

        by_format: dict[PixelFormat | None, list[tuple[int, int]]] = {}
        for number, first in self._files_with(frames):
            by_format.setdefault(self.parts[number].pixels, []).append((number, first))
        planned: list[_PlannedPart] = []
        for pixels, numbered in (by_format or {None: []}).items():
            layout = self.layout if pixels is None else replace(self.layout, pixels=pixels)
            places: Frames | slice = slice(None)
            if len(by_format) > 1:
                masks = [within(frames, first, self.parts[n].frames) for n, first in numbered]
                places = np.flatnonzero(np.any(masks, axis=0))
            files = [
                _frame_file(capabilities_of(n), self.parts[n], first, layout, settings, self.limits)
                for n, first in numbered
            ]
            request = BlockRequest(files, layout, frames[places], window, self.limits)
            planned.append(_PlannedPart(plan_by_rows(request), places))
        return planned

    def _files_with(self, frames: Frames) -> list[tuple[int, int]]:
        """Return the index of each file that contains some of the frames, and its first frame."""
        if len(self.parts) == 1 and frames[0] >= 0:
            return [(0, 0)]
        firsts = accumulate((part.frames for part in self.parts[:-1]), initial=0)
        return [
            (number, first)
            for number, (part, first) in enumerate(zip(self.parts, firsts, strict=True))
            if within(frames, first, part.frames).any()
        ]

    def __reduce__(self) -> tuple[Callable[..., MrcSource], tuple[Any, ...]]:
        if self._packed is None:
            return type(self), (self.parts, self.layout, self.table, self.limits)
        return unpickle_once, (self._packed,)

    @cached_property
    def _packed(self) -> bytes | None:
        """The pickled source, made once, since pickling per task would take longer than planning.

        None if the source is sent once per worker, or if `pickle` fails, for instance for a class
        from a notebook among the storage options; distributed can pickle those.
        """
        if not self.fits_in_tasks:
            return None
        self.__dict__["_packed"] = None  # for `__reduce__`, which `dumps` calls
        try:
            packed = pickle.dumps(self, protocol=5)
        except Exception:  # noqa: BLE001 anything that cannot be pickled
            return None
        return None if b"__main__" in packed else packed

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        parts = [
            (part.file.location.identity, part.file.version, part.offset, part.frames, part.pixels)
            for part in self.parts
        ]
        return type(self).__qualname__, parts, self.layout, self.table


def _frame_file(
    can: Capabilities,
    part: DatasetFile,
    first: int,
    layout: Layout,
    settings: ReadSettings,
    limits: ReadLimits,
) -> FrameFile:
    """Return a file for planning, with the limits for ranges that are copied, and for views."""
    if can.maps is not None:  # views are not split
        copied = Merging(limits.map_gap, math.inf, limits.map_piece, 1, limits.min_piece)
        viewed = Merging(layout.nbytes, math.inf, layout.nbytes + 1, 1, limits.min_piece)
    else:
        copied = viewed = Merging(
            max_gap=can.gap,
            amplification=settings.amplification,
            max_bytes=settings.sub_range,
            pieces=settings.concurrency,
            shortest=limits.min_piece,
        )
    return FrameFile(can, part.offset, first, part.frames, copied, viewed)


def _read_only(block: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Make a block read-only, like views of mapped pages: several tasks may use the same one."""
    block.flags.writeable = False
    return block


def _increasing(positions: range) -> range:
    """Return positions in increasing order, as in the file."""
    return positions if positions.step > 0 else positions[::-1]
