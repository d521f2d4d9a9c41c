"""Settings in dask's configuration, under ``mrcdist``."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field, fields
from typing import Any

import dask

from mrcdist.byte_size import parse_size
from mrcdist.errors import ArgumentError
from mrcdist.remembered import Remembered


def _setting(default: Any, **rule: Any) -> Any:
    """Return a field with a default and a rule for its value.

    It is one of `choices`, or a number of at least `least`, which may have to be `whole` or may be
    a `size` such as "8 MiB".
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
    # Number of times a failed range is retried, and seconds after which retrying ends.
    retries: int = _setting(10, least=0, whole=True)
    deadline: float = _setting(120.0, least=0)
    # Seconds without data after which an attempt fails.
    stall: float = _setting(15.0, least=0.001)
    # What counts as a changed file, which is an error. "strict": any difference of the version;
    # "size": a different size; "off": nothing, so that only missing bytes are an error.
    consistency: str = _setting("strict", choices=("strict", "size", "off"))
    # "auto": map files on local disks, read files on network filesystems.
    io: str = _setting("auto", choices=("auto", "map", "read"))
    # Batch programs: seconds to wait for an answer of the scheduler; and for its first workers, or
    # for the scheduler file.
    scheduler_timeout: float = _setting(60.0, least=0.001)
    workers_timeout: float = _setting(300.0, least=0)

    def largest_gap(self, measured: int) -> int:
        """Return the largest gap that is read: the setting, or a measured one if it is "auto"."""
        return measured if self.max_gap is None else self.max_gap


_FIELDS = {setting.name.replace("_", "-"): setting for setting in fields(ReadSettings)}
DEFAULTS = {key: setting.default for key, setting in _FIELDS.items()}

dask.config.update_defaults({"mrcdist": DEFAULTS})

# Every task reads the settings, but they hardly ever change.
_parsed: Remembered[str, ReadSettings] = Remembered(100)


def read_settings() -> ReadSettings:
    """Return the settings in dask's configuration; raise an `ArgumentError` if one is invalid."""
    values = copy.copy(dask.config.get("mrcdist", {}) or {})
    as_text = repr(values)
    return _parsed.get(as_text) or _parsed.keep(as_text, _parse(values))


def _parse(values: dict[str, Any]) -> ReadSettings:
    parsed = {}
    for key, setting in _FIELDS.items():
        value = dask.config.get(key, setting.default, config=values)
        if choices := setting.metadata.get("choices"):
            if value not in choices:
                remedy = "use " + ", ".join(f'"{choice}"' for choice in choices)
                raise invalid_setting(f"mrcdist.{key}", value, "not a valid choice", remedy)
            parsed[setting.name] = value
        elif value == "auto" == setting.default:
            parsed[setting.name] = None
        else:
            parsed[setting.name] = _number(key, value, **setting.metadata)
    return ReadSettings(**parsed)


def _number(
    key: str, value: Any, *, least: float, whole: bool = False, size: bool = False
) -> float:
    """Return a setting as a number; a whole number may be given as a float, such as YAML's 16e6."""
    number: Any = parse_size(value) if size and isinstance(value, str) else value
    if number == "inf" and not whole:  # from an environment variable
        number = math.inf
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    if not is_number or not number >= least or (whole and (number == math.inf or number % 1)):
        raise invalid_setting(
            f"mrcdist.{key}",
            value,
            f"it must be a {'whole ' * whole}number of at least {least}"
            + ', or a size such as "8 MiB"' * size,
            f"correct it, or remove it to use the default, {DEFAULTS[key]}",
        )
    return int(number) if whole else float(number)


def invalid_setting(setting: str, value: object, cause: str, remedy: str) -> ArgumentError:
    """Return the error for an invalid value in dask's configuration."""
    return ArgumentError(
        f"dask configuration {setting} = {value!r}",
        code="setting-invalid",
        argument=setting,
        cause=cause,
        remedy=remedy,
    )
