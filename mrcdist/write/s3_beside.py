"""Small objects beside a file in S3: the plan, the records of blocks, compressed blocks."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mrcdist.errors import MissingFileError, MrcdistError
from mrcdist.storage.location import Location
from mrcdist.storage.retry import Refused
from mrcdist.write.errors import write_errors
from mrcdist.write.s3_client import answer, call_once

__all__ = ["PLAN", "S3Beside", "put_object"]

PLAN = "plan.json"
"""Its name."""


@dataclass(frozen=True)
class S3Beside:
    """Objects whose names begin with that of the file.

    Parameters
    ----------
    location : Location
        Of the file.
    """

    location: Location

    @property
    def shown(self) -> str:
        """What their URLs begin with, redacted."""
        return f"{self.location.shown}.mrcdist-write/"

    def path(self, name: str) -> tuple[str, str]:
        """Bucket and key."""
        fs, path = self.location.filesystem()
        bucket, key, _ = fs.split_path(path)
        return bucket, f"{key}.mrcdist-write/{name}"

    def url(self, name: str) -> str:
        """URL for s3fs: with its own name for the protocol, whatever the caller's is."""
        return "s3://" + "/".join(self.path(name))

    def put(self, name: str, content: bytes | memoryview, **condition: str) -> None:
        """Store one."""
        put_object(self.location, self.path(name), content, **condition)

    def get(self, name: str, start: int | None = None, stop: int | None = None) -> bytes:
        """Return one, or a byte range of it."""
        wanted = None if stop is None else f"bytes={start}-{stop - 1}"
        return self.location.retried(lambda: self._get(name, Range=wanted))

    def _get(self, name: str, **arguments: Any) -> bytes:
        found: bytes = call_once(self.location, "get_object", self.path(name), **arguments)[
            "Body"
        ].read()
        return found

    def plan(self, *, retry: bool = True) -> dict[str, Any] | None:
        """Return what the call that is writing, or was, has put there; None if there is none.

        One that cannot be read, whether it is spoilt or its answer was, has no ``"mark"``.
        """
        spoilt = False

        def ask() -> dict[str, Any]:
            nonlocal spoilt
            spoilt = False
            raw = self._get(PLAN)
            spoilt = True
            with suppress(ValueError):
                found = json.loads(raw)
                if isinstance(found, dict):
                    return found
            raise Refused(f"{PLAN} cannot be read")

        try:
            return answer(self.location, ask, retry=retry)
        except MissingFileError:
            return None
        except MrcdistError:
            if not spoilt:
                raise
            return {"about": None, "date": ""}

    def sizes(self) -> dict[str, int]:
        """Bytes of each that is there."""
        fs, _ = self.location.filesystem()
        folder = "/".join(self.path(""))

        def ask() -> dict[str, int]:
            fs.invalidate_cache()
            found: dict[str, Any] = fs.find(folder, detail=True)
            return {name.removeprefix(folder): int(info["size"]) for name, info in found.items()}

        try:
            return self.location.retried(ask)
        except MissingFileError:  # there is no such bucket
            return {}

    def remove(self, names: list[str]) -> None:
        """Remove some, of which some may not be there."""
        fs, _ = self.location.filesystem()
        paths = ["/".join(self.path(name)) for name in names]

        def remove() -> None:
            with suppress(FileNotFoundError):
                if paths:
                    fs.rm(paths)
            fs.invalidate_cache()

        with write_errors(self.location):
            self.location.retried(remove)


def put_object(
    location: Location, path: tuple[str, str], content: bytes | memoryview, **condition: str
) -> None:
    """Store a small object.

    Parameters
    ----------
    location : Location
        What errors name.
    path : (str, str)
        Bucket and key.
    content : bytes or memoryview
    **condition
        Further arguments of S3's PutObject.
    """
    with write_errors(location):
        location.retried(lambda: call_once(location, "put_object", path, Body=content, **condition))
