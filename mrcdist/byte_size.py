"""Parsing of sizes in bytes, such as "8 MiB"."""

from __future__ import annotations

from dask.utils import parse_bytes


def parse_size(text: str) -> int | None:
    """Return the bytes of a size such as "8 MiB", or None if it is invalid."""
    try:
        return int(parse_bytes(text)) if text.strip() and text.isascii() else None
    except (ValueError, OverflowError):
        return None
