"""The picklable array-like that tasks index; it contains no open handles."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from mrcdist import stats
from mrcdist.config import ReadSettings, read_settings
from mrcdist.errors import MrcdistError
from mrcdist.format.mrcz import SectionTable
from mrcdist.format.pixels import PixelFormat
from mrcdist.plan.block import BlockPlan, BlockRequest, plan_block
from mrcdist.plan.coalesce import Merging, Window
from mrcdist.plan.layout import Frames, FrameTable, Layout, within
from mrcdist.plan.reader_capabilities import Capabilities, Cost, FrameFile
from mrcdist.plan.selection import Selection, select
from mrcdist.read.compressed import SectionReader, StreamReader
from mrcdist.read.execute import RangeReader, execute, execute_awaited
from mrcdist.read.mapped import open_local
from mrcdist.read.remote import RemoteReader
from mrcdist.read_limits import DEFAULT_LIMITS, ReadLimits
from mrcdist.remembered import unpickle_once
from mrcdist.storage.stored_file import StoredFile

_Reader = TypeVar("_Reader", RangeReader, RemoteReader)


@dataclass(frozen=True)
class DatasetFile:
    """One file of a dataset, in the planned version; most datasets have one.

    It has complete `frames`, the first at `offset` in bytes: of the decompressed bytes if the whole
    file is one stream (`compression` is "gzip" or "bzip2"), and 0 where `sections` are those of an
    MRCZ file, each with `section_bytes` when it is decompressed. `pixels` says how its pixels are
    stored, or is None if as in all other files.
    """

    file: StoredFile
    offset: int
    frames: int
    compression: str | None = None
    sections: SectionTable | None = field(default=None, repr=False)
    section_bytes: int = 0
    pixels: PixelFormat | None = None

    def open(self, settings: ReadSettings, limits: ReadLimits = DEFAULT_LIMITS) -> RangeReader:
        """Return a reader of the file in this process."""
        if self.compression is not None:
            return StreamReader(self.file, self.compression)
        reader: RangeReader = (
            open_local(self.file, settings, limits)
            if self.file.location.is_local
            else RemoteReader(self.file, settings)
        )
        if self.sections is not None:
            return SectionReader(reader, self.sections, self.section_bytes)
        return reader


@dataclass(frozen=True, eq=False)
class MrcSource:
    """MRC data as an array-like: indexing opens the file in this process and reads the selection.

    Deliberately not a duck array (no ``copy``, no ``__array_function__``), so that dask passes
    slices to it. `parts` are in the order of their frames. If frames are not in file order, `table`
    has the number of the frame at each navigation position (shape ``layout.navigation_shape``).
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
    def travels_light(self) -> bool:
        """Whether the source is small enough to be sent with every task."""
        return self.table is None and len(self.parts) == 1 and self.parts[0].sections is None

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        settings = read_settings()
        selection = select(index, self.shape)
        if 0 in selection.shape:
            return _read_only(np.empty(selection.result_shape, self.dtype))
        stats.add(blocks=1)
        try:
            block = self._read(self._box(selection), settings)
        except MrcdistError as error:
            # The original exception of a library may not pickle, and may contain secrets.
            error.__context__ = None
            raise
        return self._selected(block, selection)

    async def read_awaited(
        self, index: Any, settings: ReadSettings, readers: Sequence[RemoteReader]
    ) -> npt.NDArray[Any] | None:
        """Read as ``source[index]`` does, but await the bytes; None if that takes a thread.

        There is one reader for each of `parts`; they can be used again.
        """
        selection = select(index, self.shape)
        if 0 in selection.shape:
            return None
        by_part = dict(zip(map(id, self.parts), readers, strict=True))
        planned = self._planned(self._box(selection), settings, lambda part: by_part[id(part)])
        if len(planned) > 1:
            return None
        try:
            block = await execute_awaited(*planned[0][:2])
        except MrcdistError as error:
            error.__context__ = None  # as above
            raise
        if block is None:
            return None
        stats.add(blocks=1)
        return self._selected(block, selection)

    def _box(self, selection: Selection) -> tuple[range, ...]:
        """Return the box to read, in file order, without the components of RGB."""
        n_navigation = len(self.layout.navigation_shape)
        rows, columns, *_ = selection.ranges[n_navigation:]
        return (*selection.ranges[:n_navigation], _increasing(rows), _increasing(columns))

    def _selected(self, block: npt.NDArray[Any], selection: Selection) -> npt.NDArray[Any]:
        """Return what is selected of the block of `_box`, in the shape of the result."""
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
        """Return the source of the frames at some positions.

        They are counted along the navigation axes, the last one fastest; in any order, also
        repeated. Their shape is that of the navigation axes of the result.
        """
        table = positions if self.table is None else self.table.ravel()[positions]
        layout = replace(self.layout, navigation_shape=positions.shape)
        return replace(self, layout=layout, table=table)

    def cost(self, box: tuple[range, ...], settings: ReadSettings) -> Cost:
        """Return the cost of reading a box, from its plan, without reading it.

        The box has increasing positions along each axis, at least one each.
        """
        planned = self._planned(box, settings, lambda part: part.open(settings, self.limits))
        plans = [plan for plan, _, _ in planned]
        if len(plans) == 1:
            return plans[0].cost
        costs = [plan.cost for plan in plans]
        blocks = [math.prod(plan.shape) * self.dtype.itemsize for plan in plans]
        return Cost(
            sum(cost.requests for cost in costs),
            sum(cost.nbytes for cost in costs),
            max(cost.held + block for cost, block in zip(costs, blocks, strict=True)),
        )

    def _read(self, box: tuple[range, ...], settings: ReadSettings) -> npt.NDArray[Any]:
        """Read a box: frames, rows, columns and, for RGB, components."""
        planned = self._planned(box, settings, lambda part: part.open(settings, self.limits))
        if len(planned) == 1:
            [(plan, readers, _)] = planned
            return execute(plan, readers)
        n_frames = math.prod(map(len, box[: len(self.layout.navigation_shape)]))
        block = np.zeros((n_frames, *planned[0][0].shape[1:]), self.dtype)
        for plan, readers, places in planned:
            block[places] = execute(plan, readers)
        return block

    def _planned(
        self,
        box: tuple[range, ...],
        settings: ReadSettings,
        open_part: Callable[[DatasetFile], _Reader],
    ) -> list[tuple[BlockPlan, list[_Reader], Frames | slice]]:
        """Return the plan for reading a box, the readers of its files, and its place in the box.

        One for each way in which files store their pixels.
        """
        n_navigation = len(self.layout.navigation_shape)
        frames = self.layout.frames(box[:n_navigation], self.table)
        window = Window(box[n_navigation], box[n_navigation + 1])
        alike: dict[PixelFormat | None, list[tuple[DatasetFile, int]]] = {}
        for part, first in self._holding(frames):
            alike.setdefault(part.pixels, []).append((part, first))
        planned: list[tuple[BlockPlan, list[_Reader], Frames | slice]] = []
        for pixels, holding in (alike or {None: []}).items():
            layout = self.layout if pixels is None else replace(self.layout, pixels=pixels)
            places: Frames | slice = slice(None)
            if len(alike) > 1:
                each = [within(frames, first, part.frames) for part, first in holding]
                places = np.flatnonzero(np.any(each, axis=0))
            readers = [open_part(part) for part, _ in holding]
            files = [
                _frame_file(reader.can, part, first, layout, settings, self.limits)
                for (part, first), reader in zip(holding, readers, strict=True)
            ]
            request = BlockRequest(files, layout, frames[places], window, self.limits)
            planned.append((plan_block(request), readers, places))
        return planned

    def _holding(self, frames: Frames) -> list[tuple[DatasetFile, int]]:
        """Return the files that contain these frames, each with the number of its first frame."""
        if len(self.parts) == 1 and frames[0] >= 0:
            return [(self.parts[0], 0)]
        firsts = accumulate((part.frames for part in self.parts), initial=0)
        counted = zip(self.parts, firsts, strict=False)
        return [one for one in counted if within(frames, one[1], one[0].frames).any()]

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
        if not self.travels_light:
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
    """Return a file for planning, with limits for ranges that are copied, or used as a view."""
    if can.maps:  # a view is not split
        copied = Merging(can.gap, math.inf, limits.map_piece, 1, limits.min_piece)
        viewed = Merging(layout.nbytes, math.inf, layout.nbytes + 1, 1, limits.min_piece)
    else:
        copied = viewed = Merging(
            max_gap=can.gap if settings.max_gap is None else settings.max_gap,
            amplification=settings.amplification,
            max_bytes=settings.sub_range,
            pieces=settings.concurrency,
            shortest=limits.min_piece,
        )
    return FrameFile(can, part.offset, first, part.frames, copied, viewed)


def _read_only(block: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Make a block read-only, as a view of mapped pages is: several tasks may use the same one."""
    block.flags.writeable = False
    return block


def _increasing(positions: range) -> range:
    """Return the positions in increasing order, as in the file."""
    return positions if positions.step > 0 else positions[::-1]
