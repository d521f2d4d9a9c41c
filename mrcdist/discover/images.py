"""The virtual and external images of a Direct Electron acquisition: which there are."""

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
    """An image beside a movie.

    No two of a movie have the same name. One that the caller names has to be there.
    """

    name: str
    location: Location
    named: bool = False


def find_images(
    directory: Directory, sidecar: Sidecar | None, virtual: Images, external: Images
) -> tuple[FoundImage, ...]:
    """Find the images of an acquisition by one listing, virtual ones first.

    "auto" looks beside a movie that has a sidecar.
    """
    images: list[FoundImage] = []
    beside: Sequence[Companion] | None = None
    for kind, wanted in (("virtual", virtual), ("external", external)):
        if (choice := choose(wanted)) == "named":
            images += _named(f"{kind}_images", wanted, directory.location)
        elif choice == "auto" and sidecar is not None:
            if beside is None:
                beside = find_companions(directory.location.name, directory.listing or ())
            images += [
                FoundImage(image.name, directory.location.sibling(image.file))
                for image in beside
                if image.kind == kind
            ]
    return _disambiguated(images)


def _named(argument: str, paths: Any, movie: Location) -> Iterator[FoundImage]:
    """Images that the caller names."""
    a_path = is_filename(paths)
    if a_path or not isinstance(paths, Sequence):
        found = f"={text_of(paths)!r}" if a_path else f" is a {type(paths).__name__}"
        raise ArgumentError(
            f"{argument}{found}",
            code="argument-type-invalid",
            argument=argument,
            cause="a list of files is needed",
            remedy=f'pass {argument}=["..."], "auto" or None',
        )
    for path in paths:
        location = locate(path, movie)
        yield FoundImage(location.name.rpartition(".")[0], location, named=True)


def _disambiguated(images: Sequence[FoundImage]) -> tuple[FoundImage, ...]:
    """Number the images that HyperSpy calls the same: none may take another's place."""
    often = Counter(_hyperspy_key(image.name) for image in images)
    taken = set(often)
    apart = []
    for image in images:
        name = image.name
        if often[_hyperspy_key(name)] > 1:
            numbered = (f"{image.name} ({number})" for number in count(1))
            name = next(name for name in numbered if _hyperspy_key(name) not in taken)
            taken.add(_hyperspy_key(name))
        apart.append(replace(image, name=name))
    return tuple(apart)


def _hyperspy_key(name: str) -> str:
    """Make a name for HyperSpy's metadata: ASCII letters, digits, and _ for blanks."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^\w ]", "", plain).strip().replace(" ", "_")
