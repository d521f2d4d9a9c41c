"""Source and chunks → dask array.

One task a chunk: `dask.array.from_array` over the source keeps the layer's size constant, lets dask
push slices
into the read, and marks the tasks as data producers, so that the scheduler queues them.
"""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
from dask.tokenize import tokenize

from mrcdist.plan.chunks import Chunks
from mrcdist.read.source import MrcSource

__all__ = ["to_dask"]


def to_dask(source: MrcSource, chunks: Chunks) -> da.Array:
    """Wrap a source in a lazy dask array, one task a chunk.

    Parameters
    ----------
    source : MrcSource
    chunks : tuple of tuple of int
        Block lengths along every axis.

    Returns
    -------
    dask.array.Array
        Named by a token of place, version, layout and chunks: the same file gives the same names, a
        changed one others.
    """
    array: Any = da.from_array(
        source,
        chunks=chunks,
        name=f"read-mrc-{tokenize(source, chunks)}",
        meta=np.empty((0,) * source.ndim, source.dtype),
        asarray=False,
        # A source with a table of frames or many files goes to each worker once, not with each
        # task.
        inline_array=source.travels_light,
    )
    return array
