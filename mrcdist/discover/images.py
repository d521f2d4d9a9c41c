"""The virtual and external images of a Direct Electron acquisition."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Literal

from mrcdist.discover.auxiliary_files import choose
from mrcdist.discover.files import Directory, locate
from mrcdist.errors import MrcdistError
from mrcdist.format.direct_electron.filenames import Companion, find_companions
from mrcdist.format.direct_electron.sidecar import Sidecar
from mrcdist.storage.location import Location
from mrcdist.warning_notes import Note

Images = Literal["auto"] | Sequence[str | os.PathLike[str]] | None


@dataclass(frozen=True)
class FoundImage:
    """An image of an acquisition, with a unique name. If the caller `named` it, it must exist."""

    name: str
    location: Location
    named: bool = False

    def left_out(self, error: MrcdistError) -> Note:
        """Return a note that the image is unreadable; raise the error if the caller named it."""
        if self.named:
            raise error
        # The server may still be writing it, and the movie can be read without it.
        text = f"the image {self.location.name} is left out: {error.problem}"
        return Note("image-left-out", text)


@dataclass(frozen=True)
class CompanionImages:
    """The companion images of an acquisition: those that the caller passes, or those found.

    "auto" searches the directory of a movie that has a sidecar.
    """

    directory: Directory
    sidecar: Sidecar | None
    virtual: Images
    external: Images

    def find(self, *, may_list: bool = True) -> tuple[FoundImage, ...]:
        """Return the images, virtual ones first, with at most one listing, or without one."""
        data, directory = self.directory.location, self.directory
        options = {"virtual_images": self.virtual, "external_images": self.external}
        choices = {name: choose(name, option, many=True) for name, option in options.items()}
        found: Sequence[Companion] = ()
        if "auto" in choices.values() and self.sidecar is not None:
            names = directory.listing if may_list else directory.known_names
            found = find_companions(data.name, names or ())
        images: list[FoundImage] = []
        for argument, option in options.items():
            if choices[argument] == "auto":
                companions = [image for image in found if f"{image.kind}_images" == argument]
                images += [FoundImage(one.name, data.sibling(one.file)) for one in companions]
            else:
                for path in option or ():
                    image = locate(path, data, argument)
                    images.append(FoundImage(image.name.rpartition(".")[0], image, named=True))
        return _with_unique_names(images)


def _with_unique_names(images: Sequence[FoundImage]) -> tuple[FoundImage, ...]:
    """Return the images with a number appended to names that give the same key in HyperSpy."""
    frequency = Counter(_hyperspy_key(image.name) for image in images)
    taken = set(frequency)
    unique = []
    for image in images:
        name = image.name
        if frequency[_hyperspy_key(name)] > 1:
            numbered = (f"{image.name} ({number})" for number in count(1))
            name = next(name for name in numbered if _hyperspy_key(name) not in taken)
            taken.add(_hyperspy_key(name))
        unique.append(replace(image, name=name))
    return tuple(unique)


def _hyperspy_key(name: str) -> str:
    """Return a name as HyperSpy's metadata changes it: ASCII letters, digits, and _ for blanks."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^\w ]", "", plain).strip().replace(" ", "_")
