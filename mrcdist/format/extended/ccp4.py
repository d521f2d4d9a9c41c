"""CCP4's extended header: symmetry operators as text, in lines of 80 characters (MRC2014)."""

from __future__ import annotations

from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.extended.decoder import Decoded, Decoder, ExtendedKind
from mrcdist.format.header import decode_text
from mrcdist.warning_notes import Note

__all__ = ["DECODERS"]

_LINE = 80
# 192 lines hold the operators of any space group; a longer text is another thing.
MAX_BYTES = 1024 * _LINE
# What text consists of: printable ASCII, white space, and the NUL that pads it.
_TEXT = bytes(range(32, 127)) + b"\0\t\n\r"


class _Ccp4(Decoder):
    """Symmetry operators."""

    has_records = False

    def bytes_needed(self, kind: ExtendedKind, n_sections: int, first_bytes: bytes) -> int:
        return MAX_BYTES

    def may_be(self, kind: ExtendedKind, n_sections: int) -> bool:
        return kind.nsymbt % _LINE == 0

    def fits(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> bool:
        used = raw[:MAX_BYTES]
        return bool(used) and not used.strip(_TEXT) and bool(used.strip(b"\0 "))

    def proves(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> bool:
        """Whether it is text whose first line is an operator, such as ``-X, Y+1/2, -Z``."""
        first = raw[:_LINE].upper()
        return self.fits(kind, raw, order, n_sections) and all(one in first for one in b"XYZ,")

    def decode(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> Decoded:
        """Cut the text into its lines, without padding; blank lines are padding too."""
        used = raw[:MAX_BYTES]
        pieces = (decode_text(used[at : at + _LINE]).strip() for at in range(0, len(used), _LINE))
        lines = tuple(piece for piece in pieces if piece)
        notes: list[str] = []
        if kind.nsymbt > MAX_BYTES:
            text = f"{kind.nsymbt} bytes of symmetry text: only the first {MAX_BYTES} are read"
            notes.append(Note("symmetry-text-long", text))
        if not all(line.isprintable() for line in lines):
            text = "the symmetry text of the extended header holds bytes that are no text"
            notes.append(Note("symmetry-text-invalid", text))
        return Decoded({}, notes, lines)


DECODERS = (_Ccp4("CCP4", "CCP4"),)
