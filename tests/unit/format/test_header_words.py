"""The words of a main header."""

from __future__ import annotations

import pytest

from mrcdist.format.header_words import header_words


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_the_layout_of_the_words_is_made_once(byteorder):
    first, second = (header_words(bytes(1024), byteorder) for _ in range(2))
    assert first.dtype is second.dtype
