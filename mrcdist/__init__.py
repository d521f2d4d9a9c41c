"""Read and write MRC files, 4D-STEM movies above all, in parallel on a dask cluster.

Public names are loaded when they are first used (PEP 562), so that a worker, which only unpickles
sources, imports no viewer and no command line.
"""

from __future__ import annotations

from mrcdist.startup_interrupt import end_on_interrupt as _end_on_interrupt

_end_on_interrupt()  # before all other imports, which take a while

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
    from mrcdist.write.estimate import WriteReport
    from mrcdist.write.plan import WritePlan
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
# The modules of the public names that are not errors.
_MODULES = {
    "Browser": "mrcdist.preview.browser",
    "CenterOfMass": "mrcdist.reduce_api",
    "FrameReduction": "mrcdist.reduce_api",
    "MRCParser": "mrcdist.zarr_api",
    "MaximumPattern": "mrcdist.reduce_api",
    "MeanPattern": "mrcdist.reduce_api",
    "Plan": "mrcdist.read_plan",
    "RadialProfile": "mrcdist.reduce_api",
    "StandardDeviation": "mrcdist.reduce_api",
    "SumPattern": "mrcdist.reduce_api",
    "VirtualImage": "mrcdist.reduce_api",
    "WritePlan": "mrcdist.write.plan",
    "WriteReport": "mrcdist.write.estimate",
    "ZarrReport": "mrcdist.interop.zarr_writer",
    "browse": "mrcdist.preview.browser",
    "convert": "mrcdist.convert_api",
    "file_reader": "mrcdist.api",
    "file_writer": "mrcdist.write_api",
    "plan_mrc": "mrcdist.api",
    "plan_write": "mrcdist.write_api",
    "read_mrc": "mrcdist.api",
    "reduce_frames": "mrcdist.reduce_api",
    "register_hyperspy": "mrcdist.interop.rosettasciio",
    "write_mrc": "mrcdist.write_api",
    "write_references": "mrcdist.zarr_api",
    "zarr_store": "mrcdist.zarr_api",
}


def __getattr__(name: str) -> Any:
    """Load a public name, once."""
    value: Any
    if name == "__version__":
        value = _installed_version()
    elif name in __all__:
        value = getattr(importlib.import_module(_MODULES.get(name, "mrcdist.errors")), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _installed_version() -> str:
    """Return the version of pyproject.toml, as it was installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(__name__)
    except PackageNotFoundError:  # on the path, not installed
        return "0+unknown"


def __dir__() -> list[str]:
    """Return the public names, loaded or not."""
    return sorted({*globals(), *__all__, "__version__"})
