"""Checks whether a file conforms to MRC2014: header bytes and file size → findings.

An error is a violation of MRC2014 or damage: other programs may refuse or misread the file, even if
mrcdist reads it. A warning is unusual but allowed. The rules are those of the specification (Cheng
et al., J. Struct. Biol. 192, 2015, 146-150, and CCP-EM's page of the format).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from mrcdist.errors import FormatError
from mrcdist.format.byte_order import ORDER_NAMES, STAMPS, ByteOrder, choose_order
from mrcdist.format.extended.corrections import presence_bytes, settle_presence
from mrcdist.format.extended.registry import possible_decoders
from mrcdist.format.header import (
    HEADER_BYTES,
    MRC2014_EXTENDED,
    MRC2014_VERSIONS,
    Header,
    parse_header,
)
from mrcdist.format.header_words import header_words
from mrcdist.format.modes import KNOWN_MODES, MRCZ_MODES
from mrcdist.validate.findings import Facts, Finding, error, failure, ok, warning

_IMOD_RGB = 16
_MODES = KNOWN_MODES.keys() - {_IMOD_RGB}
_CONVERT = (
    "convert the file with a program that supports headers from before 2000, such as IMOD's "
    "newstack"
)


def check_file(
    raw: bytes,
    *,
    file_size: int | None,
    read: Callable[[int, int], bytes] = lambda start, stop: b"",
    endianness: ByteOrder | None = None,
) -> tuple[Header | None, tuple[Finding, ...]]:
    """Check everything that does not require the pixels; whatever the bytes, nothing is raised.

    `raw` are the first 1024 bytes of the file, or fewer if it is shorter; the size is None if
    unknown, as for compressed files. `read` is called for the first bytes of the extended header if
    they determine the size of its records, or whether it is present. The byte order is used if the
    file is ambiguous.

    Returns the header, if it can be parsed, and at least one finding per check, in the order of the
    header; a single error if the file is not an MRC file.
    """
    header, parse_failure = None, None
    try:
        header = parse_header(raw, file_size=file_size, endianness=endianness)
    except FormatError as problem:
        parse_failure = failure("format", problem)
        if len(raw) < HEADER_BYTES or raw[208:211] != b"MAP":
            return None, (parse_failure,)
    corrected, doubt, extended = header, None, b""
    if header is not None:
        decoders, presence = possible_decoders(header), presence_bytes(header)
        record_size = max((decoder.size_bytes for decoder in decoders), default=0)
        if length := max(record_size, presence):
            extended = read(HEADER_BYTES, HEADER_BYTES + length)
        if presence:
            try:
                corrected = settle_presence(header, extended)
            except FormatError as problem:
                doubt = problem
    raw = raw[:HEADER_BYTES]
    order = choose_order(raw, file_size, endianness)[0]
    facts = Facts(raw, header_words(raw, order), order, corrected, file_size, extended, doubt)
    results = [(name, check(facts)) for name, check in _CHECKS]
    findings = [replace(finding, check=name) for name, finding in results if finding is not None]
    # Any problem of parsing should be an error of some check.
    if parse_failure is not None and all(finding.severity != "error" for finding in findings):
        findings.append(parse_failure)
    return header, tuple(findings)


def _size(facts: Facts) -> Finding:
    nx, ny, nz = facts.ints("nx", "ny", "nz")
    found = f"NX, NY, NZ = {nx}, {ny}, {nz}"
    if nx <= 0 or ny <= 0 or nz < 0:
        return error(
            found,
            "an image has at least one column and one row, and no dimension is negative",
            "restore the header from a copy, or write the correct dimensions",
        )
    if nz == 0:
        return warning(
            found,
            "the file announces no data",
            "none needed if the acquisition ended before its first frame",
        )
    return ok(found)


def _mode(facts: Facts) -> Finding:
    (mode,) = facts.ints("mode")
    if mode in _MODES:
        return ok(f"{mode} ({KNOWN_MODES[mode]})")
    if mode == _IMOD_RGB:
        meaning = "IMOD's RGB in three bytes, not part of MRC2014"
    elif mode in MRCZ_MODES:
        meaning = f"MRCZ, mode {mode % 1000} compressed, not part of MRC2014"
    else:
        meaning = "not a mode of MRC2014"
    known = ", ".join(map(str, sorted(_MODES)))
    return error(
        f"{mode}: {meaning}",
        "programs that do not support the mode do not know the size of a pixel",
        f"convert the file to one of the modes {known}, or use programs that support this mode",
    )


def _packing(facts: Facts) -> Finding | None:
    if facts.header is None or facts.header.packing is None:
        return None
    sign = "IMOD's flag 16" if facts.header.packing == "flag" else 'the label "4 bits packed"'
    return warning(
        f"{sign}: each byte contains two 4-bit pixels, the image has 2 NX columns",
        "programs that do not support this show NX columns of meaningless values",
        "use mode 101 of MRC2014",
    )


def _sampling(facts: Facts) -> Finding:
    counts = facts.ints("mx", "my", "mz")
    found = f"MX, MY, MZ = {', '.join(map(str, counts))}"
    if facts.header is not None and facts.header.by_mrcz and counts[:2] == (0, 0):
        return warning(
            f"{found}, as written by the mrcz package",
            "the pixel size is the cell length divided by the number of pixels; programs that "
            "follow MRC2014 find none",
            "write the number of pixels along the cell, for such programs",
        )
    return _calibration(found, counts)


def _cell(facts: Facts) -> Finding:
    edges = tuple(float(facts.values["cella"][axis]) for axis in "xyz")
    return _calibration(f"CELLA = {', '.join(f'{edge:g}' for edge in edges)} Å", edges)


def _calibration(found: str, numbers: tuple[float, ...]) -> Finding:
    """Check that cell or sampling, whose ratio is the pixel size, is positive, or 0 if unknown."""
    if min(numbers) < 0:
        return error(
            found,
            "with negative values, the pixel size is negative or undefined",
            "write the correct values, or 0 if the pixel size is unknown",
        )
    if not all(0 < number < math.inf for number in numbers):
        return warning(
            found,
            "the pixel size is undefined",
            "write the cell lengths in Å and the number of pixels along them, if known",
        )
    return ok(found)


def _axis_order(facts: Facts) -> Finding:
    order = facts.ints("mapc", "mapr", "maps")
    found = f"MAPC, MAPR, MAPS = {', '.join(map(str, order))}"
    if sorted(order) == [1, 2, 3]:
        return ok(found)
    return error(
        found,
        "it must be a permutation of 1, 2, 3: the meaning of the axes is unknown",
        "write 1, 2, 3, if columns are X and rows are Y",
    )


def _space_group(facts: Facts) -> Finding:
    ispg, nz, mz = facts.ints("ispg", "nz", "mz")
    found = f"ISPG = {ispg}"
    if 401 <= ispg <= 630:
        found = f"{found}, a stack of volumes of MZ = {mz} sections, NZ = {nz}"
        if mz > 0 and nz % mz == 0:
            return ok(found)
        return error(
            found,
            "NZ must be a multiple of MZ: the size of a volume is unknown",
            "write the number of sections of one volume to MZ, or ISPG = 1 for a single volume",
        )
    write = "write 0 for images, 1 for a volume"
    if ispg < 0:
        return error(found, "a space group must not be negative", write)
    if ispg > 230:
        return warning(
            found,
            "neither images (0), a volume (1-230) nor volumes (401-630): read as one volume",
            write,
        )
    return ok(f"{found}, {'images' if ispg == 0 else 'a volume'}")


def _map_word(facts: Facts) -> Finding:
    word = facts.raw[208:212]
    if word == b"MAP ":
        return ok("'MAP '")
    if facts.before_2000:
        return error(
            "bytes 208-219 hold the origin, as they did before 2000",
            "programs recognise MRC files by the identifier 'MAP '; they misread the origin as "
            "identifier, stamp and RMS",
            _CONVERT,
        )
    return error(
        f"bytes 208-211 are {word!r}",
        "programs recognise MRC files by the identifier 'MAP '",
        "write 'MAP ' there",
    )


def _stamp(facts: Facts) -> Finding:
    stamp, order = facts.raw[212:216].hex(" "), ORDER_NAMES[facts.order]
    if facts.before_2000:
        return error(
            f"none: its bytes contain part of the origin; the header is {order}",
            "programs that rely on the stamp may read every number with its bytes reversed",
            _CONVERT,
        )
    stamped = STAMPS.get(facts.raw[212:214])
    if stamped == facts.order:
        return ok(f"{stamp}, {order}")
    meaning = "is not defined by MRC2014" if stamped is None else f"means {ORDER_NAMES[stamped]}"
    correct = {"<": "44 44 00 00", ">": "11 11 00 00"}[facts.order]
    return error(
        f"{stamp} {meaning}, but the header is {order}",
        "programs that rely on the stamp read every number with its bytes reversed, or fail",
        f"write {correct} to bytes 212-215",
    )


def _version(facts: Facts) -> Finding:
    (version,) = facts.ints("nversion")
    found = f"NVERSION = {version}"
    if version in MRC2014_VERSIONS:
        return ok(found)
    return error(
        found,
        "the file does not declare MRC2014: older formats use some fields differently",
        "write 20141, if the fields are those of MRC2014",
    )


def _labels(facts: Facts) -> Finding:
    (count,) = facts.ints("nlabl")
    used = [bool(bytes(label).strip(b"\0 \t\r\n")) for label in facts.values["label"]]
    n_used = sum(used)
    contiguous = all(used[:n_used])
    if count == n_used and contiguous:
        return ok(f"{count} in use")
    gaps = "" if contiguous else ", with empty labels in between"
    return error(
        f"NLABL = {count}, but {n_used} of 10 labels contain text{gaps}",
        "programs show the first NLABL labels and append new ones after them",
        "move the text to the first labels and write their number to NLABL",
    )


def _statistics(facts: Facts) -> Finding:
    names = ("dmin", "dmax", "dmean") if facts.before_2000 else ("dmin", "dmax", "dmean", "rms")
    values = [float(facts.values[name]) for name in names]
    found = f"{', '.join(names).upper()} = {', '.join(f'{value:g}' for value in values)}"
    if not all(map(math.isfinite, values)):
        return warning(
            found,
            "they are NaN or infinite; MRC2014 marks undetermined statistics with DMAX < DMIN",
            "write DMIN = 0, DMAX = -1, DMEAN = -2, RMS = -1",
        )
    dmin, dmax, dmean, rms = (*values, -1.0)[:4]
    undetermined = dmax < dmin and dmean < min(dmin, dmax) and rms < 0
    return ok("undetermined" if undetermined else f"{found}, not compared")


def _file_size(facts: Facts) -> Finding | None:
    header, size = facts.header, facts.file_size
    if header is None or facts.doubt is not None:
        return None  # reported by another check
    data = header.data_bytes
    if size is None or data is None:
        reason = "the size is unknown" if size is None else "the sections are compressed"
        return warning(
            f"not checked: {reason}",
            "truncation is not detected here",
            "compare the statistics, which reads all data",
        )
    expected = header.data_offset + data
    found = f"{size} bytes, but the header announces {expected}"
    if size < expected:
        return error(
            found,
            f"{expected - size} bytes of data are missing",
            "finish the acquisition or copy the file again; `allow_truncated=True` loads the "
            "complete frames",
        )
    if size > expected:
        return error(
            found,
            f"the meaning of the other {size - expected} bytes is unknown: NX, NY, NZ, MODE or "
            "NSYMBT may be wrong",
            "correct the header, or truncate the file after its data",
        )
    return ok(f"{size} bytes, as announced")


def _extended_header(facts: Facts) -> Finding:
    (nsymbt,), header = facts.ints("nsymbt"), facts.header
    found = f"NSYMBT = {nsymbt}"
    if nsymbt == 0:
        if header is None or header.nsymbt <= 0:
            return ok("none")
        return error(
            f"{found}, but there is an extended header of {header.nsymbt} bytes, "
            f"type {header.exttyp}",
            "programs that trust NSYMBT read shifted data",
            f"write NSYMBT = {header.nsymbt}",
        )
    absent = header is not None and header.nsymbt == 0
    beyond = facts.file_size is not None and HEADER_BYTES + nsymbt > facts.file_size
    if nsymbt < 0 or (beyond and not absent):
        return error(
            found if nsymbt < 0 else f"{found} bytes in a file of {facts.file_size} bytes",
            "the data begin after the extended header, at an unknown position",
            "restore the header from a copy; write NSYMBT = 0 if the data begin at byte 1024",
        )
    if facts.doubt is not None:
        return failure("", facts.doubt)
    if absent:
        return error(
            f"{found}, but main header and data fill the file: there is no extended header",
            "programs that trust NSYMBT read shifted data or miss the end",
            "write NSYMBT = 0",
        )
    exttyp = facts.raw[104:108]
    if exttyp in MRC2014_EXTENDED:
        return ok(f"{found} bytes, {exttyp.decode()}")
    shown = f"{exttyp!r}" if exttyp.strip(b"\0 ") else "empty"
    return error(
        f"{found} bytes, EXTTYP is {shown}",
        "the format of the extended header is unknown",
        f"write its type: {', '.join(known.decode() for known in MRC2014_EXTENDED)}",
    )


def _records(facts: Facts) -> Finding | None:
    """Check that the extended header has space for a record per section."""
    header = facts.header
    if header is None or facts.doubt is not None or 0 in (header.nsymbt, *facts.ints("nsymbt")):
        return None  # reported by the previous check, as is the next case
    if facts.file_size is not None and header.data_offset > facts.file_size:
        return None
    size = possible_decoders(header)[0].record_bytes(facts.extended_start)  # 0 for text
    needed = size * header.nz
    if needed <= header.nsymbt:
        return None
    return warning(
        f"records of {size} bytes for {header.nz} sections need {needed} bytes, "
        f"there are {header.nsymbt}",
        "the last sections have no record: their tilt, exposure and so on are unknown",
        "write the extended header again from the source",
    )


# In the order of the header.
_CHECKS: tuple[tuple[str, Callable[[Facts], Finding | None]], ...] = (
    ("map word", _map_word),
    ("machine stamp", _stamp),
    ("version", _version),
    ("dimensions", _size),
    ("mode", _mode),
    ("mode", _packing),
    ("space group", _space_group),
    ("axis order", _axis_order),
    ("sampling", _sampling),
    ("cell", _cell),
    ("extended header", _extended_header),
    ("extended header", _records),
    ("labels", _labels),
    ("file size", _file_size),
    ("statistics", _statistics),
)
