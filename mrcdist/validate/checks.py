"""Checks whether a file conforms to MRC2014: header bytes and file size → findings.

An error is a violation of MRC2014 or damage: other programs may refuse or misread the file, even if
mrcdist reads it. A warning is unusual but allowed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from mrcdist.errors import FormatError
from mrcdist.format.byte_order import ByteOrder, choose_order
from mrcdist.format.extended.presence import presence_bytes, settle_presence
from mrcdist.format.extended.registry import extended_kind
from mrcdist.format.header import HEADER_BYTES, Header, parse_header
from mrcdist.validate.findings import Facts, Finding, Severity
from mrcdist.validate.header_checks import CHECKS

__all__ = [
    "Finding",
    "Severity",
    "Statistics",
    "check_file",
    "check_statistics",
    "extended_bytes_wanted",
]

# Statistics are often computed before the data are rounded to the pixel type of the file.
_TOLERANCE = 0.01
_NEARLY_ZERO = 1e-8


@dataclass(frozen=True)
class Statistics:
    """Minimum, maximum, mean and standard deviation (RMS) of the data."""

    dmin: float
    dmax: float
    dmean: float
    rms: float


def extended_bytes_wanted(header: Header) -> int:
    """Return the number of bytes after the main header that `check_file` needs.

    4 for FEI extended headers, which begin with the size of their records; all if the size of the
    file does not show whether the extended header is present.
    """
    kind = extended_kind(header)
    stated = 4 if kind is not None and kind.name in ("FEI1", "FEI2") else 0
    return max(stated, presence_bytes(header))


def check_file(
    raw: bytes,
    *,
    file_size: int | None,
    extended_start: bytes = b"",
    endianness: ByteOrder | None = None,
) -> tuple[Finding, ...]:
    """Check everything that does not require the pixels.

    Never raises an error, whatever the bytes.

    Parameters
    ----------
    raw : bytes
        The first 1024 bytes of the file, or fewer if it is shorter.
    file_size : int or None
        Size of the file in bytes; None if unknown, as for compressed files.
    extended_start : bytes, optional
        The `extended_bytes_wanted` bytes after the main header.
    endianness : {"<", ">"}, optional
        Byte order to use if the file is ambiguous.

    Returns
    -------
    tuple of Finding
        At least one per check, in the order of the header; a single error if the file is not an
        MRC file.
    """
    header, refused = _parse(raw, file_size, endianness)
    if len(raw) < HEADER_BYTES or (refused is not None and raw[208:211] != b"MAP"):
        assert refused is not None  # noqa: S101 a short header is always refused
        return (refused,)
    raw = raw[:HEADER_BYTES]
    order = choose_order(raw, file_size, endianness)[0]
    values = np.frombuffer(raw, HEADER_DTYPE.newbyteorder(order))[0]
    header, doubt = _settle(header, extended_start)
    facts = Facts(raw, values, order, header, file_size, extended_start, doubt)
    findings = [Finding(name, *found) for name, check in CHECKS.items() for found in check(facts)]
    if refused is not None and all(finding.severity != "error" for finding in findings):
        findings.append(refused)
    return tuple(findings)


def check_statistics(header: Header, actual: Statistics) -> tuple[Finding, ...]:
    """Compare the statistics in the header with those of the data.

    Minimum and maximum must be equal in float32. RMS must agree within 1 %, the mean within 1 % of
    itself or of the RMS: the mean of normalised data is about 0, and programs round it differently.
    Values marked as undetermined are not compared, nor the RMS of headers written before 2000,
    which have none.

    Parameters
    ----------
    header : Header
    actual : Statistics
        Statistics of the data.
    """
    values = np.frombuffer(header.raw, HEADER_DTYPE.newbyteorder(header.byteorder))[0]
    dmin, dmax, dmean, rms = (float(values[name]) for name in ("dmin", "dmax", "dmean", "rms"))
    room = max(_TOLERANCE * max(abs(dmean), actual.rms), _NEARLY_ZERO)
    compared: dict[str, tuple[float, float, bool]] = {}
    if dmin < dmax:
        compared["DMIN"] = dmin, actual.dmin, dmin == np.float32(actual.dmin)
        compared["DMAX"] = dmax, actual.dmax, dmax == np.float32(actual.dmax)
    if dmean > min(dmin, dmax):
        compared["DMEAN"] = dmean, actual.dmean, abs(actual.dmean - dmean) <= room
    if rms >= 0 and not header.before_2000:
        close = math.isclose(rms, actual.rms, rel_tol=_TOLERANCE, abs_tol=_NEARLY_ZERO)
        compared["RMS"] = rms, actual.rms, close
    wrong = [
        f"{name} = {said:.7g}, the data have {found:.7g}"
        for name, (said, found, same) in compared.items()
        if not same
    ]
    if not wrong:
        right = f"{', '.join(compared)} agree with the data" if compared else "undetermined"
        return (Finding("statistics", "ok", right),)
    return tuple(
        Finding(
            "statistics",
            "error",
            words,
            "programs use these values to scale the display and to choose thresholds",
            "write the correct values, or mark them as undetermined: DMIN = 0, DMAX = -1, "
            "DMEAN = -2, RMS = -1",
        )
        for words in wrong
    )


def _settle(
    header: Header | None, extended_start: bytes
) -> tuple[Header | None, FormatError | None]:
    if header is None or not presence_bytes(header):
        return header, None
    try:
        return settle_presence(header, extended_start), None
    except FormatError as error:
        return header, error


def _parse(
    raw: bytes, file_size: int | None, endianness: ByteOrder | None
) -> tuple[Header | None, Finding | None]:
    try:
        return parse_header(raw, file_size=file_size, endianness=endianness), None
    except FormatError as error:
        return None, Finding("format", "error", error.problem, error.cause, error.remedy)
