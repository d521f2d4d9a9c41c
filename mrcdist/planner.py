"""The client's half: a few small reads, in order, and what they make together."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import dask.array as da
import numpy as np

from mrcdist.config import read_settings
from mrcdist.errors import ArgumentError, MissingFileError, MrcdistError, SidecarError
from mrcdist.format.acquisition_names import find_sidecar, sidecar_candidates
from mrcdist.format.direct_electron import (
    Scan,
    Sidecar,
    describe_scan,
    parse_sidecar,
    pixel_is_unsigned,
)
from mrcdist.format.header import HEADER_BYTES, ByteOrder, Header, parse_header
from mrcdist.format.pixels import Mode0, pixel_format
from mrcdist.graph import to_dask
from mrcdist.plan.chunks import Chunks, plan_chunks
from mrcdist.plan.geometry import ArrayAxis, arrange
from mrcdist.plan.layout import Layout
from mrcdist.plan_report import MANY_CHUNKS, PlanReport, many_chunks, report
from mrcdist.read.location import Identity, Location
from mrcdist.read.source import MrcSource, Part

__all__ = ["MetadataFile", "Plan", "PlanOptions", "make_plan"]

MetadataFile = str | os.PathLike[str] | IO[bytes] | IO[str] | None

# A sidecar is some 40 KiB; whatever is far larger is something else.
_SIDECAR_BYTES = 16 * 2**20


@dataclass(frozen=True)
class PlanOptions:
    """What a caller may say about a file; see `mrcdist.read_mrc`."""

    chunks: Any = "auto"
    navigation_shape: Sequence[int] | None = None
    metadata_file: MetadataFile = "auto"
    endianness: ByteOrder | None = None
    mode0: Mode0 | None = None
    allow_truncated: bool = False


@dataclass(frozen=True)
class Plan:
    """All that is known about a file before a pixel of it is read.

    Attributes
    ----------
    location : Location
        Where it is; shows no secret.
    identity : Identity
        Which version was planned for.
    header : Header
        The main header.
    layout : Layout
        Where each frame is.
    axes : tuple of ArrayAxis
        Navigation and signal axes in array order.
    chunks : tuple of tuple of int
        Block lengths along every axis.
    sidecar : Sidecar or None
        The Direct Electron sidecar, where there is one.
    notes : tuple of str
        What is odd about the file.
    """

    location: Location
    identity: Identity
    header: Header
    layout: Layout
    axes: tuple[ArrayAxis, ...]
    chunks: Chunks = field(repr=False)
    sidecar: Sidecar | None = field(repr=False)
    notes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.layout.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Native-endian dtype of the array."""
        return self.layout.dtype

    @property
    def source(self) -> MrcSource:
        """The array-like that tasks index; indexing it here reads here."""
        return MrcSource((self.part,), self.layout)

    @property
    def part(self) -> Part:
        """The file, as tasks open it."""
        return Part(self.location, self.identity, self.header.data_offset, self.layout.present)

    def to_dask(self) -> da.Array:
        """Return the lazy array, one task a chunk."""
        return to_dask(self.source, self.chunks)

    def explain(self, *, threads: int = 1) -> PlanReport:
        """Say what computing the array will cost.

        Parameters
        ----------
        threads : int, default 1
            Threads of a worker, for its memory.

        Returns
        -------
        PlanReport
            Numbers; `print` it for words.
        """
        return report(
            self.location.shown,
            self.layout,
            self.chunks,
            read_settings(),
            local=self.location.is_local,
            threads=threads,
        )


def make_plan(location: Location, options: PlanOptions) -> Plan:
    """Plan a file: at most four small requests, whatever its size.

    Raises
    ------
    MrcdistError
        The file cannot be found, read or understood, or the options do not fit it.
    """
    identity = location.identify()
    raw = location.read_head(HEADER_BYTES)
    try:
        header = parse_header(raw, file_size=identity.size, endianness=options.endianness)
        sidecar = _find_sidecar(location, options.metadata_file)
        scan = _describe(header, sidecar, options)
        unsigned = pixel_is_unsigned(sidecar) if sidecar else None
        geometry = arrange(
            header,
            pixel_format(header, mode0=options.mode0, sidecar_unsigned=unsigned),
            file_size=identity.size,
            scan=scan,
            navigation_shape=options.navigation_shape,
            allow_truncated=options.allow_truncated,
        )
    except MrcdistError as error:
        raise error.located(location.shown) from None
    chunks = plan_chunks(geometry.layout, options.chunks)
    n_chunks = int(np.prod([len(axis) for axis in chunks]))
    notes = (
        *header.notes,
        *(sidecar.notes if sidecar else ()),
        *(scan.notes if scan else ()),
        *geometry.notes,
        *([many_chunks(n_chunks)] if n_chunks > MANY_CHUNKS else []),
    )
    return Plan(location, identity, header, geometry.layout, geometry.axes, chunks, sidecar, notes)


def _describe(header: Header, sidecar: Sidecar | None, options: PlanOptions) -> Scan | None:
    if sidecar is None:
        return None
    scan = describe_scan(sidecar, n_frames=header.nz, frame_shape=(header.ny, header.nx))
    if scan.kind == "custom" and options.navigation_shape is None:
        raise SidecarError(
            "the sidecar describes a scan that is no raster",
            cause="the place of each frame is in a scan points file, which is not read yet",
            remedy="pass navigation_shape=(frames,) or metadata_file=None for the frames in the order of the file",
        )
    return scan


def _find_sidecar(location: Location, wanted: MetadataFile) -> Sidecar | None:
    """Read the sidecar that the caller names, or look beside a Direct Electron movie."""
    if wanted is None:
        return None
    if not isinstance(wanted, str | os.PathLike):
        return parse_sidecar(_read_stream(wanted))
    if wanted != "auto":
        return parse_sidecar(_named(location, wanted).read_head(_SIDECAR_BYTES))
    if not sidecar_candidates(location.name):
        return None
    listing = location.list_folder()
    if listing is not None:
        name = find_sidecar(location.name, listing)
        return parse_sidecar(location.sibling(name).read_head(_SIDECAR_BYTES)) if name else None
    for name in sidecar_candidates(location.name):  # a store that cannot list, such as plain HTTP
        try:
            return parse_sidecar(location.sibling(name).read_head(_SIDECAR_BYTES))
        except MissingFileError:
            continue
    return None


def _named(location: Location, wanted: str | os.PathLike[str]) -> Location:
    """A file that the caller names; storage_options serve it too where it is in the same kind of store."""
    named = Location.of(wanted)
    same = named.url.split(":", 1)[0] == location.url.split(":", 1)[0] and not named.is_local
    options: Mapping[str, Any] = location.storage_options if same else {}
    return Location.of(wanted, options)


def _read_stream(stream: IO[bytes] | IO[str]) -> bytes | str:
    if not hasattr(stream, "read"):
        raise ArgumentError(
            f"metadata_file is a {type(stream).__name__}",
            remedy='pass "auto", None, a path, a URL, or an open file or text stream',
        )
    return stream.read(_SIDECAR_BYTES)
