"""The virtual and external images of a Direct Electron acquisition."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Literal

from mrcdist.discover.auxiliary_files import choose
from mrcdist.discover.files import Directory, locate
from mrcdist.errors import ArgumentError
from mrcdist.format.direct_electron.filenames import Companion, find_companions
from mrcdist.format.direct_electron.sidecar import Sidecar
from mrcdist.storage.location import Location
from mrcdist.storage.url import is_filename, text_of

Images = Literal["auto"] | Sequence[str | os.PathLike[str]] | None


@dataclass(frozen=True)
class FoundImage:
    """An image of an acquisition, with a unique name. If the caller `named` it, it must exist."""

    name: str
    location: Location
    named: bool = False


def find_images(
    directory: Directory, sidecar: Sidecar | None, virtual: Images, external: Images
) -> tuple[FoundImage, ...]:
    """Return the images of an acquisition, virtual ones first, with at most one listing.

    "auto" searches the directory of a movie that has a sidecar.
    """
    images: list[FoundImage] = []
    companions: Sequence[Companion] | None = None
    for kind, option in (("virtual", virtual), ("external", external)):
        if (choice := choose(option)) == "named":
            images += _named(f"{kind}_images", option, directory.location)
        elif choice == "auto" and sidecar is not None:
            if companions is None:
                companions = find_companions(directory.location.name, directory.listing or ())
            images += [
                FoundImage(image.name, directory.location.sibling(image.file))
                for image in companions
                if image.kind == kind
            ]
    return _with_unique_names(images)


def _named(argument: str, paths: Any, movie: Location) -> Iterator[FoundImage]:
    """Yield the images that the caller passes."""
    is_path = is_filename(paths)
    if is_path or not isinstance(paths, Sequence):
        value = f"={text_of(paths)!r}" if is_path else f" is a {type(paths).__name__}"
        raise ArgumentError(
            f"{argument}{value}",
            code="argument-type-invalid",
            argument=argument,
            cause="a list of files is needed",
            remedy=f'pass {argument}=["..."], "auto" or None',
        )
    for path in paths:
        location = locate(path, movie, argument)
        yield FoundImage(location.name.rpartition(".")[0], location, named=True)


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
