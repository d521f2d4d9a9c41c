"""Zarr's codec "bytes" for chunks of which a store reads only the pixels asked for.

zarr reads whole chunks unless a codec can decode parts of them. Arrays of this package's store have
chunks of many frames, which are read fastest, and a frame of one is still a read of one frame.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

import numpy.typing as npt
from zarr.abc.codec import ArrayBytesCodecPartialDecodeMixin
from zarr.codecs import BytesCodec
from zarr.registry import register_codec
from zarr.storage import StorePath

from mrcdist.interop.zarr_metadata import CODEC

__all__ = ["PartialBytesCodec", "ReadsPixels", "in_thread"]

_Result = TypeVar("_Result")


# Threads that read chunks, by event loop. asyncio's own are as few as a machine has processors and
# four more: fewer than zarr has chunks under way, and reading from a store is waiting.
_THREADS = 32
_pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, ThreadPoolExecutor]
_pools = weakref.WeakKeyDictionary()


async def in_thread(function: Callable[..., _Result], *arguments: Any) -> _Result:
    """Return what a function returns that reads; others are called meanwhile."""
    loop = asyncio.get_running_loop()
    if loop not in _pools:
        _pools[loop] = ThreadPoolExecutor(_THREADS, "mrcdist-zarr")
    return await loop.run_in_executor(_pools[loop], partial(function, *arguments))


@runtime_checkable
class ReadsPixels(Protocol):
    """A store that reads some pixels of a chunk."""

    def read_pixels(self, key: str, selection: tuple[Any, ...]) -> npt.NDArray[Any]:
        """Return what numpy makes of the selection, of the chunk's array."""


@dataclass(frozen=True, init=False)
class PartialBytesCodec(BytesCodec, ArrayBytesCodecPartialDecodeMixin):  # type: ignore[misc]
    """The codec "bytes", and written as that, which leaves selecting pixels to the store."""

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the codec of a store's metadata."""
        codec: Self = super().from_dict({**data, "name": "bytes"})
        return codec

    async def _decode_partial_single(
        self, byte_getter: Any, selection: tuple[Any, ...], chunk_spec: Any
    ) -> Any:
        """Read the selected pixels of a chunk."""
        store = byte_getter.store if isinstance(byte_getter, StorePath) else None
        if isinstance(store, ReadsPixels):
            block = await in_thread(store.read_pixels, byte_getter.path, selection)
            return chunk_spec.prototype.nd_buffer.from_numpy_array(block)
        raw = await byte_getter.get(chunk_spec.prototype)
        return None if raw is None else (await self._decode_single(raw, chunk_spec))[selection]


register_codec(CODEC, PartialBytesCodec)
