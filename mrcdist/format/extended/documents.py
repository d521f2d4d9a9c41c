"""Extended headers without records: CCP4's text, the JSON of the mrcz package, HDF5, MRCO.

CCP4's are symmetry operators, in lines of 80 characters (MRC2014). The mrcz package writes a JSON
object, with EXTTYP "json". HyperSpy stores its metadata this way, so entries named like the
branches of its metadata are read as such.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from mrcdist.format.extended.decoder import Decoded, Decoder, not_decoded
from mrcdist.format.header import MRCZ_EXTTYP, decode_text
from mrcdist.warning_notes import Note, Notes

_LINE_BYTES = 80
# 192 lines hold the operators of any space group; a longer text is something else.
_MAX_TEXT = 1024 * _LINE_BYTES
# Printable ASCII, white space, and NUL as padding.
_TEXT = bytes(range(32, 127)) + b"\0\t\n\r"

# Metadata take some kilobytes. Much more is data, which would be sent to every task.
_MAX_JSON = 16 * 2**20
_MAX_DEPTH = 50
_BRANCHES = ("General", "Signal", "Sample", "Acquisition_instrument")
# Entries about files that HyperSpy read or saved, not about the data.
_FILE_ENTRIES = {"General": ("original_filename", "FileIO")}
_TEXT_ENTRIES = {"General": ("title",), "Signal": ("signal_type",)}


class Ccp4(Decoder):
    """Decoder of CCP4's symmetry operators."""

    kind = "CCP4"

    @property
    def sizes_allow(self) -> bool:
        """Whether there are only whole lines."""
        return self.header.nsymbt % _LINE_BYTES == 0

    def rewritable(self, raw: bytes, n_records: int) -> tuple[bytes, ...]:
        """Return the whole text, or nothing if bytes are missing."""
        return (raw,) if len(raw) == self.header.nsymbt else ()

    def bytes_needed(self, raw: bytes) -> int:
        """Return the number of bytes that can be symmetry operators."""
        return _MAX_TEXT

    def fits(self, raw: bytes) -> bool:
        """Whether it is text that is not blank."""
        text = raw[:_MAX_TEXT]
        return bool(text) and not text.strip(_TEXT) and bool(text.strip(b"\0 "))

    def is_certain(self, raw: bytes) -> bool:
        """Whether it is text whose first line is an operator, such as ``-X, Y+1/2, -Z``."""
        first = raw[:_LINE_BYTES].upper()
        return self.fits(raw) and all(character in first for character in b"XYZ,")

    def decode(self, raw: bytes) -> Decoded:
        """Split the text into its lines, without padding and blank lines."""
        text = raw[:_MAX_TEXT]
        starts = range(0, len(text), _LINE_BYTES)
        lines = tuple(
            line for at in starts if (line := decode_text(text[at : at + _LINE_BYTES]).strip())
        )
        notes = Notes()
        if self.header.nsymbt > _MAX_TEXT:
            problem = (
                f"{self.header.nsymbt} bytes of symmetry text: only the first {_MAX_TEXT} are read"
            )
            notes.add(Note("symmetry-text-long", problem))
        if not all(line.isprintable() for line in lines):
            problem = "the symmetry text of the extended header contains bytes that are not text"
            notes.add(Note("symmetry-text-invalid", problem))
        return Decoded({}, tuple(notes), lines)


class MrczJson(Decoder):
    """Decoder of a JSON object."""

    kind = MRCZ_EXTTYP
    has_metadata = True

    def bytes_needed(self, raw: bytes) -> int:
        """Return the size of the document, or 0 if it is too large."""
        return self.header.nsymbt if self.header.nsymbt <= _MAX_JSON else 0

    def fits(self, raw: bytes) -> bool:
        """Whether it is a JSON object."""
        return _parse(raw) is not None

    is_certain = fits

    def decode(self, raw: bytes) -> Decoded:
        """Parse the document."""
        document = _parse(raw)
        if document is not None:
            return Decoded({}, document=document)
        size = self.header.nsymbt
        cause = "no JSON object" if size <= _MAX_JSON else f"more than {_MAX_JSON} bytes"
        return not_decoded(f"the extended header ({size} bytes, json) is not decoded: {cause}")

    def metadata(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return the branches of HyperSpy's metadata, without entries about another file."""
        return {
            branch: {
                key: value
                for key, value in document[branch].items()
                if key not in _FILE_ENTRIES.get(branch, ())
                and (key not in _TEXT_ENTRIES.get(branch, ()) or isinstance(value, str))
            }
            for branch in _BRANCHES
            if isinstance(document.get(branch), dict)
        }


class Hdf5(Decoder):
    """HDF5, which is recognised by its signature."""

    kind = "HDF5"

    def fits(self, raw: bytes) -> bool:
        """Whether it is an HDF5 file."""
        return raw.startswith(b"\x89HDF\r\n\x1a\n")

    is_certain = fits


class Mrco(Decoder):
    """MRCO, which is recognised only by its EXTTYP."""

    kind = "MRCO"


def _parse(raw: bytes) -> dict[str, Any] | None:
    """Parse a JSON object; NaN and infinity become None."""

    def finite(text: str) -> float | None:
        number = float(text)
        return number if math.isfinite(number) else None

    try:
        document = json.loads(
            raw.rstrip(b"\0 \r\n\t").decode("utf-8"),
            parse_constant=lambda name: None,
            parse_float=finite,
        )
        usable = isinstance(document, dict) and _depth(document) <= _MAX_DEPTH
    except (ValueError, RecursionError):
        return None
    return document if usable else None


def _depth(node: Any) -> int:
    """Count the levels of a document."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return 1 + max(map(_depth, children), default=0)
