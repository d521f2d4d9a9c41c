"""Objects in S3: a multipart upload to which each task adds its own parts."""

from __future__ import annotations

import functools
import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import astuple, dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import numpy as np

from mrcdist.errors import AccessDeniedError, MrcdistError, WriteError
from mrcdist.storage.location import Location
from mrcdist.warning_notes import Note
from mrcdist.write.encoded_block import TEMPORARIES
from mrcdist.write.errors import abandoned_on_failure, exists, incomplete, overtaken, write_errors
from mrcdist.write.grid import Between, Grid, Piece, piece_bytes
from mrcdist.write.s3_client import Body, call, ignored_options, run_together
from mrcdist.write.s3_parts import PackedPieces, S3Limits, encoded_at_a_time, joined_parts, segments
from mrcdist.write.s3_upload import Part, S3Upload, orphan_note
from mrcdist.write.work_folder import WorkFolder

_log = logging.getLogger(__name__)

_CONCURRENT_COPIES = 32


@dataclass(frozen=True)
class S3Destination:
    """A multipart upload, with the records of its blocks in a work folder; see `LocalDestination`.

    A file with more parts than an upload may have is uploaded in segments, which are separate
    objects in the work folder; at the end, the store copies them to the upload. `uploads` are that
    of the file, then those of the segments. `packed` describes the objects that hold a compressed
    block.
    """

    location: Location
    grid: Grid
    limits: S3Limits = field(default_factory=S3Limits)
    date: str = ""
    uploads: tuple[S3Upload, ...] = ()
    overwrite: bool = False
    notes: tuple[Note, ...] = ()
    packed: PackedPieces = field(default_factory=PackedPieces)

    @property
    def work(self) -> WorkFolder:
        """The work folder."""
        return WorkFolder(self.location, self._main.mark if self.uploads else "")

    @property
    def _main(self) -> S3Upload:
        return self.uploads[0]

    def begin(self, about: dict[str, Any], *, overwrite: bool, resume: bool) -> S3Destination:
        """See `LocalDestination.begin`."""
        new = replace(self, overwrite=overwrite, notes=ignored_options(self.location))
        requests: list[Callable[[], Any]] = [
            self.work.plan,
            *[S3Upload(self.location).exists] * (not overwrite),
        ]
        plan, *existing = run_together(self.location, requests)
        if any(existing):
            raise exists(self.location.shown)
        if plan is not None:
            uploads = self._uploads(plan.get("mark", ""), plan.get("uploads", ()))
            previous = replace(new, uploads=uploads)
            # An upload that was aborted in the meantime cannot be continued.
            if (
                self.work.resumes(plan, about, resume=resume, overwrite=overwrite)
                and previous._main.is_open()
            ):
                return replace(previous, date=plan["date"], grid=Grid(*plan["grid"]))
            new = replace(new, notes=(*new.notes, *previous._remove_unfinished()))
        date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        mark = uuid.uuid4().hex
        new = replace(new, date=date)
        # A lambda, so that the uploads begun until the failure are aborted, too.
        with abandoned_on_failure(lambda: new.abandon()):
            for upload in self._uploads(mark, [""] * (1 + len(segments(self.grid, self.limits)))):
                new = replace(new, uploads=(*new.uploads, upload.begin()))
            claim = functools.partial(
                new.work.claim,
                about,
                date=date,
                uploads=[each.upload for each in new.uploads],
                grid=astuple(self.grid),
            )
            others, _ = run_together(self.location, [new._main.others, claim])
        return replace(new, notes=(*new.notes, orphan_note(others))) if others else new

    def _uploads(self, mark: str, ids: Sequence[str]) -> tuple[S3Upload, ...]:
        """Return the uploads of the file and its segments by their IDs, which may be empty."""
        names = (f"{n}.{mark}.segment" for n in range(len(ids) - 1))
        objects = (self.location, *map(WorkFolder(self.location).at, names))
        return tuple(
            S3Upload(location, mark, upload) for location, upload in zip(objects, ids, strict=False)
        )

    def _remove_unfinished(self) -> Iterator[Note]:
        """Remove the uploads and records of an earlier call; yield a note on what may remain."""
        try:
            with ExitStack() as stack:  # each is called even if others fail
                stack.callback(self.work.clear)
                for upload in self.uploads:
                    stack.callback(upload.abort)
        except AccessDeniedError as error:  # a user with write access may not be allowed to list
            text = (
                f"temporary objects of an earlier call, {self.work.shown}, could not all be "
                f"removed: {error.cause}"
            )
            yield Note("unfinished-files-stay", text)

    @property
    def remarks(self) -> tuple[str, ...]:
        """See `LocalDestination.remarks`."""
        n_segments = len(segments(self.grid, self.limits))
        if not self.grid.size:
            objects = "the compressed blocks are objects next to the file,"
        elif n_segments:
            limit = f"{self.limits.parts:,} parts"
            objects = f"an upload has at most {limit}: {n_segments} objects are uploaded,"
        else:
            return ()
        return (
            f"{objects} which the store then copies to one; until then, it holds the data twice",
        )

    def cost(self, nbytes: int, block: int) -> tuple[int, int]:
        """See `LocalDestination.cost`."""
        if not self.grid.size:
            pieces = min(-(-nbytes // self.packed.nbytes), self.packed.number)
            return 2 + pieces, min(self.packed.nbytes + self.limits.least, nbytes)
        parts = encoded_at_a_time(block, self.grid.step)
        encoded = min(parts * self.grid.step, nbytes)
        temporaries = max(parts, 2) * TEMPORARIES  # at least a piece and its own temporaries
        return -(-nbytes // self.grid.step) + 2, encoded + temporaries

    def write(self, start: int, stop: int, between: Between, block: int = 0) -> list[Part | None]:
        """See `LocalDestination.write`; return the parts, or None if the object is complete."""
        concurrent_parts = encoded_at_a_time(block, self.grid.step)

        def send(upload: S3Upload, part: int, low: int, high: int) -> Part | None:
            body = (
                between(low, high)
                if concurrent_parts
                else Body(  # encoded piece by piece while it is sent
                    high - low,
                    lambda start, stop: between(low + start, low + stop),
                    window=TEMPORARIES // 2,  # while one piece is sent, another one is encoded
                )
            )

            def attempt() -> Part | None:
                try:
                    return upload.send(part, body)
                except Exception:
                    if not self._is_complete(upload):
                        raise
                    return None

            return self.location.retried(attempt, long=True)

        first, last = self.grid.number(start), self.grid.number(stop - 1)
        calls = [
            functools.partial(send, *self._part(number), *self.grid.span(number))
            for number in range(first, last + 1)
        ]
        with self._explained():
            return run_together(self.location, calls, slots=max(concurrent_parts, 1))

    def _part(self, cell: int) -> tuple[S3Upload, int]:
        """Return the upload that a cell belongs to, and its part number there."""
        if len(self.uploads) == 1:
            return self._main, cell + 1
        segment, before = divmod(cell, self.limits.parts)
        return self.uploads[1 + segment], before + 1

    def _is_complete(self, upload: S3Upload) -> bool:
        """Return whether a part is refused because the file, or its segment, is complete.

        It was completed by a task whose worker was lost before it could report this. The requests
        are not retried, because the part is sent again if the store does not respond. Only if they
        indicate that another call has taken over, which is a `WriteError`, are they repeated with
        retries.
        """
        objects = [self._main] if upload == self._main else [self._main, upload]
        for retry in (False, True):
            lost = self.work.is_lost(retry=retry)
            # Checked in this order: the plan is removed after the file is complete.
            if any(each.is_complete(retry=retry) for each in objects):
                return True
            if not lost:
                return False
        raise overtaken(self.location, self.work.shown)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except WriteError:
            if self.work.is_lost():
                raise overtaken(self.location, self.work.shown) from None
            raise

    def _packed(self, number: int) -> list[str]:
        """Return the names of the objects for a compressed block, not all of which may exist."""
        pieces = (str(number), *(f"{number}.{piece}" for piece in range(1, self.packed.number)))
        return [f"{piece}.{self._main.mark}.packed" for piece in pieces]

    def keep(self, number: int, record: bytes) -> None:
        """See `LocalDestination.keep`."""
        with write_errors(self.location):
            self.work.keep(number, record)
            if self.work.holds() is False:  # given up while this task was running
                packed = [] if self.grid.size else self._packed(number)
                self.work.remove_files([self.work.record_name(number), *packed])

    def keep_packed(self, number: int, sections: Iterator[bytes]) -> int:
        """See `LocalDestination.keep_packed`."""
        names, size, filled, nbytes = iter(self._packed(number)), self.packed.nbytes, 0, 0

        # The last object has to be long enough for a part, so a short rest is added to it.
        pending = np.empty(size + self.limits.least, np.uint8)
        for section in sections:
            rest = np.frombuffer(section, np.uint8)
            nbytes += rest.size
            while rest.size:
                head, rest = rest[: pending.size - filled], rest[pending.size - filled :]
                pending[filled : filled + head.size] = head
                filled += head.size
                if filled == pending.size:
                    self.work.put(next(names), pending[:size].data)
                    filled -= size
                    pending[:filled] = pending[size:]
        self.work.put(next(names), pending[:filled].data)
        return nbytes

    def finish(
        self,
        pieces: list[Piece],
        blocks: int,
        auxiliary: dict[str, bytes],
        packed: int | None = None,
    ) -> None:
        """See `LocalDestination.finish`."""
        with self._explained():
            try:
                parts, sizes = self._last_parts(pieces, blocks, packed)
                self._main.complete(parts, sizes, overwrite=self.overwrite)
            except MrcdistError:
                if not self._main.is_complete():  # by a task whose worker was lost
                    raise
        # Auxiliary files last: if the store refuses the file, existing ones belong to another file.
        for name, content in auxiliary.items():
            call(self.location.sibling(name), "put_object", Body=content)
        try:
            self.work.remove(self._temporary_names(blocks))
            with suppress(AccessDeniedError):  # a user with write access may not be allowed to list
                self.work.remove_leftovers()  # of tasks that were killed after this call had begun
        except MrcdistError as error:  # the file itself is complete
            _log.warning(
                "%s is complete, but temporary objects, %s, could not all be removed: %s",
                self.location.shown,
                self.work.shown,
                error,
            )

    def _temporary_names(self, blocks: int) -> list[str]:
        """Return the objects that this call may have put in the work folder."""
        names = [self.work.record_name(number) for number in range(blocks)]
        if not self.grid.size:
            names += [name for number in range(blocks) for name in self._packed(number)]
        return names + [each.location.name for each in self.uploads[1:]]

    def _last_parts(
        self, pieces: list[Piece], blocks: int, packed: int | None
    ) -> tuple[list[Part], list[int]]:
        """Send the last parts; return all parts that have arrived, and their expected sizes."""
        if packed is not None:
            [(_, header)] = pieces
            with write_errors(self.location):
                found = self.work.sizes()
            names = [name for n in range(blocks) for name in self._packed(n) if name in found]
            sizes = [found[name] for name in names]
            if sum(sizes) != packed:
                raise incomplete(self.location, sum(sizes), packed, "compressed bytes")
            return self._joined(header, names, sizes)
        sizes = [stop - start for start, stop in map(self.grid.span, range(self.grid.cells))]
        sends = [functools.partial(self.write, *piece_bytes(piece)) for piece in pieces]
        if len(self.uploads) == 1:
            listed, *sent = run_together(self.location, [self._main.parts, *sends])
            parts = {part.number: part for part in (*listed, *filter(None, chain(*sent)))}
            return sorted(parts.values()), sizes
        run_together(self.location, sends)
        step = self.limits.parts
        for number, segment in enumerate(self.uploads[1:]):
            if not segment.is_complete():  # else by a task whose worker was lost
                own = sizes[number * step : (number + 1) * step]
                segment.complete(segment.parts(), own, overwrite=True)
        lengths = [stop - start for start, stop in segments(self.grid, self.limits)]
        return self._joined(b"", [each.location.name for each in self.uploads[1:]], lengths)

    def _joined(
        self, header: bytes, names: list[str], sizes: list[int]
    ) -> tuple[list[Part], list[int]]:
        """Make parts of the header, if any, and of objects in the work folder.

        Returns the same as `_last_parts`.
        """
        parts, copies = joined_parts(len(header), sizes, self.limits), []
        for part, pieces in enumerate(parts, 1):
            [(block, low, high), *more] = pieces
            if not more and block is not None and high - low >= self.limits.least:
                source = self.work.at(names[block])
                copies.append(functools.partial(self._main.copy, part, source, low, high))
                continue
            with write_errors(self.location):
                body = b"".join(
                    header[low:high] if block is None else self.work.read(names[block], low, high)
                    for block, low, high in pieces
                )
                send = functools.partial(self._main.send, part, memoryview(body))
                self.location.retried(send, long=True)
        run_together(self.location, copies, slots=_CONCURRENT_COPIES)
        lengths = [sum(high - low for _, low, high in pieces) for pieces in parts]
        return self._main.parts(), lengths

    def abandon(self) -> None:
        """See `LocalDestination.abandon`."""
        with write_errors(self.location), ExitStack() as stack:  # calls each even if others fail
            stack.callback(self.work.remove)
            for upload in self.uploads:
                stack.callback(upload.abort)
