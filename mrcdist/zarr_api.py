"""Public function for Zarr: `zarr_store`."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mrcdist.api import plan_mrc
from mrcdist.discover.files import Filename
from mrcdist.errors import MissingExtraError, MrcdistWarning
from mrcdist.interop.labelled_array import MOVIE, LabelledArray, plan_images
from mrcdist.printable import printable
from mrcdist.read_plan import Plan
from mrcdist.warning_notes import Notes

if TYPE_CHECKING:
    from mrcdist.interop.zarr_store import MrcStore

__all__ = ["zarr_store"]


def zarr_store(
    url_or_plan: Filename | Plan,
    *,
    chunks: Any = "auto",
    group: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> MrcStore:
    """Return a read-only Zarr store whose array is an MRC file, without reading any pixels.

    Nothing is converted or listed: when zarr asks for a chunk, or for pixels of one, these are
    read, from the planned version of the file.

    Parameters
    ----------
    url_or_plan : str, PathLike, sequence of them, or Plan
        As for `read_mrc`. A plan of `plan_mrc` can have any of its options.
    chunks : default "auto"
        Of the Zarr array, as for `read_mrc`; lengths are the same all along an axis. They decide
        what is read at once when much is read. Of a small part of a chunk, only that part is read.
        A plan has its own chunks.
    group : bool, default False
        Return the store of a group with the array "movie", and one for each virtual and external
        image of the acquisition, by its name.
    storage_options : mapping, optional
        As for `read_mrc`.

    Returns
    -------
    zarr.abc.store.Store
        For `zarr.open_array`, `zarr.open_group`, `dask.array.from_zarr` and others. It can be
        pickled. Attributes are ``axes``, the dicts of `read_mrc`, and of a volume OME-NGFF's
        ``ome``.

    Raises
    ------
    MissingExtraError
        zarr is not installed, or older than version 3.
    MrcdistError
        As `plan_mrc`. Reading raises `FileChangedError` if the file has changed.

    Examples
    --------
    >>> import mrcdist, zarr
    >>> from mrcdist.testing.acquisition import write_acquisition
    >>> movie = write_acquisition("demo", scan_shape=(4, 8), frame_shape=(8, 16)).movie
    >>> array = zarr.open_array(mrcdist.zarr_store(movie))
    >>> array.shape, array.metadata.dimension_names
    ((4, 8, 8, 16), ('y', 'x', 'ky', 'kx'))
    """
    store = _store_class()
    plan = (
        url_or_plan
        if isinstance(url_or_plan, Plan)
        else plan_mrc(url_or_plan, chunks=chunks, storage_options=storage_options)
    )
    if not group:
        return store({"": LabelledArray.of(plan)})
    notes = Notes()
    images = plan_images(plan, notes)
    for note in notes:
        warnings.warn(f"{plan.location.shown}: {printable(note)}", MrcdistWarning, stacklevel=2)
    return store({name: LabelledArray.of(p) for name, p in {MOVIE: plan, **images}.items()})


def _store_class() -> type[MrcStore]:
    try:
        zarr = importlib.import_module("zarr")
    except ImportError:
        found = "zarr is not installed"
    else:
        if int(zarr.__version__.partition(".")[0]) >= 3:
            from mrcdist.interop.zarr_store import MrcStore

            return MrcStore
        found = f"zarr {zarr.__version__} is installed"
    raise MissingExtraError(
        f"{found}: a store needs version 3",
        code="package-missing",
        cause="stores have another interface in zarr 2, which HyperSpy 2 needs for .zspy files",
        remedy='pip install "mrcdist[xarray]", in an environment of its own if you use HyperSpy',
    )
