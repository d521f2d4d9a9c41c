"""Words of a main header."""

from __future__ import annotations

import pytest

from mrcdist.format.header_words import header_words


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_dtype_of_the_header_words_is_created_once_per_byte_order(byteorder):
    first, second = (header_words(bytes(1024), byteorder) for _ in range(2))
    assert first.dtype is second.dtype
