"""The extended header of the mrcz package: a JSON object, EXTTYP "json".

HyperSpy writes its metadata this way, so what has the names of its metadata's branches is taken for
them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from mrcdist.format.byte_order import ByteOrder
from mrcdist.format.extended.decoder import Decoded, Decoder, ExtendedKind
from mrcdist.warning_notes import Note

__all__ = ["DECODERS"]

# Metadata are some kilobytes; far more is data, which one task after another would not want.
MAX_BYTES = 16 * 2**20
_DEEPEST = 50

_BRANCHES = ("General", "Signal", "Sample", "Acquisition_instrument")
# What is said of the file that was saved, not of its contents.
_OF_THE_FILE = {"General": ("original_filename", "FileIO")}
_TEXTS = {"General": ("title",), "Signal": ("signal_type",)}


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


class _MrczJson(Decoder):
    """A JSON object."""

    has_records = False

    def bytes_needed(self, kind: ExtendedKind, n_sections: int, first_bytes: bytes) -> int:
        return kind.nsymbt if kind.nsymbt <= MAX_BYTES else 0

    def fits(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> bool:
        return _parse(raw) is not None

    proves = fits

    def decode(self, kind: ExtendedKind, raw: bytes, order: ByteOrder, n_sections: int) -> Decoded:
        document = _parse(raw)
        if document is not None:
            return Decoded({}, [], document=document)
        why = "no JSON object" if kind.nsymbt <= MAX_BYTES else f"more than {MAX_BYTES} bytes"
        text = f"the extended header ({kind.nsymbt} bytes, json) is not decoded: {why}"
        return Decoded({}, [Note("extended-header-not-decoded", text)])

    def metadata(self, document: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in _BRANCHES:
            branch = document.get(name)
            if not isinstance(branch, dict):
                continue
            found[name] = {
                key: value
                for key, value in branch.items()
                if key not in _OF_THE_FILE.get(name, ())
                and (key not in _TEXTS.get(name, ()) or isinstance(value, str))
            }
        return found


DECODERS = (_MrczJson("json", "json"),)
