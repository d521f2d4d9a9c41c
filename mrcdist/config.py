"""Knobs of the read path, in dask's configuration under ``mrcdist``."""

from __future__ import annotations

from dataclasses import dataclass

import dask

from mrcdist.errors import ArgumentError

__all__ = ["DEFAULTS", "ReadSettings", "read_settings"]

DEFAULTS = {
    # Object stores give one connection 60-90 MB/s; ranges of 8-16 MB, several at a time, add up.
    "sub-range": 16 * 2**20,
    "concurrency": 8,
    # Requests in flight in one process, whatever the number of tasks.
    "process-concurrency": 16,
    # Unwanted bytes that are cheaper to fetch than another request.
    "max-gap": 2**20,
    "retries": 5,
    # Seconds after which a byte range that keeps failing is given up.
    "deadline": 120.0,
    # "auto": map on local disks, read on network filesystems.
    "io": "auto",
}

dask.config.update_defaults({"mrcdist": DEFAULTS})


@dataclass(frozen=True)
class ReadSettings:
    """The knobs as this process has them; see the README for their meaning and defaults."""

    sub_range: int
    concurrency: int
    process_concurrency: int
    max_gap: int
    retries: int
    deadline: float
    io: str


def read_settings() -> ReadSettings:
    """Read the knobs from dask's configuration.

    Raises
    ------
    ArgumentError
        A value is of the wrong type or out of range.
    """
    found = {key: dask.config.get(f"mrcdist.{key}", default) for key, default in DEFAULTS.items()}
    for key, least in (
        ("sub-range", 1),
        ("concurrency", 1),
        ("process-concurrency", 1),
        ("max-gap", 0),
        ("retries", 0),
        ("deadline", 0),
    ):
        value = found[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or value < least:
            raise ArgumentError(
                f"dask configuration mrcdist.{key} = {value!r}",
                cause=f"a number of at least {least} is needed",
                remedy=f"leave it out for the default, {DEFAULTS[key]}",
            )
    if found["io"] not in ("auto", "map", "read"):
        raise ArgumentError(
            f"dask configuration mrcdist.io = {found['io']!r}",
            cause="local files are mapped or read",
            remedy='use "auto", "map" or "read"',
        )
    return ReadSettings(**{key.replace("-", "_"): value for key, value in found.items()})
