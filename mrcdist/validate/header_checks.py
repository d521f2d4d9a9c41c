"""Checks of the main header, one function per check; `checks.check_file` runs them in order.

The rules are those of the MRC2014 specification (Cheng et al., J. Struct. Biol. 192, 2015, 146-150,
and CCP-EM's page of the format).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from mrcdist.format.byte_order import ORDER_NAMES, STAMPS
from mrcdist.format.header import MRC2014_VERSIONS
from mrcdist.format.modes import KNOWN_MODES, MRCZ_MODES
from mrcdist.validate.extended_checks import check_extended_header
from mrcdist.validate.findings import Facts, Outcome

__all__ = ["CHECKS"]

_IMOD_RGB = 16
_MODES = KNOWN_MODES.keys() - {_IMOD_RGB}
_CONVERT = (
    "convert the file with a program that supports headers from before 2000, such as IMOD's "
    "newstack"
)


def _size(facts: Facts) -> Iterator[Outcome]:
    nx, ny, nz = facts.ints("nx", "ny", "nz")
    found = f"NX, NY, NZ = {nx}, {ny}, {nz}"
    if nx <= 0 or ny <= 0 or nz < 0:
        yield (
            "error",
            found,
            "an image has at least one column and one row, and no dimension is negative",
            "restore the header from a copy, or write the correct dimensions",
        )
    elif nz == 0:
        yield (
            "warning",
            found,
            "the file announces no data",
            "none needed if the acquisition ended before its first frame",
        )
    else:
        yield ("ok", found)


def _mode(facts: Facts) -> Iterator[Outcome]:
    (mode,) = facts.ints("mode")
    if mode in _MODES:
        yield ("ok", f"{mode} ({KNOWN_MODES[mode]})")
    else:
        if mode == _IMOD_RGB:
            what = "IMOD's RGB in three bytes, not part of MRC2014"
        elif mode in MRCZ_MODES:
            what = f"MRCZ, mode {mode % 1000} compressed, not part of MRC2014"
        else:
            what = "not a mode of MRC2014"
        known = ", ".join(str(mode) for mode in sorted(_MODES))
        yield (
            "error",
            f"{mode}: {what}",
            "programs that do not support the mode do not know the size of a pixel",
            f"convert the file to one of the modes {known}, or use programs that support this mode",
        )
    if facts.header is not None and facts.header.packing is not None:
        what = "IMOD's flag 16" if facts.header.packing == "flag" else 'the label "4 bits packed"'
        yield (
            "warning",
            f"{what}: each byte contains two 4-bit pixels, the image has 2 NX columns",
            "programs that do not support this show NX columns of meaningless values",
            "use mode 101 of MRC2014",
        )


def _sampling(facts: Facts) -> Iterator[Outcome]:
    counts = facts.ints("mx", "my", "mz")
    found = f"MX, MY, MZ = {', '.join(map(str, counts))}"
    if facts.header is not None and facts.header.by_mrcz and counts[:2] == (0, 0):
        yield (
            "warning",
            f"{found}, as written by the mrcz package",
            "the pixel size is the cell length divided by the number of pixels; programs that "
            "follow MRC2014 find none",
            "write the number of pixels along the cell, for such programs",
        )
        return
    yield _calibration(found, counts)


def _cell(facts: Facts) -> Iterator[Outcome]:
    edges = tuple(float(facts.values["cella"][axis]) for axis in "xyz")
    shown = ", ".join(f"{edge:g}" for edge in edges)
    yield _calibration(f"CELLA = {shown} Å", edges)


def _calibration(found: str, numbers: tuple[float, ...]) -> Outcome:
    """Check cell or sampling, whose ratio is the pixel size: positive, or 0 if unknown."""
    if min(numbers) < 0:
        return (
            "error",
            found,
            "with negative values, the pixel size is negative or undefined",
            "write the correct values, or 0 if the pixel size is unknown",
        )
    if not all(0 < number < math.inf for number in numbers):
        return (
            "warning",
            found,
            "the pixel size is undefined",
            "write the cell lengths in Å and the number of pixels along them, if known",
        )
    return ("ok", found)


def _axis_order(facts: Facts) -> Iterator[Outcome]:
    order = facts.ints("mapc", "mapr", "maps")
    found = f"MAPC, MAPR, MAPS = {', '.join(map(str, order))}"
    if sorted(order) == [1, 2, 3]:
        yield ("ok", found)
    else:
        yield (
            "error",
            found,
            "it must be a permutation of 1, 2, 3: the meaning of the axes is unknown",
            "write 1, 2, 3, if columns are X and rows are Y",
        )


def _space_group(facts: Facts) -> Iterator[Outcome]:
    ispg, nz, mz = facts.ints("ispg", "nz", "mz")
    if 401 <= ispg <= 630:
        found = f"ISPG = {ispg}, a stack of volumes of MZ = {mz} sections, NZ = {nz}"
        if mz > 0 and nz % mz == 0:
            yield ("ok", found)
        else:
            yield (
                "error",
                found,
                "NZ must be a multiple of MZ: the size of a volume is unknown",
                "write the number of sections of one volume to MZ, or ISPG = 1 for a single volume",
            )
    elif ispg < 0:
        yield (
            "error",
            f"ISPG = {ispg}",
            "a space group must not be negative",
            "write 0 for images, 1 for a volume",
        )
    elif ispg > 230:
        yield (
            "warning",
            f"ISPG = {ispg}",
            "neither images (0), a volume (1-230) nor volumes (401-630): read as one volume",
            "write 0 for images, 1 for a volume",
        )
    else:
        what = "images" if ispg == 0 else "a volume"
        yield ("ok", f"ISPG = {ispg}, {what}")


def _map_word(facts: Facts) -> Iterator[Outcome]:
    word = facts.raw[208:212]
    if word == b"MAP ":
        yield ("ok", "'MAP '")
    elif facts.before_2000:
        yield (
            "error",
            "bytes 208-219 hold the origin, as they did before 2000",
            "programs recognise MRC files by the identifier 'MAP '; they misread the origin as "
            "identifier, stamp and RMS",
            _CONVERT,
        )
    else:
        yield (
            "error",
            f"bytes 208-211 are {word!r}",
            "programs recognise MRC files by the identifier 'MAP '",
            "write 'MAP ' there",
        )


def _stamp(facts: Facts) -> Iterator[Outcome]:
    stamp = facts.raw[212:216].hex(" ")
    says = None if facts.before_2000 else STAMPS.get(facts.raw[212:214])
    right = {"<": "44 44 00 00", ">": "11 11 00 00"}[facts.order]
    if says == facts.order:
        yield ("ok", f"{stamp}, {ORDER_NAMES[says]}")
        return
    if facts.before_2000:
        yield (
            "error",
            f"none: its bytes contain part of the origin; the header is {ORDER_NAMES[facts.order]}",
            "programs that rely on the stamp may read every number with its bytes reversed",
            _CONVERT,
        )
        return
    what = "is not defined by MRC2014" if says is None else f"means {ORDER_NAMES[says]}"
    yield (
        "error",
        f"{stamp} {what}, but the header is {ORDER_NAMES[facts.order]}",
        "programs that rely on the stamp read every number with its bytes reversed, or fail",
        f"write {right} to bytes 212-215",
    )


def _version(facts: Facts) -> Iterator[Outcome]:
    (version,) = facts.ints("nversion")
    if version in MRC2014_VERSIONS:
        yield ("ok", f"NVERSION = {version}")
    else:
        yield (
            "error",
            f"NVERSION = {version}",
            "the file does not declare MRC2014: older formats use some fields differently",
            "write 20141, if the fields are those of MRC2014",
        )


def _labels(facts: Facts) -> Iterator[Outcome]:
    (count,) = facts.ints("nlabl")
    used = [bool(bytes(label).strip(b"\0 \t\r\n")) for label in facts.values["label"]]
    n_used = sum(used)
    if count != n_used or not all(used[:n_used]):
        gaps = "" if all(used[:n_used]) else ", with empty labels in between"
        yield (
            "error",
            f"NLABL = {count}, but {n_used} of 10 labels contain text{gaps}",
            "programs show the first NLABL labels and append new ones after them",
            "move the text to the first labels and write their number to NLABL",
        )
    else:
        yield ("ok", f"{count} in use")


def _statistics(facts: Facts) -> Iterator[Outcome]:
    dmin, dmax, dmean, rms = (
        float(facts.values[name]) for name in ("dmin", "dmax", "dmean", "rms")
    )
    found = f"DMIN, DMAX, DMEAN, RMS = {dmin:g}, {dmax:g}, {dmean:g}, {rms:g}"
    if facts.before_2000:
        rms, found = -1, f"DMIN, DMAX, DMEAN = {dmin:g}, {dmax:g}, {dmean:g}"
    if not all(map(math.isfinite, (dmin, dmax, dmean, rms))):
        yield (
            "warning",
            found,
            "they are NaN or infinite; MRC2014 marks undetermined statistics with DMAX < DMIN",
            "write DMIN = 0, DMAX = -1, DMEAN = -2, RMS = -1",
        )
    else:
        undetermined = dmax < dmin and dmean < min(dmin, dmax) and rms < 0
        yield ("ok", "undetermined" if undetermined else f"{found}, not compared")


def _file_size(facts: Facts) -> Iterator[Outcome]:
    header, size = facts.header, facts.file_size
    data = None if header is None else header.data_bytes
    if header is None or facts.doubt is not None:
        return  # reported by another check
    if size is None or data is None:
        why = "the size is unknown" if size is None else "the sections are compressed"
        yield (
            "warning",
            f"not checked: {why}",
            "truncation is not detected here",
            "compare the statistics, which reads all data",
        )
        return
    expected = header.data_offset + data
    found = f"{size} bytes, the header announces {expected}"
    if size < expected:
        yield (
            "error",
            found,
            f"{expected - size} bytes of data are missing",
            "finish the acquisition or copy the file again; allow_truncated=True loads the "
            "complete frames",
        )
    elif size > expected:
        yield (
            "error",
            found,
            f"the meaning of the other {size - expected} bytes is unknown: NX, NY, NZ, MODE or "
            "NSYMBT may be wrong",
            "correct the header, or truncate the file after its data",
        )
    else:
        yield ("ok", f"{size} bytes, as announced")


CHECKS: dict[str, Callable[[Facts], Iterator[Outcome]]] = {
    "map word": _map_word,
    "machine stamp": _stamp,
    "version": _version,
    "dimensions": _size,
    "mode": _mode,
    "space group": _space_group,
    "axis order": _axis_order,
    "sampling": _sampling,
    "cell": _cell,
    "extended header": check_extended_header,
    "labels": _labels,
    "file size": _file_size,
    "statistics": _statistics,
}
"""By name, in the order of the header."""
