"""Parsing and writing the text of a Direct Electron sidecar.

DE Server writes ``<acquisition>_info.txt`` next to each movie, with a ``key = value`` line for each
of its properties. The value -1 always means "unknown".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from mrcdist.errors import SidecarError
from mrcdist.format.direct_electron.sidecar_keys import Key
from mrcdist.printable import shorten
from mrcdist.warning_notes import Note, Notes

_KEY_WIDTH = 64
_ON, _OFF = ("enable", "on", "true"), ("disable", "off", "false")
_SWITCHES = dict.fromkeys(_ON, True) | dict.fromkeys(_OFF, False)


@dataclass(frozen=True)
class Sidecar:
    """The lines of a sidecar."""

    values: Mapping[str, str]  # all keys with their values as text, in the order of the file
    notes: tuple[Note, ...] = ()

    def text(self, *keys: Key | str) -> str | None:
        """Return the first value of `keys` that is known: neither empty nor -1.

        A `Key` stands for all its spellings, a str for itself.
        """
        spellings = (key.spellings if isinstance(key, Key) else (key,) for key in keys)
        texts = (self.values.get(name) for names in spellings for name in names)
        return next((text for text in texts if text and to_float(text) != -1), None)

    def number(self, *keys: Key | str) -> float | None:
        """Return the first known value of `keys`, if it is a finite number."""
        return to_float(self.text(*keys))

    def positive(self, key: Key) -> float | None:
        """Return `number` if it is above 0, as known sizes, rates and voltages are."""
        value = self.number(key)
        return value if value is not None and value > 0 else None

    def flag(self, key: Key) -> bool | None:
        """Return whether `key` is on; None if it is absent or neither on nor off.

        Keys of the scan have the values Enable or Disable; others On or Off, True or False.
        """
        return _SWITCHES.get((self.text(key) or "").lower())


def parse_sidecar(raw: bytes) -> Sidecar:
    """Parse the text of a sidecar; `SidecarError` if no line is ``key = value``.

    It is UTF-8, with or without a byte order mark, or else latin-1. Lines end in LF, CRLF or CR.
    The first ``=`` of a line ends the key; values may contain more. The last value of a repeated
    key is used. Repeated keys, and lines that are neither blank nor ``key = value``, are noted.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    values: dict[str, str] = {}
    others: list[str] = []
    repeated: dict[str, str] = {}
    # str.splitlines would also split at 0x85, an ellipsis in files from Windows.
    for line in re.split(r"[\r\n]", text):
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not key or "\0" in line:
            others += [line] if line.strip("\0 \t") else []
            continue
        if key in values:
            repeated[key] = f"{key} = {shorten(values[key])}, then {shorten(value)}"
        values[key] = value
    if not values:
        raise SidecarError(
            f"no 'key = value' line in the sidecar, which begins with {raw[:40]!r}",
            code="sidecar-not-text",
            argument="metadata_file",
            cause="the file is empty, or it is not a Direct Electron _info.txt file",
            remedy="pass the right file as `metadata_file`, or `metadata_file=None` to ignore it",
        )
    notes = Notes()
    if repeated:
        text = (
            f"{len(repeated)} key(s) appear more than once in the sidecar, the last value is used:"
            f" {'; '.join(list(repeated.values())[:3])}"
        )
        notes.add(Note("sidecar-key-repeated", text))
    if others:
        text = (
            f"{len(others)} line(s) of the sidecar are not 'key = value' and are ignored, the first"
            f" one is {shorten(others[0])!r}"
        )
        notes.add(Note("sidecar-line-ignored", text))
    return Sidecar(values, tuple(notes))


def sidecar_text(values: Mapping[str, str], newline: str = "\n") -> bytes:
    """Return the content of a sidecar: one line per key, with the equals sign in column 65.

    It is encoded as latin-1 if possible, else as UTF-8. Servers up to 2.7.2 end lines with CRLF,
    later ones with LF.
    """
    lines = [f"{key:<{_KEY_WIDTH}}= {value}" for key, value in values.items()]
    text = newline.join(lines) + newline
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def to_float(text: str | None) -> float | None:
    """Convert text to a finite number, including -1; None if it is something else."""
    if text is None or "_" in text:  # Python accepts 1_000; no server writes it
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
