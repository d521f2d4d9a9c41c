"""Read and write MRC files, in particular 4D-STEM movies, in parallel on a dask cluster.

Public names are loaded on first use (PEP 562), so that a worker, which only unpickles sources,
imports neither the viewer nor the command line.
"""

from __future__ import annotations

from mrcdist.startup_interrupt import end_on_interrupt as _end_on_interrupt

_end_on_interrupt()  # before all other imports, which are slow

import importlib  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

from mrcdist import config as _config  # noqa: E402, F401  installs dask's defaults

if TYPE_CHECKING:
    __version__: str
    from mrcdist.api import file_reader, plan_mrc, read_mrc
    from mrcdist.convert_api import convert
    from mrcdist.errors import (
        AccessDeniedError,
        ArgumentError,
        FileChangedError,
        FormatError,
        MissingExtraError,
        MissingFileError,
        MrcdistError,
        MrcdistWarning,
        ReadError,
        SidecarError,
        TruncatedFileError,
        WriteError,
    )
    from mrcdist.interop.rosettasciio import register_hyperspy
    from mrcdist.interop.zarr_writer import ZarrReport
    from mrcdist.preview.browser import Browser, browse
    from mrcdist.read_plan import Plan
    from mrcdist.reduce_api import (
        CenterOfMass,
        FrameReduction,
        MaximumPattern,
        MeanPattern,
        RadialProfile,
        StandardDeviation,
        SumPattern,
        VirtualImage,
        reduce_frames,
    )
    from mrcdist.write.plan import WritePlan, WriteReport
    from mrcdist.write_api import file_writer, plan_write, write_mrc
    from mrcdist.zarr_api import MRCParser, write_references, zarr_store

__all__ = [
    "AccessDeniedError",
    "ArgumentError",
    "Browser",
    "CenterOfMass",
    "FileChangedError",
    "FormatError",
    "FrameReduction",
    "MRCParser",
    "MaximumPattern",
    "MeanPattern",
    "MissingExtraError",
    "MissingFileError",
    "MrcdistError",
    "MrcdistWarning",
    "Plan",
    "RadialProfile",
    "ReadError",
    "SidecarError",
    "StandardDeviation",
    "SumPattern",
    "TruncatedFileError",
    "VirtualImage",
    "WriteError",
    "WritePlan",
    "WriteReport",
    "ZarrReport",
    "browse",
    "convert",
    "file_reader",
    "file_writer",
    "plan_mrc",
    "plan_write",
    "read_mrc",
    "reduce_frames",
    "register_hyperspy",
    "write_mrc",
    "write_references",
    "zarr_store",
]
# Modules and their public names; all other public names are in `errors`.
_NAMES = {
    "api": ("file_reader", "plan_mrc", "read_mrc"),
    "convert_api": ("convert",),
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


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    value: Any
    if name == "__version__":
        value = _installed_version()
    elif name in __all__:
        module = importlib.import_module(f"mrcdist.{_MODULES.get(name, 'errors')}")
        value = getattr(module, name)
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
