"""Validation of a file: reads what the checks need, and reports their findings."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dask
import numpy as np

from mrcdist.discover.files import FoundFiles
from mrcdist.errors import FormatError, SidecarError, TruncatedFileError
from mrcdist.format.header import HEADER_BYTES, Header
from mrcdist.format.header_words import header_words
from mrcdist.format.whole_file_compression import detect_compression, parallel_advice
from mrcdist.formatting import format_count
from mrcdist.options import ReadOptions
from mrcdist.planner import make_plan
from mrcdist.progress import TaskProgress
from mrcdist.read.compressed import STREAMS, StreamReader
from mrcdist.read_limits import DEFAULT_LIMITS
from mrcdist.storage.location import Location
from mrcdist.storage.stored_file import StoredFile
from mrcdist.validate.checks import check_file
from mrcdist.validate.findings import Finding, Severity, failure

# Small, because reductions make float64 copies of each chunk.
_STATISTICS_CHUNKS = "32 MiB"
# Statistics are often computed before rounding to the pixel type of the file.
_RELATIVE_TOLERANCE = 0.01
_ABSOLUTE_TOLERANCE = 1e-8


@dataclass(frozen=True)
class ValidationReport:
    """Result of a validation, in the order of the header; print it for a summary.

    The URL is redacted.
    """

    url: str
    findings: tuple[Finding, ...]

    @property
    def valid(self) -> bool:
        """Whether the file conforms to MRC2014: no finding is an error."""
        return all(finding.severity != "error" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as a dict of JSON-serialisable values."""
        return {
            "url": self.url,
            "valid": self.valid,
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
        }

    def __str__(self) -> str:
        lines = [self.url]
        for finding in self.findings:
            lines.append(f"  {finding.severity:<8} {finding.check:<16} {finding.found}")
            details = {"why": finding.matters, "remedy": finding.remedy}
            lines += [f"{'':<28}{label}: {text}" for label, text in details.items() if text]
        severities = [finding.severity for finding in self.findings]
        counts = [
            format_count(n, severity)
            for severity in ("error", "warning")
            if (n := severities.count(severity))
        ]
        verdict = "valid" if self.valid else "not valid"
        return "\n".join([*lines, f"{verdict}{': ' if counts else ''}{', '.join(counts)}"])


def validate(
    url: str | os.PathLike[str],
    *,
    statistics: bool = False,
    options: ReadOptions | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> ValidationReport:
    """Check whether a file, at a path or any fsspec URL, conforms to MRC2014: a few small reads.

    With `statistics`, also compare minimum, maximum, mean and RMS in the header with those of the
    data: this reads the whole file, in parallel with dask. Of the options, only `endianness` and,
    for the statistics, `mode0` and `metadata_file` are used.

    Raises `MissingFileError`, `AccessDeniedError` or `ReadError` if the file cannot be read;
    problems of the file itself are findings.
    """
    options = options or ReadOptions()
    location = Location.of(url, storage_options, "url")
    file, raw, _ = StoredFile.open(location, HEADER_BYTES, DEFAULT_LIMITS)
    size = file.version.size
    findings: list[Finding] = []

    compression = detect_compression(raw)
    if compression is not None:
        readable = compression in STREAMS
        advice = parallel_advice(compression, location.name)
        severity: Severity = "warning" if readable else "error"
        findings.append(Finding("compression", severity, compression, *advice))
        if not readable:
            return ValidationReport(location.shown, tuple(findings))
        size = None

    def read(start: int, stop: int) -> bytes:
        if compression is None:
            return file.read(start, stop if size is None else min(stop, size))
        return StreamReader(file, compression, DEFAULT_LIMITS).head(stop)[start:]

    try:
        header, checked = check_file(
            raw if compression is None else read(0, HEADER_BYTES),
            file_size=size,
            read=read,
            endianness=options.endianness,
        )
    except TruncatedFileError as error:
        return ValidationReport(location.shown, (*findings, failure("compression", error)))
    findings += checked
    if statistics and header is not None:
        findings = [f for f in findings if (f.check, f.severity) != ("statistics", "ok")]
        sound = all(finding.severity != "error" for finding in findings)
        findings += _compare_statistics(location, header, options, sound=sound)
    return ValidationReport(location.shown, tuple(findings))


def _compare_statistics(
    location: Location, header: Header, options: ReadOptions, *, sound: bool
) -> tuple[Finding, ...]:
    """Compute the statistics of the data, one task per chunk, and compare them."""
    if header.nz == 0:
        return (Finding("statistics", "ok", "the file contains no data"),)
    options = dataclasses.replace(
        options,
        chunks=_STATISTICS_CHUNKS,
        navigation_shape=(header.nz,),
        # The sidecar is needed only for mode 0, to find out whether bytes are signed.
        metadata_file=options.metadata_file if header.mode == 0 else None,
    )
    try:
        plan = make_plan(FoundFiles.of(location), options)
        if plan.dtype.kind == "c" or plan.layout.pixels.components:
            kind = "colours" if plan.layout.pixels.components else "complex numbers"
            return (Finding("statistics", "ok", f"not compared: {kind} cannot be ordered"),)
        data = plan.to_dask()
        with TaskProgress(f"comparing {location.name}"):
            computed = dask.compute(
                data.min(), data.max(), data.mean(dtype="f8"), data.std(dtype="f8")
            )
    except FormatError as error:
        if sound and not isinstance(error, SidecarError):
            return (failure("data", error),)
        problem = f"not compared: {error.problem}"
        return (Finding("statistics", "warning", problem, error.cause, error.remedy),)
    return _check_statistics(header, *map(float, computed))


def _check_statistics(
    header: Header, minimum: float, maximum: float, mean: float, deviation: float
) -> tuple[Finding, ...]:
    """Compare the statistics in the header with those of the data.

    Minimum and maximum must be equal in float32. RMS must agree within 1 %, the mean within 1 % of
    itself or of the RMS: the mean of normalised data is about 0, and programs round it differently.
    Values marked as undetermined are not compared; headers written before 2000 have no RMS.
    """
    values = header_words(header.raw, header.byteorder)
    dmin, dmax, dmean, rms = (float(values[name]) for name in ("dmin", "dmax", "dmean", "rms"))
    tolerance = max(_RELATIVE_TOLERANCE * max(abs(dmean), deviation), _ABSOLUTE_TOLERANCE)
    compared: dict[str, tuple[float, float, bool]] = {}
    if dmin < dmax:
        compared["DMIN"] = dmin, minimum, dmin == np.float32(minimum)
        compared["DMAX"] = dmax, maximum, dmax == np.float32(maximum)
    if dmean > min(dmin, dmax):
        compared["DMEAN"] = dmean, mean, abs(mean - dmean) <= tolerance
    if rms >= 0 and not header.before_2000:
        close = math.isclose(
            rms, deviation, rel_tol=_RELATIVE_TOLERANCE, abs_tol=_ABSOLUTE_TOLERANCE
        )
        compared["RMS"] = rms, deviation, close
    errors = [
        Finding(
            "statistics",
            "error",
            f"{name} = {stored:.7g}, the data have {computed:.7g}",
            "programs use these values to scale the display and to choose thresholds",
            "write the correct values, or mark them as undetermined: DMIN = 0, DMAX = -1, "
            "DMEAN = -2, RMS = -1",
        )
        for name, (stored, computed, agrees) in compared.items()
        if not agrees
    ]
    agreement = f"{', '.join(compared)} agree with the data" if compared else "undetermined"
    return tuple(errors) or (Finding("statistics", "ok", agreement),)
