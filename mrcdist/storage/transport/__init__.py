"""Transports: one GET of one byte range of the planned version, for each kind of store."""

from __future__ import annotations

from fsspec.implementations.http import HTTPFileSystem
from s3fs import S3FileSystem

from mrcdist.storage.location import Location
from mrcdist.storage.transport.fsspec import FsspecTransport
from mrcdist.storage.transport.http import HttpTransport
from mrcdist.storage.transport.protocol import Response, Transport
from mrcdist.storage.transport.s3 import S3Transport
from mrcdist.storage.version import Version

__all__ = ["Response", "Transport", "open_transport"]


def open_transport(location: Location, version: Version, consistency: str) -> Transport:
    """Return the transport for a remote file, chosen by the type of its filesystem."""
    fs, path = location.filesystem()
    # By type, because caching wrappers claim async_impl.
    if isinstance(fs, S3FileSystem):
        return S3Transport(fs, path, location, version.required(consistency))
    if isinstance(fs, HTTPFileSystem):
        return HttpTransport(fs, path, location, version.required(consistency))
    return FsspecTransport(fs, path, location, version, consistency)
