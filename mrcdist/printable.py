"""Text from files for messages: short, and without control characters that affect a terminal."""

from __future__ import annotations

import unicodedata

# Categories of Unicode: control characters, marks of writing direction, surrogates (bytes of a file
# name that is not UTF-8) and unassigned characters; separators of lines and of paragraphs.
_UNPRINTABLE = ("C", "Zl", "Zp")


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return text with escapes for characters that could control a terminal: ``\x1b`` for ESC.

    Line feeds are kept if `lines` is true, and escaped otherwise.
    """
    if text.isprintable():
        return text
    return "".join(
        _escape(char)
        if unicodedata.category(char).startswith(_UNPRINTABLE) and not (lines and char == "\n")
        else char
        for char in text
    )


def _escape(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte that Python could not decode
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()


def shorten(text: str) -> str:
    """Shorten text for a message."""
    return text if len(text) <= 60 else text[:57] + "..."
