"""Objects in S3: a multipart upload, to which each task adds its own parts."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import astuple, dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import numpy as np
from s3fs import S3FileSystem

from mrcdist.errors import AccessDeniedError, MrcdistError
from mrcdist.storage.location import Location
from mrcdist.write.encoded_block import TEMPORARIES
from mrcdist.write.errors import exists, give_up, incomplete, interrupted, write_errors
from mrcdist.write.grid import Between, Grid, Piece, piece_bytes
from mrcdist.write.s3_beside import S3Beside
from mrcdist.write.s3_client import Body, call, ignored_options, run_together
from mrcdist.write.s3_parts import PackedPieces, S3Limits, encoded_at_a_time, joined_parts, segments
from mrcdist.write.s3_upload import Part, S3Upload, left_by_others

_COPIES_AT_A_TIME = 32


def is_s3(location: Location) -> bool:
    """Whether a file can be written as parts of one object."""
    return isinstance(location.filesystem()[0], S3FileSystem)


@dataclass(frozen=True)
class S3Destination:
    """An upload, with the records of its blocks as small objects beside it; see `LocalDestination`.

    A file of more parts than an upload may have is uploaded in segments, which are objects beside
    it, too; in the end, the store copies them to the upload. `uploads` are the file's own, then
    those of the segments. `packed` are the objects that a compressed block is kept in.
    """

    location: Location
    grid: Grid
    limits: S3Limits = field(default_factory=S3Limits)
    date: str = ""
    uploads: tuple[S3Upload, ...] = ()
    overwrite: bool = False
    notes: tuple[str, ...] = ()
    packed: PackedPieces = field(default_factory=PackedPieces)

    def begin(self, about: dict[str, Any], *, overwrite: bool, resume: bool) -> S3Destination:
        """See `LocalDestination.begin`."""
        found = replace(self, overwrite=overwrite, notes=ignored_options(self.location))
        questions: list[Callable[[], Any]] = [
            self._beside.plan,
            *[S3Upload(self.location).exists] * (not overwrite),
        ]
        earlier, *is_there = run_together(self.location, questions)
        if any(is_there):
            raise exists(self.location.shown)
        if earlier is not None:
            uploads = self._uploads(str(earlier.get("mark", "")), earlier.get("uploads", ()))
            grid = Grid(*earlier.get("grid", astuple(self.grid)))
            begun = replace(found, date=str(earlier["date"]), uploads=uploads, grid=grid)
            same = resume and earlier["about"] == about
            is_open = same and begun._main.is_open()  # else somebody has aborted the upload
            # Versions that kept no grid had other parts.
            if is_open and ("grid" in earlier or not self.grid.size):
                return begun
            if is_open or (not same and (resume or not overwrite)):
                differs = (earlier["about"], about) if resume and begun.uploads else None
                raise interrupted(self.location.shown, self._beside.shown, differs)
            found = replace(found, notes=(*found.notes, *begun._cleared()))
        found = replace(found, date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S"))
        mark = uuid.uuid4().hex
        try:
            for upload in self._uploads(mark, [""] * (1 + len(segments(self.grid, self.limits)))):
                found = replace(found, uploads=(*found.uploads, upload.begin()))
            plan = {
                "about": about,
                "date": found.date,
                "uploads": [each.upload for each in found.uploads],
                "grid": astuple(self.grid),
            }
            take = functools.partial(found._beside.take, plan)
            others, _ = run_together(self.location, [found._main.others, take])
            if others:
                found = replace(found, notes=(*found.notes, left_by_others(others)))
        except BaseException as error:
            give_up(found.abandon, error)
            raise
        return found

    def _cleared(self) -> Iterator[str]:
        """Remove what an earlier call has left; yield what is said of what may still be there."""
        try:
            self.abandon()
        except AccessDeniedError as error:  # who may write may not be allowed to list
            yield (
                f"files left next to it by an earlier call, {self._beside.shown}, could not all be "
                f"removed: {error.cause}"
            )
        self._beside.remove_plan()

    def _uploads(self, mark: str, names: Sequence[Any]) -> tuple[S3Upload, ...]:
        """The uploads of the file and its segments, by their names; "" for one to begin."""
        segments = (self._beside.at(f"{n}.{mark}.segment") for n in range(len(names) - 1))
        objects = (self.location, *segments)
        return tuple(
            S3Upload(location, mark, str(name))
            for location, name in zip(objects, names, strict=False)
        )

    @property
    def _main(self) -> S3Upload:
        return self.uploads[0]

    @property
    def _beside(self) -> S3Beside:
        return S3Beside(self.location, self._main.mark if self.uploads else "")

    @property
    def remarks(self) -> tuple[str, ...]:
        """See `LocalDestination.remarks`."""
        objects = len(segments(self.grid, self.limits))
        if not self.grid.size:
            said = "the compressed blocks are objects next to the file,"
        elif objects:
            most = f"{self.limits.parts:,} parts"
            said = f"an upload has at most {most}: {objects} objects are uploaded,"
        else:
            return ()
        return (f"{said} which the store then copies to one; until then, it holds them twice",)

    def cost(self, nbytes: int, block: int) -> tuple[int, int]:
        """See `LocalDestination.cost`."""
        if not self.grid.size:
            pieces = min(-(-nbytes // self.packed.nbytes), self.packed.number)
            return 2 + pieces, min(self.packed.nbytes + self.limits.least, nbytes)
        parts = encoded_at_a_time(block, self.grid.step)
        encoded = min(parts * self.grid.step, nbytes)
        temporaries = max(parts, 2) * TEMPORARIES  # 2: a piece, and what it takes
        return -(-nbytes // self.grid.step) + 2, encoded + temporaries

    def write(self, start: int, stop: int, between: Between, block: int = 0) -> None:
        """See `LocalDestination.write`."""
        self._send(start, stop, between, block)

    def _send(self, start: int, stop: int, between: Between, block: int = 0) -> list[Part | None]:
        """Send whole cells; of one that is part of a file that is whole by now, return None."""
        at_a_time = encoded_at_a_time(block, self.grid.step)

        def send(upload: S3Upload, part: int, low: int, high: int) -> Part | None:
            body = (
                between(low, high)
                if at_a_time  # else it is one, of which pieces are encoded as they are sent
                else Body(
                    high - low,
                    lambda start, stop: between(low + start, low + stop),
                    window=TEMPORARIES // 2,  # one is sent, and one is made
                )
            )

            def once() -> Part | None:
                try:
                    return upload.send(part, body)
                except Exception:
                    segment = [] if upload == self._main else [upload]
                    if not self._beside.is_done([self._main, *segment]):
                        raise
                    return None

            return self.location.retried(once, long=True)

        first, last = self.grid.number(start), self.grid.number(stop - 1)
        calls = [
            functools.partial(send, *self._part(number), *self.grid.span(number))
            for number in range(first, last + 1)
        ]
        with self._beside.errors():
            return run_together(self.location, calls, slots=max(at_a_time, 1))

    def _part(self, cell: int) -> tuple[S3Upload, int]:
        """The upload that a cell belongs to, and its number there."""
        if len(self.uploads) == 1:
            return self._main, cell + 1
        segment, before = divmod(cell, self.limits.parts)
        return self.uploads[1 + segment], before + 1

    # Records and compressed blocks are named by the upload: a task may put them after that was
    # given up.

    def _record(self, number: int) -> str:
        return f"{number}.{self._main.mark}.block"

    def _packed(self, number: int) -> list[str]:
        """Names of the objects that a compressed block is kept in, of which some may not be."""
        pieces = (str(number), *(f"{number}.{piece}" for piece in range(1, self.packed.number)))
        return [f"{piece}.{self._main.mark}.packed" for piece in pieces]

    def keep(self, number: int, record: bytes) -> None:
        """See `LocalDestination.keep`."""
        name = self._record(number)
        self._beside.put(name, record)
        if self._beside.holds() is False:  # given up while this task was running
            self._beside.remove([name, *([] if self.grid.size else self._packed(number))])

    def keep_packed(self, number: int, sections: Iterator[bytes]) -> int:
        """See `LocalDestination.keep_packed`."""
        names, most, at, nbytes = iter(self._packed(number)), self.packed.nbytes, 0, 0
        # What is left in the end has to be long enough for a part, too.
        pending = np.empty(most + self.limits.least, np.uint8)
        for section in sections:
            rest = np.frombuffer(section, np.uint8)
            nbytes += rest.size
            while rest.size:
                some, rest = rest[: pending.size - at], rest[pending.size - at :]
                pending[at : at + some.size] = some
                at += some.size
                if at == pending.size:
                    self._beside.put(next(names), pending[:most].data)
                    at -= most
                    pending[:at] = pending[most:]
        self._beside.put(next(names), pending[:at].data)
        return nbytes

    def kept(self) -> frozenset[int]:
        """See `LocalDestination.kept`."""
        mine = f".{self._main.mark}.block"
        names = self._beside.sizes()
        return frozenset(int(n.removesuffix(mine)) for n in names if n.endswith(mine))

    def recall(self, number: int) -> bytes:
        """See `LocalDestination.recall`."""
        return self._beside.get(self._record(number))

    def finish(
        self, rest: list[Piece], blocks: int, auxiliary: dict[str, bytes], packed: int | None = None
    ) -> None:
        """See `LocalDestination.finish`."""
        listed: list[str] = []
        with self._beside.errors():
            try:
                # All that this call keeps is there by now.
                send = functools.partial(self._last_parts, rest, blocks, packed)
                (parts, sizes), listed = run_together(self.location, [send, self._listed])
                self._main.complete(parts, sizes, overwrite=self.overwrite)
            except MrcdistError:
                # Else by a task whose worker was lost before it said so.
                if not self._main.is_whole():
                    raise
        # After the file: where it is refused, what is beside it belongs to another one.
        for name, content in auxiliary.items():
            call(self.location.sibling(name), "put_object", Body=content)
        kept = [name for n in range(blocks) for name in (self._record(n), *self._packed(n))]
        kept += [each.location.name for each in self.uploads[1:]]
        self._beside.forget_at_last(listed or kept)

    def _listed(self) -> list[str]:
        """What is kept beside the file, of earlier calls, too; nothing for who may not list."""
        with suppress(MrcdistError):
            return [*self._beside.sizes(), *(each.location.name for each in self.uploads[1:])]
        return []

    def _last_parts(
        self, rest: list[Piece], blocks: int, packed: int | None
    ) -> tuple[list[Part], list[int]]:
        """Send the last parts; return all that have arrived, and the sizes expected."""
        if packed is not None:
            [(_, start)] = rest
            with write_errors(self.location):
                found = self._beside.sizes()
            # Of a block, those that there are.
            names = [name for n in range(blocks) for name in self._packed(n) if name in found]
            sizes = [found[name] for name in names]
            if sum(sizes) != packed:
                raise incomplete(self.location, sum(sizes), packed, "compressed bytes")
            return self._joined(start, names, sizes)
        sizes = [stop - start for start, stop in map(self.grid.span, range(self.grid.cells))]
        sends = [functools.partial(self._send, *piece_bytes(piece)) for piece in rest]
        if len(self.uploads) == 1:
            listed, *sent = run_together(self.location, [self._main.parts, *sends])
            parts = {part.number: part for part in (*listed, *filter(None, chain(*sent)))}
            return sorted(parts.values()), sizes
        run_together(self.location, sends)
        at = self.limits.parts
        for number, segment in enumerate(self.uploads[1:]):
            if not segment.is_whole():  # else by a task whose worker was lost
                own = sizes[number * at : (number + 1) * at]
                segment.complete(segment.parts(), own, overwrite=True)
        lengths = [stop - start for start, stop in segments(self.grid, self.limits)]
        return self._joined(b"", [each.location.name for each in self.uploads[1:]], lengths)

    def _joined(
        self, start: bytes, names: list[str], sizes: list[int]
    ) -> tuple[list[Part], list[int]]:
        """Make parts of the header, if any, and of objects beside the file, and return as above."""
        parts, copies = joined_parts(len(start), sizes, self.limits), []
        for part, pieces in enumerate(parts, 1):
            [(block, low, high), *more] = pieces
            if not more and block is not None and high - low >= self.limits.least:
                source = self._beside.at(names[block])
                copies.append(functools.partial(self._main.copy, part, source, low, high))
                continue
            body = b"".join(
                start[low:high] if block is None else self._beside.get(names[block], low, high)
                for block, low, high in pieces
            )
            with write_errors(self.location):
                send = functools.partial(self._main.send, part, memoryview(body))
                self.location.retried(send, long=True)
        run_together(self.location, copies, slots=_COPIES_AT_A_TIME)
        lengths = [sum(high - low for _, low, high in pieces) for pieces in parts]
        return self._main.parts(), lengths

    def abandon(self) -> None:
        """See `LocalDestination.abandon`."""
        with ExitStack() as each:  # whatever fails, the others are done
            each.callback(self._beside.forget)
            for upload in self.uploads:
                each.callback(upload.abort)
