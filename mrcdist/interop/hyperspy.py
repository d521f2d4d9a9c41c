"""A name for HyperSpy: ``hs.load(path, file_format="mrcdist")``."""

from __future__ import annotations

import importlib
from typing import Any

from mrcdist.errors import MissingExtraError

__all__ = ["register_hyperspy"]

_NAME = "mrcdist"


def register_hyperspy() -> None:
    """Add "mrcdist" to the file formats that HyperSpy knows, in this process.

    Files that end in ``.mrc`` stay with HyperSpy's own reader unless the format is named. Calling
    this again changes nothing.

    Raises
    ------
    MissingExtraError
        RosettaSciIO, HyperSpy's collection of readers, is not installed.

    See Also
    --------
    mrcdist.file_reader : reads without a name: ``hs.load(path, file_format=mrcdist)``.

    Notes
    -----
    `hyperspy.api.load` takes local files only. For a URL, name the module:
    ``hyperspy.io.load_with_reader(url, mrcdist, lazy=True)``.

    Examples
    --------
    >>> import hyperspy.api as hs
    >>> import mrcdist
    >>> from mrcdist.demo.acquisition import write_acquisition
    >>> movie = write_acquisition("demo", scan_shape=(3, 4), frame_shape=(16, 16)).movie
    >>> mrcdist.register_hyperspy()
    >>> hs.load(movie, file_format="mrcdist", lazy=True)
    <LazySignal2D, title: 20260101_00001_movie, dimensions: (4, 3|16, 16)>
    """
    try:
        formats: list[dict[str, Any]] = importlib.import_module("rsciio").IO_PLUGINS
    except ImportError:
        raise MissingExtraError(
            "RosettaSciIO is not installed here",
            code="package-missing",
            cause="HyperSpy finds its file formats in it",
            remedy='pip install "mrcdist[hyperspy]"',
        ) from None
    if any(known["name"] == _NAME for known in formats):
        return
    formats.append(
        {
            "name": _NAME,
            "name_aliases": [],
            "description": "MRC files, read in parallel by dask workers.",
            "full_support": False,
            # HyperSpy wants an extension for every format, and picks formats by it. No file ends
            # in this one, so that none is read by mrcdist unless that is asked for.
            "file_extensions": [_NAME],
            "default_extension": 0,
            "writes": False,
            "non_uniform_axis": True,
            "api": "mrcdist.api",
        }
    )
