"""The directory of a file: the names in it, listed once."""

from __future__ import annotations

import os
import re
from functools import cached_property
from urllib.parse import urlsplit

from mrcdist.storage.location import Location

__all__ = ["Directory", "locate"]

_BUCKETS = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci")


class Directory:
    """The directory of a file, listed when its names are first needed."""

    def __init__(self, location: Location) -> None:
        self.location = location

    @cached_property
    def listing(self) -> tuple[str, ...] | None:
        """Names of the files; None if they cannot be listed."""
        return self.location.list_siblings()

    @classmethod
    def listed_as(cls, location: Location, names: tuple[str, ...] | None) -> Directory:
        """Return the directory of a file with what is known of its names."""
        directory = cls(location)
        directory.__dict__["listing"] = names
        return directory

    @property
    def can_be_listed(self) -> bool:
        """Whether listing is worth a request: web servers mostly cannot, or refuse to."""
        return re.match("https?://", self.location.url.rpartition("::")[2]) is None

    @property
    def listed(self) -> tuple[str, ...]:
        """Names of the files as far as they have been asked for; asks for nothing."""
        return vars(self).get("listing") or ()


def locate(path: str | os.PathLike[str], data: Location) -> Location:
    """Locate a file that the caller names beside some data.

    The storage options of the data, credentials among them, serve it only if it is in the same
    store: on the same host and port, or in buckets of the same kind.
    """
    named = Location.of(path)
    same = not named.is_local and _store(named) == _store(data)
    return Location.of(path, data.storage_options) if same else named


def _store(location: Location) -> tuple[str, ...]:
    """The protocols of a chain of URLs and the host; an account may have many buckets."""
    *outer, last = location.url.split("::")
    target = urlsplit(last)
    _, account, host = target.netloc.rpartition("@")  # abfs://container@account
    if target.scheme in _BUCKETS and not account:
        host = ""
    return (*(link.partition(":")[0] for link in outer), target.scheme, host.lower())
