"""Which call is writing an object in S3: the one whose mark is in the plan beside it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from mrcdist.errors import FileChangedError, MrcdistError, WriteError
from mrcdist.storage.location import Location
from mrcdist.storage.retry import is_stopped
from mrcdist.write.errors import interrupted, overtaken
from mrcdist.write.s3_beside import PLAN, S3Beside
from mrcdist.write.s3_upload import S3Upload

__all__ = ["S3Claim"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class S3Claim:
    """The claim of one call on an object.

    Parameters
    ----------
    location : Location
        Of the object.
    mark : str
        Of the call; empty if it is not known.
    """

    location: Location
    mark: str

    @property
    def _beside(self) -> S3Beside:
        return S3Beside(self.location)

    def take(self, plan: dict[str, Any]) -> None:
        """Put the plan, which one writer alone can do.

        Raises
        ------
        ArgumentError
            Another call was first.
        """
        try:
            self._beside.put(
                PLAN, json.dumps({**plan, "mark": self.mark}).encode(), IfNoneMatch="*"
            )
        except FileChangedError:
            if not self.holds():  # else it was put before, and the answer got lost
                raise interrupted(self.location.shown, self._beside.shown, differs=False) from None
        if is_stopped() and self.holds():  # whoever has given it up has looked before
            self._beside.remove([PLAN])

    def holds(self, *, retry: bool = True) -> bool | None:
        """Whether the plan is there, and this call's; None where it cannot be read.

        Parameters
        ----------
        retry : bool, default True
            Ask until there is an answer, and again if there is none: a proxy, too, says that of
            what is there.
        """
        if not self.mark:
            return False
        plan = self._beside.plan(retry=retry)
        if plan is None and retry:
            plan = self._beside.plan()
        if plan is None:
            return False
        return plan["mark"] == self.mark if "mark" in plan else None

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Say of a failure whether this call was overtaken."""
        try:
            yield
        except WriteError:
            holds: bool | None = None
            with suppress(MrcdistError):  # the store fails for good
                holds = self.holds()
            if holds is False:
                raise overtaken(self.location, self._beside.shown) from None
            raise

    def is_done(self, uploads: list[S3Upload]) -> bool:
        """Whether one of some objects is whole: its worker was lost before it said so.

        Each question is asked once, and again only where the answer is that another call has taken
        over: what was refused is sent again where the store does not answer now.

        Raises
        ------
        WriteError
            Another call has taken over.
        """
        for retry in (False, True):
            holds: bool | None = None
            with suppress(MrcdistError):
                holds = self.holds(retry=retry)
            # In this order: the plan goes after the file is whole.
            if any(each.is_whole(retry=retry) for each in uploads):
                return True
            if holds is not False:
                return False
        raise overtaken(self.location, self._beside.shown)

    def forget(self, names: list[str] | None = None) -> None:
        """Remove what is kept beside the file; the plan first, for which `keep` looks last.

        Parameters
        ----------
        names : list of str, optional
            Default: all that is there.
        """
        mine = bool(self.holds())
        if mine:
            self._beside.remove([PLAN])
        if names is None:
            names = [*self._beside.sizes()]
            mine = PLAN not in names
        # Else that of a call which has overtaken this one is there, too.
        own = f".{self.mark}."
        self._beside.remove(
            [name for name in names if name != PLAN and (mine or (self.mark and own in name))]
        )

    def forget_at_last(self, names: list[str]) -> None:
        """Remove what is beside an object that is whole: it is, though this may fail."""
        try:
            self.forget(names)
        except MrcdistError as error:
            _log.warning(
                "%s is whole, but what was kept beside it, %s, could not all be removed: %s",
                self.location.shown,
                self._beside.shown,
                error,
            )
