"""Settings in dask's configuration: for reading, under ``mrcdist``, and the default chunk size."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import dask
from dask.utils import parse_bytes

from mrcdist.errors import ArgumentError
from mrcdist.remembered import Remembered

__all__ = ["DEFAULTS", "ReadSettings", "default_chunk_bytes", "parse_size", "read_settings"]

DEFAULTS = {
    # Bytes per request. A connection to an object store has 60-90 MB/s, so several are used.
    "sub-range": 8 * 2**20,
    # Requests in flight per task, and per process.
    "concurrency": 8,
    "process-concurrency": 16,
    # Largest gap between byte ranges that are fetched with one request: latency × bandwidth of a
    # connection, see `mrcdist.plan.coalesce`. "auto": measured, starting from 1 MiB.
    "max-gap": "auto",
    # Upper bound on bytes fetched per byte requested; lower it where egress is billed.
    "amplification": math.inf,
    # Number of times a failed range is retried, and seconds after which it no longer is.
    "retries": 10,
    "deadline": 120.0,
    # Seconds without data after which an attempt counts as failed.
    "stall": 15.0,
    # "strict": any other version of the file is an error. "size": only another size is.
    # "off": only missing bytes are.
    "consistency": "strict",
    # "auto": map files on local disks, read files on network filesystems.
    "io": "auto",
    # Batch programs: seconds in which a scheduler has to answer; and in which its first workers, or
    # the scheduler's file, have to be there.
    "scheduler-timeout": 60.0,
    "workers-timeout": 300.0,
}

# Each setting that is a number: the least one, and whether it is whole.
_NUMBERS = {
    "sub-range": (1, True),
    "concurrency": (1, True),
    "process-concurrency": (1, True),
    "max-gap": (0, True),
    "amplification": (1, False),
    "retries": (0, True),
    "deadline": (0, False),
    "stall": (0.001, False),
    "scheduler-timeout": (0.001, False),
    "workers-timeout": (0, False),
}
_CHOICES = {
    "io": ("auto", "map", "read"),
    "consistency": ("strict", "size", "off"),
}

_SIZES = ("sub-range", "max-gap")

dask.config.update_defaults({"mrcdist": DEFAULTS})

# Every task reads the settings, but they hardly ever change.
_understood: Remembered[str, ReadSettings] = Remembered(100)


@dataclass(frozen=True)
class ReadSettings:
    """Validated settings of this process; docs/reference/settings.md explains them."""

    sub_range: int
    concurrency: int
    process_concurrency: int
    max_gap: int | None
    amplification: float
    retries: int
    deadline: float
    stall: float
    consistency: str
    io: str
    scheduler_timeout: float
    workers_timeout: float


def read_settings() -> ReadSettings:
    """Return the settings in dask's configuration.

    Raises
    ------
    ArgumentError
        A value has the wrong type or is out of range.
    """
    written = copy.copy(dask.config.get("mrcdist", {}) or {})
    as_text = repr(written)
    return _understood.get(as_text) or _understood.keep(as_text, _understand(written))


def _understand(written: dict[str, Any]) -> ReadSettings:
    found: dict[str, Any] = {
        key: dask.config.get(key, default, config=written) for key, default in DEFAULTS.items()
    }
    for key, (least, whole) in _NUMBERS.items():
        if key == "max-gap" and found[key] == "auto":
            found[key] = None
        else:
            found[key] = _number(key, found[key], least=least, whole=whole)
    for key, choices in _CHOICES.items():
        if found[key] not in choices:
            raise ArgumentError(
                f"dask configuration mrcdist.{key} = {found[key]!r}",
                code="setting-invalid",
                cause="not a valid choice",
                remedy="use " + ", ".join(f'"{choice}"' for choice in choices),
            )
    return ReadSettings(**{key.replace("-", "_"): value for key, value in found.items()})


def _number(key: str, given: Any, *, least: float, whole: bool) -> float:
    """Return a setting as a number; YAML's 16e6 is a float."""
    value: Any = parse_size(given) if key in _SIZES and isinstance(given, str) else given
    if value == "inf" and not whole:  # from an environment variable
        value = math.inf
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not value >= least or (whole and (value == math.inf or value % 1)):
        raise ArgumentError(
            f"dask configuration mrcdist.{key} = {given!r}",
            code="setting-invalid",
            cause=f"it must be a {'whole ' * whole}number of at least {least}"
            + ', or a size such as "8 MiB"' * (key in _SIZES),
            remedy=f"correct it, or remove it to use the default, {DEFAULTS[key]}",
        )
    return int(value) if whole else float(value)


def default_chunk_bytes() -> int:
    """Return the size of chunks where the caller gives none: dask's ``array.chunk-size``."""
    written = dask.config.get("array.chunk-size")
    size = parse_size(str(written))
    if size is None or size < 1:
        raise ArgumentError(
            f"dask configuration array.chunk-size = {written!r}",
            code="setting-invalid",
            cause="not a valid size in bytes",
            remedy='leave it out for the default, or set a size such as "128 MiB"',
        )
    return size


def parse_size(text: str) -> int | None:
    """Return the bytes of a size such as "8 MiB", or None if it is invalid."""
    try:
        return int(parse_bytes(text)) if text.strip() and text.isascii() else None
    except (ValueError, OverflowError):
        return None
