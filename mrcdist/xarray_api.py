"""The xarray backend "mrcdist": `xarray.open_dataset` and `open_datatree` of MRC files.

xarray finds it through its entry point, and imports it when it is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core.indexing import IndexingSupport, LazilyIndexedArray, explicit_indexing_adapter

from mrcdist.api import plan_mrc
from mrcdist.interop.labelled_array import LabelledArray, coordinates
from mrcdist.interop.navigator_images import plan_group
from mrcdist.interop.rosettasciio import flat_attributes
from mrcdist.options import ReadOptions
from mrcdist.read_plan import Plan
from mrcdist.storage.url import is_filename, text_of

_SUFFIXES = (".mrc", ".mrcs", ".mrcz", ".st", ".ali", ".rec", ".map", ".ccp4")
# xarray has its own argument `chunks`.
_OPTIONS = tuple(option.name for option in fields(ReadOptions) if option.name != "chunks")


class MrcBackend(BackendEntrypoint):  # type: ignore[misc]
    """``engine="mrcdist"`` of xarray: a lazy dataset with the variable "data"."""

    description = "Open MRC files, such as 4D-STEM movies, from disks and object stores"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", *_OPTIONS, "storage_options")
    supports_groups = True

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Return whether a name has a suffix of MRC files."""
        return is_filename(filename_or_obj) and text_of(filename_or_obj).lower().endswith(_SUFFIXES)

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        **options: Any,
    ) -> xr.Dataset:
        """Open a file as a dataset, without reading any pixels.

        Options are arguments of `plan_mrc` except `chunks`, which is xarray's. The dataset has the
        variable "data", a coordinate for each calibrated axis, and the metadata as attributes:
        numbers, strings and lists, and ``original_metadata`` as a JSON string.
        """
        return _dataset(plan_mrc(filename_or_obj, **options), drop_variables)

    def open_groups_as_dict(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        **options: Any,
    ) -> dict[str, xr.Dataset]:
        """Open a movie and its companion images as datasets by path.

        The paths are "/" for an empty dataset, "/movie", and one with the name of each image.
        """
        plan = plan_mrc(filename_or_obj, **options)
        groups = {"/": xr.Dataset()}
        for name, array_plan in plan_group(plan).items():
            groups[f"/{name}"] = _dataset(array_plan, drop_variables)
            if array_plan is not plan:
                groups[f"/{name}"].attrs["General.title"] = name
        return groups

    def open_datatree(self, filename_or_obj: Any, **options: Any) -> xr.DataTree:
        """Open a movie and its companion images as a tree; see `open_groups_as_dict`."""
        return xr.DataTree.from_dict(self.open_groups_as_dict(filename_or_obj, **options))


class _LazyArray(BackendArray):  # type: ignore[misc]
    """Lazy array for xarray, which reads the requested positions without a lock."""

    def __init__(self, array: LabelledArray) -> None:
        self.array = array
        self.shape = array.shape
        self.dtype = array.dtype

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        block: npt.NDArray[Any] = explicit_indexing_adapter(
            key, self.shape, IndexingSupport.OUTER, self.array.read
        )
        return block


def _dataset(plan: Plan, drop_variables: str | Iterable[str] | None) -> xr.Dataset:
    array = LabelledArray.of(plan)
    chunks = dict(zip(array.dimensions, array.chunk_shape, strict=True))
    data = xr.Variable(
        array.dimensions,
        LazilyIndexedArray(_LazyArray(array)),
        encoding={"preferred_chunks": chunks, "source": plan.location.shown},
    )
    coords = {name: (name, values, attrs) for name, values, attrs in coordinates(plan.axes)}
    dataset = xr.Dataset({"data": data}, coords, flat_attributes(plan))
    return dataset.drop_vars(drop_variables or [], errors="ignore")
