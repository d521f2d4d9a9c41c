"""Extended headers for the whole file, without records: CCP4's text, mrcz's JSON, HDF5.

CCP4's are symmetry operators, in lines of 80 characters (MRC2014). The mrcz package writes a JSON
object, EXTTYP "json". HyperSpy writes its metadata this way, so what has the names of its
metadata's branches is taken for them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.extended.decoder import Decoded, Decoder, ExtendedKind, not_decoded
from mrcdist.format.header import decode_text
from mrcdist.warning_notes import Note

_LINE = 80
# 192 lines hold the operators of any space group; a longer text is another thing.
_MAX_TEXT = 1024 * _LINE
# What text consists of: printable ASCII, white space, and the NUL that pads it.
_TEXT = bytes(range(32, 127)) + b"\0\t\n\r"

# Metadata are some kilobytes; far more is data, which one task after another would not want.
_MAX_JSON = 16 * 2**20
_DEEPEST = 50
_BRANCHES = ("General", "Signal", "Sample", "Acquisition_instrument")
# What is said of the file that was saved, not of its contents.
_OF_THE_FILE = {"General": ("original_filename", "FileIO")}
_TEXTS = {"General": ("title",), "Signal": ("signal_type",)}


class _Ccp4(Decoder):
    """Symmetry operators."""

    def bytes_needed(self, kind: ExtendedKind, n_sections: int, raw: bytes) -> int:
        return _MAX_TEXT

    def may_be(self, kind: ExtendedKind, n_sections: int) -> bool:
        return kind.nsymbt % _LINE == 0

    def fits(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> bool:
        used = raw[:_MAX_TEXT]
        return bool(used) and not used.strip(_TEXT) and bool(used.strip(b"\0 "))

    def proves(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> bool:
        """Whether it is text whose first line is an operator, such as ``-X, Y+1/2, -Z``."""
        first = raw[:_LINE].upper()
        return self.fits(kind, raw, order, n_sections) and all(one in first for one in b"XYZ,")

    def decode(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> Decoded:
        """Cut the text into its lines, without padding; blank lines are padding too."""
        used = raw[:_MAX_TEXT]
        pieces = (decode_text(used[at : at + _LINE]).strip() for at in range(0, len(used), _LINE))
        lines = tuple(piece for piece in pieces if piece)
        notes: list[str] = []
        if kind.nsymbt > _MAX_TEXT:
            text = f"{kind.nsymbt} bytes of symmetry text: only the first {_MAX_TEXT} are read"
            notes.append(Note("symmetry-text-long", text))
        if not all(line.isprintable() for line in lines):
            text = "the symmetry text of the extended header contains bytes that are not text"
            notes.append(Note("symmetry-text-invalid", text))
        return Decoded({}, notes, lines)


class _MrczJson(Decoder):
    """A JSON object."""

    def bytes_needed(self, kind: ExtendedKind, n_sections: int, raw: bytes) -> int:
        return kind.nsymbt if kind.nsymbt <= _MAX_JSON else 0

    def fits(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> bool:
        return _parse(raw) is not None

    proves = fits

    def decode(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> Decoded:
        document = _parse(raw)
        if document is not None:
            return Decoded({}, [], document=document)
        why = "no JSON object" if kind.nsymbt <= _MAX_JSON else f"more than {_MAX_JSON} bytes"
        return not_decoded(f"the extended header ({kind.nsymbt} bytes, json) is not decoded: {why}")

    def metadata(self, document: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: {
                key: value
                for key, value in document[name].items()
                if key not in _OF_THE_FILE.get(name, ())
                and (key not in _TEXTS.get(name, ()) or isinstance(value, str))
            }
            for name in _BRANCHES
            if isinstance(document.get(name), dict)
        }


class _Hdf5(Decoder):
    """An HDF5 file, which is not decoded."""

    def fits(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> bool:
        return raw.startswith(b"\x89HDF\r\n\x1a\n")

    proves = fits


def _parse(raw: bytes) -> dict[str, Any] | None:
    """Parse an object; what JSON has no number for becomes None."""
    try:
        document = json.loads(
            raw.rstrip(b"\0 \r\n\t").decode("utf-8"),
            parse_constant=lambda name: None,
            parse_float=_finite,
        )
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and _depth(document) <= _DEEPEST else None


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _depth(document: Any) -> int:
    """Levels of a document, counted level by level: recursion could end at Python's limit."""
    level, depth = [document], 0
    while level:
        depth += 1
        level = [
            value
            for node in level
            if isinstance(node, dict | list)
            for value in (node.values() if isinstance(node, dict) else node)
        ]
    return depth


CCP4, MRCZ_JSON, HDF5 = _Ccp4("CCP4"), _MrczJson("json"), _Hdf5("HDF5")
