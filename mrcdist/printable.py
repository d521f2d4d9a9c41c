"""Text from files and names with control characters escaped, safe to show in a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

# Control characters, marks that change the direction of writing, surrogates (the bytes of a name
# that is not UTF-8), what Unicode has not assigned; and the separators of lines and paragraphs.
_UNPRINTABLE = ("C", "Zl", "Zp")


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return a text with escapes for characters that command a terminal: ESC becomes ``\x1b``.

    Ends of `lines` are escaped too unless it may have several.
    """
    return escape_unprintable(text, lambda char: char if lines and char == "\n" else _escape(char))


def escape_unprintable(text: str, escape: Callable[[str], str]) -> str:
    """Return a text with each character that could command a terminal as `escape` writes it."""
    if text.isprintable():
        return text
    return "".join(
        escape(char) if unicodedata.category(char).startswith(_UNPRINTABLE) else char
        for char in text
    )


def _escape(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # how Python holds a byte that cannot be decoded
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()
