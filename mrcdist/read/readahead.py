"""Tell the kernel which parts of a file will be used: it reads those at once, and no others."""

from __future__ import annotations

import mmap
import os
from io import FileIO

import numpy as np
import numpy.typing as npt

from mrcdist.plan.tuning import DEFAULT_TUNING, Tuning

__all__ = ["announce", "expect", "mapped_by"]


def mapped_by(buffer: npt.NDArray[np.uint8]) -> mmap.mmap | None:
    """The map whose pages a buffer is: `numpy.frombuffer` of an `mmap.mmap`; else None."""
    mapped = getattr(buffer.base, "obj", None)
    return mapped if isinstance(mapped, mmap.mmap) else None


def expect(
    buffer: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    length: int,
    stride: int,
    tuning: Tuning = DEFAULT_TUNING,
) -> None:
    """Have wanted parts of a map read at once, and the gaps between them not at all.

    Parameters
    ----------
    buffer : ndarray of uint8
        Mapped pages. Of anything else nothing is told.
    starts : ndarray of int64
        Where the parts begin in the buffer, increasing.
    length : int
        Bytes of each part.
    stride : int
        Bytes from part to part where there is but one.
    tuning : Tuning, optional

    Notes
    -----
    Without it, a 48 × 48 crop of 2 MiB frames that are not in the page cache takes ten times as
    long: whole frames are read for it. Single frames of 32 KiB take five times as long on a disk
    that reads 8 MiB ahead.
    """
    mapped = mapped_by(buffer)
    if mapped is None or not hasattr(mmap, "MADV_WILLNEED"):
        return
    least = tuning.ahead_least_gap
    if _narrowest(starts, length, stride, least) < least:
        starts, length = starts[:1], int(starts[-1] - starts[0]) + length
        if length > tuning.ahead_short:
            return
    at = len(mapped) - buffer.size  # in a map that begins in the page in which the buffer does
    if at >= mmap.ALLOCATIONGRANULARITY:
        at = _address(buffer) - _address(np.frombuffer(mapped, np.uint8))
    for start in (starts + at).tolist():
        page = start - start % mmap.PAGESIZE
        mapped.madvise(mmap.MADV_WILLNEED, page, start + length - page)


def announce(
    file: FileIO,
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    tuning: Tuning = DEFAULT_TUNING,
) -> None:
    """Have parts from all over a file read from the disk together, before they are copied.

    Parameters
    ----------
    file : FileIO
    starts, lengths : ndarray of int64
        The parts, in the file's order.
    tuning : Tuning, optional

    Notes
    -----
    Frames of 32 KiB in random order that are not in the page cache take 2.5 times as long when
    each is asked for in its turn. Where a sample of them is in it, nothing is told: that takes a
    microsecond a part.
    """
    if starts.size < 2 or not hasattr(os, "posix_fadvise"):
        return
    if _in_memory(file, starts, tuning.ahead_sample):
        return
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        os.posix_fadvise(file.fileno(), start, length, os.POSIX_FADV_WILLNEED)


def _in_memory(file: FileIO, starts: npt.NDArray[np.int64], sample: int) -> bool:
    """Whether parts are in the page cache, as far as a sample and this system tell."""
    if not hasattr(os, "RWF_NOWAIT"):
        return False
    byte = bytearray(1)
    try:
        for start in starts[:: -(-starts.size // sample)].tolist():
            os.preadv(file.fileno(), [byte], start, os.RWF_NOWAIT)
    except OSError:  # it would have to wait for the disk, or the filesystem cannot tell
        return False
    return True


def _address(array: npt.NDArray[np.uint8]) -> int:
    address: int = array.__array_interface__["data"][0]  # `ctypes.data` takes ten times as long
    return address


def _narrowest(starts: npt.NDArray[np.int64], length: int, stride: int, least: int) -> int:
    """Bytes of the narrowest gap, or of the mean one where that is narrow already."""
    if starts.size == 1:
        return stride - length
    mean = int(starts[-1] - starts[0]) // (starts.size - 1) - length
    return mean if mean < least else int(np.diff(starts).min()) - length
