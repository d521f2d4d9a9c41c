"""Settings in dask's configuration: for reading, under ``mrcdist``, and the default chunk size."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field, fields
from typing import Any

import dask
from dask.utils import parse_bytes

from mrcdist.errors import ArgumentError
from mrcdist.remembered import Remembered


def _setting(default: Any, **rule: Any) -> Any:
    """A setting's default and what it may be: one of `choices`, or a number of at least `least`.

    Whether that is `whole`, and whether it may be a `size` such as "8 MiB".
    """
    return field(default=default, metadata=rule)


@dataclass(frozen=True)
class ReadSettings:
    """Validated settings of this process; docs/reference/settings.md explains them."""

    # Bytes per request. A connection to an object store has 60-90 MB/s, so several are used.
    sub_range: int = _setting(8 * 2**20, least=1, whole=True, size=True)
    # Requests in flight per task, and per process.
    concurrency: int = _setting(8, least=1, whole=True)
    process_concurrency: int = _setting(16, least=1, whole=True)
    # Largest gap between byte ranges that are fetched with one request: latency × bandwidth of a
    # connection, see `mrcdist.plan.coalesce`. "auto", which becomes None: measured, starting from
    # 1 MiB.
    max_gap: int | None = _setting("auto", least=0, whole=True, size=True)
    # Upper bound on bytes fetched per byte requested; lower it where egress is billed.
    amplification: float = _setting(math.inf, least=1)
    # Number of times a failed range is retried, and seconds after which it no longer is.
    retries: int = _setting(10, least=0, whole=True)
    deadline: float = _setting(120.0, least=0)
    # Seconds without data after which an attempt counts as failed.
    stall: float = _setting(15.0, least=0.001)
    # "strict": any other version of the file is an error. "size": only another size is.
    # "off": only missing bytes are.
    consistency: str = _setting("strict", choices=("strict", "size", "off"))
    # "auto": map files on local disks, read files on network filesystems.
    io: str = _setting("auto", choices=("auto", "map", "read"))
    # Batch programs: seconds in which a scheduler has to answer; and in which its first workers, or
    # the scheduler's file, have to be there.
    scheduler_timeout: float = _setting(60.0, least=0.001)
    workers_timeout: float = _setting(300.0, least=0)


_FIELDS = {setting.name.replace("_", "-"): setting for setting in fields(ReadSettings)}
DEFAULTS = {key: setting.default for key, setting in _FIELDS.items()}

dask.config.update_defaults({"mrcdist": DEFAULTS})

# Every task reads the settings, but they hardly ever change.
_understood: Remembered[str, ReadSettings] = Remembered(100)


def read_settings() -> ReadSettings:
    """Return the settings in dask's configuration; what is not valid is an `ArgumentError`."""
    written = copy.copy(dask.config.get("mrcdist", {}) or {})
    as_text = repr(written)
    return _understood.get(as_text) or _understood.keep(as_text, _understand(written))


def _understand(written: dict[str, Any]) -> ReadSettings:
    found = {}
    for key, setting in _FIELDS.items():
        given = dask.config.get(key, setting.default, config=written)
        if choices := setting.metadata.get("choices"):
            if given not in choices:
                raise _invalid(
                    f"dask configuration mrcdist.{key} = {given!r}",
                    "not a valid choice",
                    "use " + ", ".join(f'"{choice}"' for choice in choices),
                )
            found[setting.name] = given
        elif given == "auto" == setting.default:
            found[setting.name] = None
        else:
            found[setting.name] = _number(key, given, **setting.metadata)
    return ReadSettings(**found)


def _number(
    key: str, given: Any, *, least: float, whole: bool = False, size: bool = False
) -> float:
    """Return a setting as a number; YAML's 16e6 is a float."""
    value: Any = parse_size(given) if size and isinstance(given, str) else given
    if value == "inf" and not whole:  # from an environment variable
        value = math.inf
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not value >= least or (whole and (value == math.inf or value % 1)):
        raise _invalid(
            f"dask configuration mrcdist.{key} = {given!r}",
            f"it must be a {'whole ' * whole}number of at least {least}"
            + ', or a size such as "8 MiB"' * size,
            f"correct it, or remove it to use the default, {DEFAULTS[key]}",
        )
    return int(value) if whole else float(value)


def default_chunk_bytes() -> int:
    """Return the size of chunks where the caller gives none: dask's ``array.chunk-size``."""
    written = dask.config.get("array.chunk-size")
    size = parse_size(str(written))
    if size is None or size < 1:
        raise _invalid(
            f"dask configuration array.chunk-size = {written!r}",
            "not a valid size in bytes",
            'leave it out for the default, or set a size such as "128 MiB"',
        )
    return size


def parse_size(text: str) -> int | None:
    """Return the bytes of a size such as "8 MiB", or None if it is invalid."""
    try:
        return int(parse_bytes(text)) if text.strip() and text.isascii() else None
    except (ValueError, OverflowError):
        return None


def _invalid(problem: str, cause: str, remedy: str) -> ArgumentError:
    return ArgumentError(problem, code="setting-invalid", cause=cause, remedy=remedy)
