"""Read and write MRC files, in particular 4D-STEM movies, in parallel on a dask cluster.

Public names are loaded on first use (PEP 562), so that a worker, which only unpickles sources,
imports neither the viewer nor the command line.
"""

from __future__ import annotations

from mrcdist.startup_interrupt import end_on_interrupt as _end_on_interrupt

_end_on_interrupt()  # before all other imports, which are slow

import importlib
from typing import TYPE_CHECKING, Any

from mrcdist import config as _config  # noqa: F401  installs dask's defaults

if TYPE_CHECKING:
    __version__: str
    from mrcdist.api import (
        file_reader as file_reader,
        plan_mrc as plan_mrc,
        read_mrc as read_mrc,
    )
    from mrcdist.convert_api import convert as convert
    from mrcdist.errors import (
        AccessDeniedError as AccessDeniedError,
        ArgumentError as ArgumentError,
        FileChangedError as FileChangedError,
        FormatError as FormatError,
        MissingExtraError as MissingExtraError,
        MissingFileError as MissingFileError,
        MrcdistError as MrcdistError,
        MrcdistWarning as MrcdistWarning,
        ReadError as ReadError,
        SidecarError as SidecarError,
        TruncatedFileError as TruncatedFileError,
        WriteError as WriteError,
    )
    from mrcdist.interop.rosettasciio import register_hyperspy as register_hyperspy
    from mrcdist.interop.zarr_writer import ZarrReport as ZarrReport
    from mrcdist.preview.browser import (
        Browser as Browser,
        browse as browse,
    )
    from mrcdist.read_plan import Plan as Plan
    from mrcdist.reduce_api import (
        CenterOfMass as CenterOfMass,
        FrameReduction as FrameReduction,
        MaximumPattern as MaximumPattern,
        MeanPattern as MeanPattern,
        RadialProfile as RadialProfile,
        StandardDeviation as StandardDeviation,
        SumPattern as SumPattern,
        VirtualImage as VirtualImage,
        reduce_frames as reduce_frames,
    )
    from mrcdist.write.plan import (
        WritePlan as WritePlan,
        WriteReport as WriteReport,
    )
    from mrcdist.write_api import (
        file_writer as file_writer,
        plan_write as plan_write,
        write_mrc as write_mrc,
    )
    from mrcdist.zarr_api import (
        MRCParser as MRCParser,
        write_references as write_references,
        zarr_store as zarr_store,
    )

# Public names of each module.
_NAMES = {
    "api": ("file_reader", "plan_mrc", "read_mrc"),
    "convert_api": ("convert",),
    "errors": (
        *("AccessDeniedError", "ArgumentError", "FileChangedError", "FormatError"),
        *("MissingExtraError", "MissingFileError", "MrcdistError", "MrcdistWarning", "ReadError"),
        *("SidecarError", "TruncatedFileError", "WriteError"),
    ),
    "interop.rosettasciio": ("register_hyperspy",),
    "interop.zarr_writer": ("ZarrReport",),
    "preview.browser": ("Browser", "browse"),
    "read_plan": ("Plan",),
    "reduce_api": (
        *("CenterOfMass", "FrameReduction", "MaximumPattern", "MeanPattern", "RadialProfile"),
        *("StandardDeviation", "SumPattern", "VirtualImage", "reduce_frames"),
    ),
    "write.plan": ("WritePlan", "WriteReport"),
    "write_api": ("file_writer", "plan_write", "write_mrc"),
    "zarr_api": ("MRCParser", "write_references", "zarr_store"),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    value: Any
    if name == "__version__":
        value = _installed_version()
    elif name in _MODULES:
        value = getattr(importlib.import_module(f"mrcdist.{_MODULES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _installed_version() -> str:
    """Return the version of the installed package."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(__name__)
    except PackageNotFoundError:  # imported from a clone
        return "0+unknown"


def __dir__() -> list[str]:
    """Return all public names, including those not loaded yet."""
    return sorted({*globals(), *__all__, "__version__"})
