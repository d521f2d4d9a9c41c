"""The directory of a file: the names in it, listed once."""

from __future__ import annotations

import re
from functools import cached_property

from mrcdist.storage.location import Location

__all__ = ["Directory"]


class Directory:
    """The directory of a file, listed when its names are first needed.

    Parameters
    ----------
    location : Location
        The file whose directory it is.
    """

    def __init__(self, location: Location) -> None:
        self.location = location

    @cached_property
    def listing(self) -> tuple[str, ...] | None:
        """Names of the files; None if they cannot be listed."""
        return self.location.list_siblings()

    @property
    def can_be_listed(self) -> bool:
        """Whether listing is worth a request: web servers mostly cannot, or refuse to."""
        return re.match("https?://", self.location.url.rpartition("::")[2]) is None

    @property
    def listed(self) -> tuple[str, ...]:
        """Names of the files as far as they have been asked for; asks for nothing."""
        return vars(self).get("listing") or ()
