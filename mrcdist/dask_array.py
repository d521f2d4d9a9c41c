"""Source and chunks → dask array, with one task per chunk.

`dask.array.from_array` keeps the size of the layer constant, pushes slices into the read, and marks
the tasks as data producers, so that the scheduler queues them.
"""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
from dask.tokenize import tokenize

from mrcdist.plan.chunks import Chunks
from mrcdist.read.source import MrcSource

__all__ = ["source_of", "to_dask"]

_PREFIX = "read-mrc-"


def to_dask(source: MrcSource, chunks: Chunks) -> da.Array:
    """Return a lazy dask array of a source, with one task per chunk.

    Parameters
    ----------
    source : MrcSource
    chunks : tuple of tuple of int
        Chunk lengths along each axis.

    Returns
    -------
    dask.array.Array
        Its name is derived from URL, version, layout and chunks, so it changes with the file.
    """
    # As arrays: dask looks at each of a hundred thousand numbers of a tuple.
    lengths = [np.asarray(axis) for axis in chunks]
    array: Any = da.from_array(
        source,
        chunks=chunks,
        name=f"{_PREFIX}{tokenize(source, lengths)}",
        meta=np.empty((0,) * source.ndim, source.dtype),
        asarray=False,
        # A source with a table of frames or many files is sent once per worker, not per task.
        inline_array=source.travels_light,
    )
    return array


def source_of(array: da.Array) -> MrcSource | None:
    """Return the source of an array from `to_dask`; None if something was done with it since."""
    if not array.name.startswith(_PREFIX):
        return None
    for layer in array.dask.layers.values():
        inline = [part for part, _ in getattr(layer, "indices", ())]
        alone = [] if inline else [getattr(value, "value", value) for value in layer.values()]
        for found in (*inline, *alone):
            if isinstance(found, MrcSource):
                return found
    return None
