"""The main header of a new file: what sections are, and the calibration of its axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from mrcdist.errors import ArgumentError
from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.encode import NewHeader, Storage
from mrcdist.format.header import VOLUME_STACKS
from mrcdist.format.modes import PACKED_LABEL
from mrcdist.warning_notes import Note
from mrcdist.write.auxiliary_files import scan_axes, tilt_text
from mrcdist.write.contents import Contents, in_angstrom
from mrcdist.write.source_header import SourceHeader, with_source_fields

__all__ = ["ImageKind", "kept_labels", "kind_of", "new_header"]

ImageKind = Literal["images", "volume", "volumes"]
_ISPG = {"images": 0, "volume": 1, "volumes": 401}


def kept_labels(contents: Contents) -> tuple[str, ...]:
    """Return the labels of the file that was read, without those that say how it was stored."""
    words = contents.original_metadata.get("std_header")
    labels = words.get("LABELS") if isinstance(words, Mapping) else None
    if not isinstance(labels, list | tuple):
        return ()
    kept = [
        label
        for label in labels
        if isinstance(label, str)
        and 0 < len(label) <= 80
        and label.isascii()
        and label.isprintable()
        and not label.startswith(("mrcdist ", "MRCZ"))
        and PACKED_LABEL not in label
    ]
    return tuple(kept[:9])


def kind_of(contents: Contents) -> ImageKind:
    """Return volumes where the axes, or the header that was read, say so; else images.

    Axes do if their sections are a length apart: "z", or whichever of x, y and z frames have not.
    """
    source = SourceHeader.of(contents.original_metadata)
    ispg = source.ispg if source else 0
    names = [axis.name for axis in contents.axes]
    sections = names[-3] if len(names) > 2 else ""
    if len(names) == 2:
        one_section = source is not None and source.sizes[2] == 1
        return "volume" if 1 <= ispg <= 230 and one_section else "images"
    if sections != "z" and sorted(names[-3:]) != ["x", "y", "z"]:
        return "images"
    apart = in_angstrom(contents.axes[-3])[0] is not None
    if len(names) == 3 and (apart or 1 <= ispg <= 230):
        return "volume"
    if names[:-3] == ["volume"] and (apart or ispg in VOLUME_STACKS):
        return "volumes"
    return "images"


def new_header(
    contents: Contents, storage: Storage, kind: ImageKind, byteorder: ByteOrder, notes: list[str]
) -> NewHeader:
    """Return the header of an array, without extended header and labels.

    Parameters
    ----------
    contents : Contents
    storage : Storage
    kind : {"images", "volume", "volumes"}
    byteorder : {"<", ">"}
    notes : list of str
        What has no place in it is added.

    Raises
    ------
    ArgumentError
    """
    shape = contents.array.shape
    if kind not in _ISPG:
        raise ArgumentError(
            f"kind={kind!r}",
            code="kind-invalid",
            argument="kind",
            cause="sections are images, slices of one volume, or slices of several",
            remedy="pass one of " + ", ".join(f'"{name}"' for name in _ISPG),
        )
    if (kind == "volume" and len(shape) > 3) or (kind == "volumes" and len(shape) != 4):
        raise ArgumentError(
            f"kind={kind!r} for an array of {len(shape)} axes",
            code="kind-invalid",
            argument="kind",
            cause="a volume has three axes, a stack of volumes four",
            remedy='pass kind="images", or reshape the array',
        )
    sections = {
        "images": 1,
        "volume": contents.sections,
        "volumes": shape[-3] if len(shape) > 2 else 1,
    }
    stored = [contents.axes[-1], contents.axes[-2]]
    if kind != "images" and len(shape) > 2:
        stored.append(contents.axes[-3])
    sizes, origins = zip(*(in_angstrom(axis) for axis in stored), strict=True)
    notes += [
        Note(
            "unit-not-stored",
            f"the unit {axis.units} of axis {axis.name or number} cannot be stored in the header",
        )
        for number, axis in enumerate(stored)
        if axis.units and in_angstrom(axis)[0] is None and scan_axes(contents.navigation) is None
    ]
    names = [axis.name for axis in stored]
    order = ["xyz".index(name) + 1 for name in names if name in ("x", "y", "z")]
    if len(order) == 2:
        order.append(6 - sum(order))
    header = NewHeader(
        nx=shape[-1],
        ny=shape[-2],
        nz=contents.sections,
        storage=storage,
        byteorder=byteorder,
        ispg=_ISPG[kind],
        intervals=(shape[-1], shape[-2], sections[kind]),
        pixel_size=(*sizes, *(None,) * (3 - len(sizes))),
        origin=(*origins, *(0.0,) * (3 - len(origins))),
        axis_order=(order[0], order[1], order[2]) if sorted(order) == [1, 2, 3] else (1, 2, 3),
    )
    source = SourceHeader.of(contents.original_metadata)
    if source is not None:
        header = with_source_fields(header, contents, source, notes)
    notes += _unstored_sections(header, contents)
    return header


def _unstored_sections(header: NewHeader, contents: Contents) -> Iterator[Note]:
    """Yield the calibration of images along their stack, such as a time, if no file has it."""
    if header.ispg != 0 or len(contents.navigation) != 1 or header.pixel_size[2] is not None:
        return
    [axis] = contents.navigation
    if axis.units and tilt_text(contents) is None and scan_axes(contents.navigation) is None:
        sentence = (
            f"the calibration of axis {axis.name or 0} ({axis.scale:.6g} {axis.units}, from "
            f"{axis.offset:.6g}) cannot be stored in the header of images"
        )
        yield Note("sections-not-calibrated", sentence)
