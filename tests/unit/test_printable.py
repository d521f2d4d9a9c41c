"""Text of files and names as it may be shown."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from mrcdist.printable import printable


def test_characters_that_command_a_terminal_are_escaped():
    assert (
        printable("\x1b[2Jµm\n\x9b31m\u202e\u2028\udcff") == r"\x1b[2Jµm\n\x9b31m\u202e\u2028\xff"
    )
    assert printable("0.59\xa0% of 4 × 4, −12 °") == "0.59\xa0% of 4 × 4, −12 °"


def test_lines_stay_where_there_may_be_several():
    assert printable("a\nb\r\tc", lines=True) == "a\nb" + r"\r\tc"


@given(st.text(st.characters()))
def test_escaping_leaves_nothing_to_escape(text):
    shown = printable(text)
    assert printable(shown) == shown
    assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs") for char in shown)
