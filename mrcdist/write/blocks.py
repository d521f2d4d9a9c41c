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
from mrcdist.warning_notes import Note, Notes
from mrcdist.write.s3_client import is_s3
from mrcdist.write.s3_parts import S3Limits

# Smaller blocks (on a disk; for S3, see `S3Limits`) cost more in opening, syncing and scheduling
# than in writing; they are merged to blocks of about the usual size.
_MIN_BLOCK = 2**20
_USUAL_BLOCK = 16 * 2**20

# Longest run of whole chunks that one task computes at a time.
_MAX_RUN = 2**30


def in_blocks(
    location: Location, array: da.Array, storage: Storage, notes: Notes, *, compressed: bool
) -> tuple[da.Array, Chunks | None]:
    """Rechunk the array to blocks that its destination can store.

    If a single task has to write the file, the array is returned as it is, together with runs of
    whole chunks that are contiguous in the file; a note is added to `notes` if there are none that
    fit into memory. Blocks must not split packed rows or compressed frames, and must be contiguous
    in the file, except on a disk that no hosts share.
    """
    row_bytes, in_s3 = storage.row_bytes, is_s3(location)
    if not location.is_local and not in_s3:
        # The memory is unknown without a cluster, and on some clusters.
        memory = task_memory() or psutil.virtual_memory().available
        runs = streamed_chunks(array, row_bytes, whole_frames=compressed, memory=memory)
        if runs is not None:
            return array, runs
        sentence = (
            "chunks that are not whole frames in file order are computed again for each block that "
            "contains a part of them: persist() the data, or write them to a disk first"
        )
        notes.add(Note("chunks-computed-again", sentence))
    min_block = S3Limits().least if in_s3 else _MIN_BLOCK
    in_order = is_contiguous(array.chunks)
    must_be_contiguous = compressed or not location.is_local or on_network(location.url)
    splits_frames = compressed and max(array.numblocks[-2:]) > 1
    splits_rows = storage.packed and array.numblocks[-1] > 1
    block = math.prod(array.chunksize[:-1]) * row_bytes(array.chunksize[-1])
    if splits_frames or splits_rows or (must_be_contiguous and not in_order):
        target = max(block, _USUAL_BLOCK)
    elif in_order and block < min_block and array.npartitions > 1:
        target = _USUAL_BLOCK
    else:
        return array, None
    if compressed:
        target = max(target, array.shape[-2] * row_bytes(array.shape[-1]))
    return array.rechunk(contiguous_chunks(array.shape, row_bytes, target)), None


def is_contiguous(chunks: Chunks) -> bool:
    """Return whether each block is contiguous in C order, so that the blocks follow each other."""
    split = [number for number, axis in enumerate(chunks) if len(axis) > 1]
    return not split or all(set(axis) == {1} for axis in chunks[: split[-1]])


def contiguous_chunks(
    shape: Sequence[int], row_bytes: Callable[[int], int], target: int
) -> tuple[int, ...]:
    """Return the shape of contiguous blocks of whole rows with about `target` bytes."""
    lengths = [shape[-1]]
    inner = row_bytes(shape[-1])
    for size in reversed(shape[:-1]):
        length = min(size, max(1, target // inner))
        lengths.insert(0, length)
        inner *= size if length == size else target + 1  # axes before one that is split get 1
    return tuple(lengths)


def streamed_chunks(
    array: da.Array, row_bytes: Callable[[int], int], *, whole_frames: bool = False, memory: int
) -> Chunks | None:
    """Return contiguous blocks of whole chunks, so that each chunk is computed only once.

    Return None if such a block exceeds half of `memory`, the memory of a task, as for chunks that
    are narrow columns of all frames.
    """
    chunks, shape = array.chunks, array.shape
    # Blocks consist of whole chunks along the first axis on which chunks are longer than 1.
    last = max(len(shape) - 2 - whole_frames, 0)
    first = next((n for n, axis in enumerate(chunks[:last]) if max(axis) > 1), last)
    inner = math.prod(shape[first + 1 : -1]) * row_bytes(shape[-1])
    lengths = [0]
    single_frame = whole_frames and len(shape) == 2
    for length in shape[:1] if single_frame else chunks[first]:
        if lengths[-1] and (lengths[-1] + length) * inner > _USUAL_BLOCK:
            lengths.append(0)
        lengths[-1] += length
    longest = max(lengths) * inner
    chunk_bytes = math.prod(array.chunksize) * array.itemsize
    if longest > min(_MAX_RUN, memory // 2) and longest > chunk_bytes:
        return None
    leading: Chunks = tuple((1,) * size for size in shape[:first])
    if len(lengths) == 1:  # merge positions along the axes before it to blocks of the usual size
        merged = contiguous_chunks(shape, row_bytes, max(_USUAL_BLOCK, longest))[:first]
        leading = da.core.normalize_chunks(merged, shape[:first])
    return (*leading, tuple(lengths), *((size,) for size in shape[first + 1 :]))
