"""The part of an extended header that belongs to some of a file's sections."""

from __future__ import annotations

from collections.abc import Sequence

from mrcdist.format.extended.decoder import ExtendedKind
from mrcdist.format.extended.registry import bytes_needed

__all__ = ["CARRIED", "slice_records"]

CARRIED = ("FEI1", "FEI2", "SERI", "AGAR", "CCP4")
"""Kinds that are written again: text lines, or one record for each section."""


def slice_records(kind: ExtendedKind, raw: bytes, sections: Sequence[int]) -> bytes:
    """Return the records of some sections, in their order; text as it is.

    Parameters
    ----------
    kind : ExtendedKind
    raw : bytes
        The whole extended header.
    sections : sequence of int
        Numbers of sections.
    """
    one, two = (
        bytes_needed(kind, nsymbt=kind.nsymbt, n_sections=count, first_bytes=raw)[1]
        for count in (1, 2)
    )
    size = two - one or one  # two records may be more than there are
    if kind.name == "CCP4" or not size:
        return raw
    records = [raw[number * size : (number + 1) * size] for number in sections]
    return b"".join(records) if all(len(record) == size for record in records) else b""
