"""The arguments of a read, with defaults and help texts."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral
from typing import Any, Literal

from mrcdist.discover.auxiliary_files import NamedFile, choose
from mrcdist.discover.files import Filename
from mrcdist.discover.images import Images
from mrcdist.format.byte_order import ByteOrder, check_byte_order
from mrcdist.format.pixels import Mode0
from mrcdist.plan.navigation_shape import RequestedShape
from mrcdist.plan.skipped_frames import parse_skip_frames
from mrcdist.storage.url import is_filename, text_of

# Names on the command line, because "<" and ">" are redirections in a shell.
BYTE_ORDERS: dict[str, ByteOrder] = {"little": "<", "big": ">"}


MmapMode = Literal["r", "c", "r+"]


def _argument(default: Any, help_text: str, *, of_images: bool = False) -> Any:
    return field(default=default, metadata={"help": help_text, "of_images": of_images})


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """The arguments of `mrcdist.read_mrc` that determine the array, its axes and its images.

    The metadata of a field are the help text of its command-line option, and whether it selects
    companion images (`of_images`); all others determine the array and its axes.
    """

    chunks: Any = _argument(
        "auto", 'Chunk lengths such as 32,256,-1,-1, or a size such as "256 MiB".'
    )
    navigation_shape: Sequence[int] | None = _argument(
        None, "Lengths of the navigation axes in HyperSpy's order; one may be -1."
    )
    metadata_file: NamedFile = _argument("auto", 'Direct Electron sidecar; "none" to ignore it.')
    scan_file: NamedFile = _argument(
        "auto", 'List of points of a custom scan; "none" to ignore it.'
    )
    tilt_file: NamedFile = _argument(
        "auto",
        "Tilt angles of a tilt series: .mdoc, .rawtlt, .tlt or a list; "
        '"none" to ignore such files.',
    )
    virtual_images: Images = _argument(
        "auto",
        'Virtual image of the scan, can be repeated; "none" to use none.',
        of_images=True,
    )
    external_images: Images = _argument(
        "auto",
        'External image of the scan, can be repeated; "none" to use none.',
        of_images=True,
    )
    sort_by_tilt: bool = _argument(False, "Sort the sections of a tilt series by their angles.")
    endianness: ByteOrder | None = _argument(None, "Byte order, if the file itself is ambiguous.")
    mode0: Mode0 | None = _argument(None, "Pixel type of mode 0 (default: detected from the file).")
    allow_truncated: bool = _argument(
        False, "Accept a truncated file and read its complete frames."
    )
    skip_frames: int | Sequence[int] = _argument(
        0,
        "Number of frames to skip before the scan (negative: number of points without a frame), or "
        "a pair: also the number to skip after each line, such as 0,1.",
    )

    def __post_init__(self) -> None:
        RequestedShape.of(self.navigation_shape)
        parse_skip_frames(self.skip_frames)
        check_byte_order("endianness", self.endianness)
        for argument in ("metadata_file", "scan_file", "tilt_file"):
            choose(argument, getattr(self, argument))
        for argument in ("virtual_images", "external_images"):
            choose(argument, getattr(self, argument), many=True)

    def command_line(self) -> tuple[str, ...]:
        """Return the command-line options that produce the same array.

        Defaults, and values that only Python can pass, such as an open file, are left out.
        """
        words = []
        for argument in fields(ReadOptions):
            if argument.metadata["of_images"]:
                continue
            value = getattr(self, argument.name)
            name = f"--{argument.name.replace('_', '-')}"
            if argument.name == "navigation_shape" and (shape := RequestedShape.of(value)):
                value = shape.lengths
            if hasattr(value, "tolist"):  # numpy arrays and numbers
                value = value.tolist()
            if isinstance(value, list):
                value = tuple(value)
            if type(value) is type(argument.default) and value == argument.default:
                continue
            if value is True:
                words.append(name)
            elif (word := as_word(argument.name, value)) is not None:
                words.append(f"{name}={word}")
        return tuple(words)


@dataclass(frozen=True, kw_only=True)
class PlanArguments(ReadOptions):
    """The arguments of `mrcdist.plan_mrc`."""

    url: Filename = field(kw_only=False, repr=False)
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class ReadArguments(PlanArguments):
    """The arguments of `mrcdist.read_mrc`."""

    distributed: bool = True
    lazy: bool | None = None
    mmap_mode: MmapMode | None = None


def as_word(name: str, value: Any) -> str | None:
    """Return a value as text for the command line; None if it has no such form."""
    if name in ("endianness", "byteorder"):
        return next((word for word, order in BYTE_ORDERS.items() if order == value), None)
    if value is None:
        return None if name == "chunks" else "none"
    if is_filename(value):
        return text_of(value)
    if isinstance(value, tuple) and all(isinstance(part, str | Integral) for part in value):
        return ",".join(map(str, value))
    try:
        if isinstance(value, dict):
            value = {int(key): length for key, length in value.items()}
        return json.dumps(value, default=operator.index)
    except TypeError:
        return None
