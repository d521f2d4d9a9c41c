"""The blocks in which an array is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import dask.array as da
import psutil

from mrcdist.cluster_memory import task_memory
from mrcdist.format.encode import Storage
from mrcdist.plan.chunks import Chunks
from mrcdist.storage.location import Location
from mrcdist.storage.url import on_network
from mrcdist.warning_notes import Note
from mrcdist.write.s3 import is_s3
from mrcdist.write.s3_parts import S3Limits

# Blocks smaller than a minimum cost more in opening, syncing and scheduling than in writing, on a
# disk those of less than 1 MiB; they are joined to blocks of about the usual size.
_LEAST_BLOCK = 2**20
_USUAL_BLOCK = 16 * 2**20

# Longest run of whole chunks that one task computes at a time.
_LONGEST_RUN = 2**30

_COMPUTED_AGAIN = Note(
    "chunks-computed-again",
    "chunks that are not whole frames in file order are computed again for each piece that needs a "
    "part of them: persist() the data, or write them to a disk first",
)


def in_blocks(
    location: Location, array: da.Array, storage: Storage, notes: list[str], *, compressed: bool
) -> tuple[da.Array, Chunks | None]:
    """Return the array in blocks that its destination can take, or in runs of whole chunks.

    `notes` get what that costs. Where one task has to write all, it writes the runs in turn.
    Packed rows, and frames that are compressed, cannot be split. But on a disk that no hosts share,
    a block has to be one run of bytes.
    """
    row_bytes, in_s3 = storage.row_bytes, is_s3(location)
    if not location.is_local and not in_s3:
        memory = task_memory()
        if memory is None:  # there is no cluster, or it does not say
            memory = psutil.virtual_memory().available
        runs = streamed_chunks(array, row_bytes, whole_frames=compressed, memory=memory)
        if runs is not None:
            return array, runs
        notes.append(_COMPUTED_AGAIN)
    least = S3Limits().least if in_s3 else _LEAST_BLOCK
    in_order = is_contiguous(array.chunks)
    contiguous = compressed or not location.is_local or on_network(location.url)
    block = math.prod(array.chunksize[:-1]) * row_bytes(array.chunksize[-1])
    split = compressed and max(array.numblocks[-2:]) > 1
    if split or (contiguous and not in_order) or (storage.packed and array.numblocks[-1] > 1):
        target = max(block, _USUAL_BLOCK)
    elif in_order and block < least and array.npartitions > 1:
        target = _USUAL_BLOCK
    else:
        return array, None
    if compressed:
        target = max(target, array.shape[-2] * row_bytes(array.shape[-1]))
    return array.rechunk(contiguous_chunks(array.shape, row_bytes, target)), None


def is_contiguous(chunks: Chunks) -> bool:
    """Whether each block is one run of the array's bytes, and the blocks follow each other."""
    split = [number for number, axis in enumerate(chunks) if len(axis) > 1]
    return not split or all(set(axis) == {1} for axis in chunks[: split[-1]])


def contiguous_chunks(
    shape: Sequence[int], row_bytes: Callable[[int], int], target: int
) -> tuple[int, ...]:
    """Return the lengths of contiguous blocks of about `target` bytes, in whole rows."""
    lengths = [shape[-1]]
    inner = row_bytes(shape[-1])
    for size in reversed(shape[:-1]):
        length = min(size, max(1, target // inner))
        lengths.insert(0, length)
        inner *= size if length == size else target + 1  # axes before a split one are 1
    return tuple(lengths)


def streamed_chunks(
    array: da.Array, row_bytes: Callable[[int], int], *, whole_frames: bool = False, memory: int
) -> Chunks | None:
    """Return contiguous blocks that consist of whole chunks, for a task that computes one by one.

    Each chunk is then computed once. None where such a block would be too long for the memory of a
    task, as of an array whose chunks are narrow columns of all frames: half of `memory` is for the
    chunks that such a block is made of.
    """
    chunks, shape = array.chunks, array.shape
    # A block takes whole chunks along the first axis on which these are longer than 1.
    last = max(len(shape) - 2 - whole_frames, 0)
    first = next((n for n, axis in enumerate(chunks[:last]) if max(axis) > 1), last)
    inner = math.prod(shape[first + 1 : -1]) * row_bytes(shape[-1])
    lengths = [0]
    single = whole_frames and len(shape) == 2
    for length in shape[:1] if single else chunks[first]:
        if lengths[-1] and (lengths[-1] + length) * inner > _USUAL_BLOCK:
            lengths.append(0)
        lengths[-1] += length
    longest = max(lengths) * inner
    if (
        longest > min(_LONGEST_RUN, memory // 2)
        and longest > math.prod(array.chunksize) * array.itemsize
    ):
        return None
    leading: Chunks = tuple((1,) * size for size in shape[:first])
    if len(lengths) == 1:  # as many positions before that axis as make a usual block
        before = contiguous_chunks(shape, row_bytes, max(_USUAL_BLOCK, longest))[:first]
        leading = da.core.normalize_chunks(before, shape[:first])
    return (*leading, tuple(lengths), *((size,) for size in shape[first + 1 :]))
