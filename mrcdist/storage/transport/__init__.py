"""One GET of one byte range of the planned version, from each kind of store."""

from __future__ import annotations

from fsspec.implementations.http import HTTPFileSystem
from s3fs import S3FileSystem

from mrcdist.storage.location import Location
from mrcdist.storage.transport.fsspec import FsspecTransport
from mrcdist.storage.transport.http import HttpTransport
from mrcdist.storage.transport.protocol import Answer, Transport
from mrcdist.storage.transport.s3 import S3Transport
from mrcdist.storage.version import Version

__all__ = ["Answer", "Transport", "open_transport"]


def open_transport(location: Location, version: Version, consistency: str) -> Transport:
    """Choose the transport for a remote file by its filesystem's type."""
    fs, path = location.filesystem()
    # By type: caching wrappers claim async_impl and are not.
    if isinstance(fs, S3FileSystem):
        return S3Transport(fs, path, location, version.required(consistency))
    if isinstance(fs, HTTPFileSystem):
        return HttpTransport(fs, path, location, version.required(consistency))
    return FsspecTransport(fs, path, location, version, consistency)
