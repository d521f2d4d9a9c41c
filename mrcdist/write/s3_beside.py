"""Small objects beside a file in S3: its plan, which says who writes it, records and blocks."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from mrcdist.errors import FileChangedError, MissingFileError, MrcdistError, WriteError
from mrcdist.storage.location import Location, StoreCalls
from mrcdist.storage.retry import Refused, is_stopped
from mrcdist.write.errors import interrupted, overtaken, write_errors
from mrcdist.write.s3_client import answer, call, call_once
from mrcdist.write.s3_upload import S3Upload

_log = logging.getLogger(__name__)

_PLAN = "plan.json"


@dataclass(frozen=True)
class S3Beside:
    """Objects whose names begin with that of the file.

    `mark` is that of this call, empty if it is not known: the call whose mark is in the plan is
    the one that writes the file.
    """

    location: Location
    mark: str = ""

    @property
    def shown(self) -> str:
        """What their URLs begin with, redacted."""
        return f"{self.location.shown}.mrcdist-write/"

    def at(self, name: str) -> Location:
        """Return where one of them is; for "", the folder of all."""
        url = f"{self.location.url}.mrcdist-write/{name}"
        return replace(self.location, url=url.rstrip("/"))

    def put(self, name: str, content: bytes | memoryview, **condition: str) -> None:
        """Store one."""
        call(self.at(name), "put_object", Body=content, **condition)

    def get(self, name: str, start: int | None = None, stop: int | None = None) -> bytes:
        """Return one, or a byte range of it."""
        wanted = None if stop is None else f"bytes={start}-{stop - 1}"
        return self.location.retried(lambda: _get(self.at(name), Range=wanted))

    def sizes(self) -> dict[str, int]:
        """Bytes of each that is there."""
        with suppress(MissingFileError):  # there is no such bucket
            return StoreCalls(self.at("")).sizes()
        return {}

    def remove(self, names: list[str]) -> None:
        """Remove some, of which some may not be there."""
        fs, _ = self.location.filesystem()
        paths = [self.at(name).filesystem()[1] for name in names]

        def remove() -> None:
            with suppress(FileNotFoundError):
                if paths:
                    fs.rm(paths)
            fs.invalidate_cache()

        with write_errors(self.location):
            self.location.retried(remove)

    def plan(self, *, retry: bool = True) -> dict[str, Any] | None:
        """Return what the call that is writing, or was, has put there; None if there is none.

        One that cannot be read, whether it is spoilt or its answer was, has no ``"mark"``.
        """
        plan, spoilt = self.at(_PLAN), False

        def ask() -> dict[str, Any]:
            nonlocal spoilt
            spoilt = False
            raw = _get(plan)
            spoilt = True
            with suppress(ValueError):
                found = json.loads(raw)
                if isinstance(found, dict):
                    return found
            raise Refused(f"{_PLAN} cannot be read")

        try:
            return answer(self.location, ask, retry=retry)
        except MissingFileError:
            return None
        except MrcdistError:
            if not spoilt:
                raise
            return {"about": None, "date": ""}

    def remove_plan(self) -> None:
        """Remove the plan, also where it cannot be read."""
        self.remove([_PLAN])

    def take(self, plan: dict[str, Any]) -> None:
        """Put the plan, which one writer alone can do; raise `ArgumentError` for any other."""
        content = json.dumps({**plan, "mark": self.mark}).encode()
        try:
            self.put(_PLAN, content, IfNoneMatch="*")
        except FileChangedError:
            if not self.holds():  # else it was put before, and the answer got lost
                raise interrupted(self.location.shown, self.shown) from None
        if is_stopped() and self.holds():  # whoever has given it up has looked before
            self.remove_plan()

    def holds(self, *, retry: bool = True) -> bool | None:
        """Whether the plan is there, and this call's; None where it cannot be read.

        With `retry`, the store is asked until there is an answer, and again if that is that there
        is none: a proxy, too, says so of what is there.
        """
        if not self.mark:
            return False
        plan = self.plan(retry=retry)
        if plan is None and retry:
            plan = self.plan()
        if plan is None:
            return False
        return plan["mark"] == self.mark if "mark" in plan else None

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Say of a failure whether this call was overtaken."""
        try:
            yield
        except WriteError:
            if self._is_lost():
                raise overtaken(self.location, self.shown) from None
            raise

    def _is_lost(self, *, retry: bool = True) -> bool:
        """Whether the store says that another call holds the file."""
        with suppress(MrcdistError):  # it fails for good
            return self.holds(retry=retry) is False
        return False

    def is_done(self, uploads: list[S3Upload]) -> bool:
        """Whether one of some objects is whole: its worker was lost before it said so.

        Each question is asked once, and again only where the answer is that another call has taken
        over, which is a `WriteError`: what was refused is sent again where the store does not
        answer now.
        """
        for retry in (False, True):
            lost = self._is_lost(retry=retry)
            # In this order: the plan goes after the file is whole.
            if any(each.is_whole(retry=retry) for each in uploads):
                return True
            if not lost:
                return False
        raise overtaken(self.location, self.shown)

    def forget(self, names: list[str] | None = None) -> None:
        """Remove these, or all that is there; the plan first, for which `S3Destination.keep` looks.

        Of another call that has overtaken this one, nothing is removed.
        """
        mine = bool(self.holds())
        if mine:
            self.remove_plan()
        if names is None:
            names = [*self.sizes()]
            mine = _PLAN not in names
        own = f".{self.mark}."
        self.remove(
            [name for name in names if name != _PLAN and (mine or (self.mark and own in name))]
        )

    def forget_at_last(self, names: list[str]) -> None:
        """Remove what is beside an object that is whole: it is, though this may fail."""
        try:
            self.forget(names)
        except MrcdistError as error:
            _log.warning(
                "%s is complete, but temporary objects, %s, could not all be removed: %s",
                self.location.shown,
                self.shown,
                error,
            )


def _get(location: Location, **arguments: Any) -> bytes:
    return bytes(call_once(location, "get_object", **arguments)["Body"].read())
