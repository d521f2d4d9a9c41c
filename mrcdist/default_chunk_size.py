"""Default chunk size: dask's ``array.chunk-size``, or less if the workers have little memory."""

from __future__ import annotations

import dask

from mrcdist.byte_size import parse_size
from mrcdist.cluster_memory import FLOAT64_TEMPORARIES, task_memory
from mrcdist.config import invalid_setting
from mrcdist.read_limits import ReadLimits


def default_chunk_size(itemsize: int, limits: ReadLimits) -> int:
    """Return the bytes of chunks that are chosen automatically, for numbers of `itemsize` bytes."""
    value = dask.config.get("array.chunk-size")
    size = parse_size(str(value))
    if size is None or size < 1:
        raise invalid_setting(
            "array.chunk-size",
            value,
            "not a valid size in bytes",
            'remove it to use the default, or set a size such as "128 MiB"',
        )
    if (memory := task_memory()) is None:
        return size
    # A task also needs memory for temporaries in float64.
    largest = memory * itemsize // (itemsize + FLOAT64_TEMPORARIES)
    return min(size, max(largest, limits.small_chunk))
