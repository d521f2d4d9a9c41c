"""Escaping of control characters."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from mrcdist.printable import printable


def test_control_characters_are_escaped():
    assert (
        printable("\x1b[2Jµm\n\x9b31m\u202e\u2028\udcff") == r"\x1b[2Jµm\n\x9b31m\u202e\u2028\xff"
    )
    assert printable("0.59\xa0% of 4 × 4, −12 °") == "0.59\xa0% of 4 × 4, −12 °"


def test_line_feeds_are_kept_on_request():
    assert printable("a\nb\r\tc", lines=True) == "a\nb" + r"\r\tc"


@given(st.text(st.characters()))
def test_escaping_is_idempotent_and_complete(text):
    shown = printable(text)
    assert printable(shown) == shown
    assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs") for char in shown)
