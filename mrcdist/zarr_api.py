"""Public functions for Zarr: `zarr_store` and `write_references`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fsspec.implementations.reference import LazyReferenceMapper

from mrcdist.api import plan_mrc
from mrcdist.discover.files import Filename
from mrcdist.errors import ArgumentError
from mrcdist.extras import import_optional, install_command
from mrcdist.interop.labelled_array import LabelledArray, coordinates
from mrcdist.interop.navigator_images import plan_group
from mrcdist.interop.references import find_references
from mrcdist.interop.zarr_destination import require_zarr3
from mrcdist.options import ReadOptions
from mrcdist.read_plan import Plan
from mrcdist.storage.location import Location
from mrcdist.storage.store_calls import StoreCalls
from mrcdist.write.errors import exists

if TYPE_CHECKING:
    from mrcdist.interop.zarr_store import MrcStore

# Number of references per Parquet file.
_RECORD_SIZE = 100_000


def zarr_store(
    url_or_plan: Filename | Plan,
    *,
    chunks: Any = ReadOptions.chunks,
    group: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> MrcStore:
    """Return a read-only Zarr store of an MRC file, without reading any pixels.

    Nothing is converted or indexed. When zarr requests a chunk, or part of one, its bytes are read
    from the planned version of the file.

    Parameters
    ----------
    url_or_plan : str, PathLike, sequence of them, or Plan
        As for `read_mrc`. To set other options of `plan_mrc`, pass a plan.
    chunks : default "auto"
        Chunks of the Zarr array, as for `read_mrc`; all chunks along an axis have the same length.
        They determine the size of large reads. If only part of a chunk is requested, only that part
        is read. Not used with a plan, which has its own chunks.
    group : bool, default False
        Return the store of a group that contains the array "movie" and one array for each virtual
        and external image of the acquisition, under its name.
    storage_options : mapping, optional
        As for `read_mrc`.

    Returns
    -------
    zarr.abc.store.Store
        For `zarr.open_array`, `zarr.open_group`, `dask.array.from_zarr` and others. It can be
        pickled. The array has the attribute ``axes``, the dicts of `read_mrc`, and for a volume
        the OME-NGFF attribute ``ome``.

    Raises
    ------
    MissingExtraError
        zarr is not installed, or older than version 3.
    MrcdistError
        As for `plan_mrc`. Reading raises `FileChangedError` if the file has changed.

    Examples
    --------
    >>> import mrcdist, zarr
    >>> from mrcdist.testing.acquisition import write_acquisition
    >>> movie = write_acquisition("demo", scan_shape=(4, 8), frame_shape=(8, 16)).movie
    >>> array = zarr.open_array(mrcdist.zarr_store(movie))
    >>> array.shape, array.metadata.dimension_names
    ((4, 8, 8, 16), ('y', 'x', 'ky', 'kx'))
    """
    require_zarr3("zarr_store", "zarr 2 has a different store interface")
    from mrcdist.interop.zarr_store import MrcStore

    plan = _plan(url_or_plan, chunks=chunks, storage_options=storage_options)
    plans = plan_group(plan) if group else {"": plan}
    return MrcStore({path: LabelledArray.of(array_plan) for path, array_plan in plans.items()})


def write_references(
    url_or_plan: Filename | Plan,
    destination: str | os.PathLike[str],
    *,
    storage_options: Mapping[str, Any] | None = None,
) -> None:
    """Write kerchunk references to an MRC file, for tools that read Zarr through references.

    The result is a Zarr group (format 2) with the array "data", whose chunks are byte ranges of the
    file, and the coordinates of its axes. Readers of references do not check whether the file has
    changed; its version is in the attribute ``files`` of the array.

    Parameters
    ----------
    url_or_plan : str, PathLike, sequence of them, or Plan
        As for `read_mrc`. The chunks are close to those of the plan, with lengths that divide the
        axes evenly.
    destination : str or PathLike
        A path or URL that ends in ``.json``, or in ``.parquet`` or ``.parq`` (a folder, for many
        references). It must not exist.
    storage_options : mapping, optional
        Options for the file, and for a destination in the same store. They are not written.

    Raises
    ------
    ArgumentError
        The destination exists or has another suffix, or the pixels do not correspond to byte
        ranges of the file: they are compressed, packed or of mode 3, or scan points have no frame.
    MissingExtraError
        kerchunk or fastparquet is not installed, and Parquet was requested.

    See Also
    --------
    zarr_store : needs no references, reads all files, and detects changes.

    Examples
    --------
    >>> import mrcdist
    >>> from mrcdist.testing.acquisition import write_acquisition
    >>> movie = write_acquisition("demo", scan_shape=(4, 8), frame_shape=(8, 16)).movie
    >>> mrcdist.write_references(movie, "movie.json")
    """
    target = Location.of(destination, argument="destination")
    suffix = target.name.rpartition(".")[2].lower()
    if suffix not in ("json", "parquet", "parq"):
        raise ArgumentError(
            f"`destination={target.shown}`",
            code="destination-invalid",
            argument="destination",
            cause="its suffix selects the format of the references",
            remedy="choose a name that ends in .json or .parquet",
        )
    references = find_references(_plan(url_or_plan, storage_options=storage_options))
    if _scheme(target) == _scheme(references.plan.location):
        target = replace(target, storage_options=references.plan.location.storage_options)
    if target.exists():
        raise exists(target.shown, "destination", "delete it")
    if suffix == "json":
        document = {"version": 1, "refs": dict(references.items())}
        StoreCalls(target).put("", json.dumps(document).encode())
        return
    for package in ("kerchunk", "fastparquet"):
        import_optional(
            package,
            "references in Parquet are written with it",
            f"{install_command('references')}, or write .json",
        )
    fs, path = target.filesystem()
    mapper = LazyReferenceMapper.create(path, fs=fs, record_size=_RECORD_SIZE)
    for key, value in references.items():
        mapper[key] = value
    mapper.flush()


class MRCParser:
    """Parser with which VirtualiZarr's `open_virtual_dataset` opens MRC files.

    Parameters
    ----------
    **options
        Arguments of `plan_mrc`, such as ``chunks`` and ``storage_options``.

    Examples
    --------
    >>> from mrcdist import MRCParser
    >>> parser = MRCParser(chunks="64 MiB")
    """

    def __init__(self, **options: Any) -> None:
        self.options = options

    def __call__(self, url: str, registry: Any) -> Any:
        """Return VirtualiZarr's manifests of the array "data" of a file.

        `registry` has the object stores from which VirtualiZarr reads the pixels.
        """
        purpose, remedy = "MRCParser creates manifests for it", install_command("references")
        manifests, translator = (
            import_optional(f"virtualizarr.{module}", purpose, remedy)
            for module in ("manifests", "parsers.kerchunk.translator")  # early versions lack these
        )
        references = find_references(plan_mrc(url, **self.options))
        group = translator.manifestgroup_from_kerchunk_refs(
            {"version": 1, "refs": dict(references.items())},
            skip_variables=[name for name, *_ in coordinates(references.plan.axes)],
        )
        return manifests.ManifestStore(group=group, registry=registry)


def _plan(url_or_plan: Any, **options: Any) -> Plan:
    return url_or_plan if isinstance(url_or_plan, Plan) else plan_mrc(url_or_plan, **options)


def _scheme(location: Location) -> str:
    return location.url.rpartition("::")[2].partition("://")[0] if "://" in location.url else "file"
