"""Zarr's codec "bytes" for chunks of which a store reads only the pixels asked for.

zarr reads whole chunks unless a codec can decode parts of them. Arrays of this package's store have
chunks of many frames, which are read fastest, and a frame of one is still a read of one frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import numpy.typing as npt
from zarr.abc.codec import ArrayBytesCodecPartialDecodeMixin
from zarr.codecs import BytesCodec
from zarr.registry import register_codec
from zarr.storage import StorePath

from mrcdist.interop.zarr_metadata import CODEC

__all__ = ["PartialBytesCodec", "ReadsPixels"]


@runtime_checkable
class ReadsPixels(Protocol):
    """A store that reads some pixels of a chunk."""

    async def read_pixels(self, key: str, selection: tuple[Any, ...]) -> npt.NDArray[Any]:
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
            block = await store.read_pixels(byte_getter.path, selection)
            return chunk_spec.prototype.nd_buffer.from_numpy_array(block)
        raw = await byte_getter.get(chunk_spec.prototype)
        return None if raw is None else (await self._decode_single(raw, chunk_spec))[selection]


register_codec(CODEC, PartialBytesCodec)
