"""The text of a Direct Electron sidecar → keys and values.

DE Server writes ``<acquisition>_info.txt`` beside each movie: a ``key = value`` line for each of
its properties. In every one of them -1 stands for "not known".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from mrcdist.errors import SidecarError
from mrcdist.format.direct_electron.sidecar_keys import Key

_KEY_WIDTH = 64
_ON, _OFF = ("enable", "on", "true"), ("disable", "off", "false")
_SWITCHES = dict.fromkeys(_ON, True) | dict.fromkeys(_OFF, False)


@dataclass(frozen=True)
class Sidecar:
    """The lines of a sidecar."""

    values: Mapping[str, str]  # every key with its value as text, in the order of the file
    notes: tuple[str, ...] = ()  # what was odd, in words for the user
    junk: tuple[str, ...] = ()  # lines that are not ``key = value``, as they stand

    def text(self, *keys: Key | str) -> str | None:
        """Return the value of the first of `keys` that is known: neither empty nor -1.

        A `Key` stands for all its spellings, a str for itself.
        """
        spelled = (key.spellings if isinstance(key, Key) else (key,) for key in keys)
        texts = (self.values.get(name) for names in spelled for name in names)
        return next((text for text in texts if text and to_float(text) != -1), None)

    def number(self, *keys: Key | str) -> float | None:
        """Return the value of the first of `keys` that is known, if it is a finite number."""
        return to_float(self.text(*keys))

    def positive(self, key: Key) -> float | None:
        """Return `number` where it is above 0: what a size, a rate or a voltage is, if known."""
        value = self.number(key)
        return value if value is not None and value > 0 else None

    def flag(self, key: Key) -> bool | None:
        """Return whether `key` is switched on; None where it is absent or says neither.

        The scan's keys say Enable or Disable; other keys, On or Off, True or False.
        """
        return _SWITCHES.get((self.text(key) or "").lower())


def parse_sidecar(raw: bytes) -> Sidecar:
    """Read the text of a sidecar; `SidecarError` if no line is ``key = value``.

    It is UTF-8, with or without a byte order mark, or else latin-1. Lines end in LF, CRLF or CR.
    The first ``=`` of a line ends the key; later ones are the value's. A repeated key keeps its
    last value. Repeated keys, and lines that are neither blank nor ``key = value``, are noted.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    values: dict[str, str] = {}
    junk: list[str] = []
    repeated: dict[str, str] = {}
    # Not str.splitlines: it also splits at 0x85, an ellipsis in many a Windows file.
    for line in re.split(r"[\r\n]", text):
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not key or "\0" in line:
            junk += [line] if line.strip("\0 \t") else []
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
            remedy="pass the right file as {metadata_file}, or {metadata_file=None} to ignore it",
        )
    notes = []
    if repeated:
        notes.append(
            f"{len(repeated)} key(s) appear more than once in the sidecar, the last value is used:"
            f" {'; '.join(list(repeated.values())[:3])}"
        )
    if junk:
        notes.append(
            f"{len(junk)} line(s) of the sidecar are not 'key = value' and mean nothing here,"
            f" the first one is {shorten(junk[0])!r}"
        )
    return Sidecar(values, tuple(notes), tuple(junk))


def sidecar_text(values: Mapping[str, str], newline: str = "\n") -> bytes:
    """Return the content of a sidecar: one line per key, with the equals sign in column 65.

    It is encoded as latin-1, or as UTF-8 where that lacks a character. Servers up to 2.7.2 write
    lines that end in CRLF, later ones LF.
    """
    lines = [f"{key:<{_KEY_WIDTH}}= {value}" for key, value in values.items()]
    text = newline.join(lines) + newline
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def shorten(text: str) -> str:
    """Return `text` cut to a length that fits a message."""
    return text if len(text) <= 60 else text[:57] + "..."


def to_float(text: str | None) -> float | None:
    """Return a finite number, -1 included, or None where `text` is no such thing."""
    if text is None or "_" in text:  # Python reads 1_000 as a number; no server means it
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
