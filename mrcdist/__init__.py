"""Read MRC files, 4D-STEM movies above all, in parallel on a dask cluster."""

from mrcdist.api import file_reader, plan_mrc, read_mrc
from mrcdist.dataset import Plan
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
)
from mrcdist.interop.hyperspy import register_hyperspy
from mrcdist.preview.browser import Browser, browse

__all__ = [
    "AccessDeniedError",
    "ArgumentError",
    "Browser",
    "FileChangedError",
    "FormatError",
    "MissingExtraError",
    "MissingFileError",
    "MrcdistError",
    "MrcdistWarning",
    "Plan",
    "ReadError",
    "SidecarError",
    "TruncatedFileError",
    "browse",
    "file_reader",
    "plan_mrc",
    "read_mrc",
    "register_hyperspy",
]
__version__ = "0.1.0"
