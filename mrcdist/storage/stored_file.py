"""One version of one file: the way to its bytes, on the client as on the workers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from urllib.parse import urlsplit

from mrcdist.config import read_settings
from mrcdist.errors import FileChangedError, MissingFileError
from mrcdist.remembered import Remembered
from mrcdist.storage.location import Location, changed, require_version
from mrcdist.storage.store_errors import Transient
from mrcdist.storage.transport import Answer, open_transport
from mrcdist.storage.version import UNKNOWN, Version, local_version

# What opening a file asks for, a header: a small file's answer may differ with it.
_FIRST_BYTES = 1024

# Seconds to wait for a file that was just written: what changes later has a later date. One is
# enough, two where the clock of the file's date is a little fast.
_SETTLING = 2

# Hosts with a file whose date stayed that of the moment: waiting for another one would be in vain.
_unsettled: Remembered[tuple[str | None, int | None], bool] = Remembered(1000)

Reader = Callable[[int, int], bytes]


@dataclass(frozen=True)
class StoredFile:
    """One version of one file; every read is of this version, or raises `FileChangedError`.

    Reads raise `MissingFileError`, `AccessDeniedError` and `ReadError`, too. How much of the
    version must hold is ``mrcdist.consistency`` in dask's configuration.
    """

    location: Location
    version: Version

    @classmethod
    def open(cls, location: Location, size: int) -> tuple[StoredFile, bytes, bool]:
        """Find out which version of a file the store has, and read its first `size` bytes.

        One request where an answer has both, else one for each; again, a second later, where the
        file was changed in this second, the server has nothing finer than seconds, and versions
        are compared. This is the first request to the store: a host that cannot be reached is an
        error after a few seconds.

        Also returned is whether the version is settled: it is not where it is a date that did not
        become older than the answers.
        """
        answer = _first(location, size, first_contact=True)
        if answer is not None and not answer.settled:
            answer = _wait_until_settled(location, size, answer)
        if answer is not None and answer.version.kind:
            return cls(location, answer.version), answer.raw, answer.settled
        file = cls(location, location.find_version(first=True))
        return file, file.read(0, size), True

    def read(self, start: int, stop: int) -> bytes:
        """Read the bytes from `start` up to, without, `stop`; fewer where the file ends."""
        with self.reader() as read:
            return read(start, stop)

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Open the file for several reads: a function of (start, stop) that returns bytes.

        Where the answers of a store do not say which version they are of, the version is
        compared once at the end of the block, also if the block fails.
        """
        wanted = self.version if read_settings().consistency == "strict" else None
        if self.location.is_local:
            opened = self._opened(Path(self.location.filesystem()[1]), checked=True)
        elif (copy := self.location.local_copy(wanted)) is not None:
            opened = self._opened(copy, checked=False)  # it is named after its version
        else:
            opened = self._opened_in_store()
        with opened as read:
            yield lambda start, stop: self.location.retried(lambda: read(start, stop))

    def require(self, found: Version, consistency: str | None = None) -> None:
        """Raise `FileChangedError` unless the file is still this version, as far as that must hold.

        `consistency` is ``mrcdist.consistency``, for a caller that has read the settings.
        """
        consistency = consistency or read_settings().consistency
        require_version(self.location, self.version, found, consistency)

    @contextmanager
    def _opened(self, path: Path, *, checked: bool) -> Iterator[Reader]:
        def check() -> None:
            if checked:
                self.require(local_version(os.fstat(file.fileno())))

        def read(start: int, stop: int) -> bytes:
            file.seek(start)
            pieces = []
            while start < stop and (piece := file.read(stop - start)):
                pieces.append(piece)
                start += len(piece)
            return b"".join(pieces)

        try:
            file = FileIO(path)
        except OSError as error:
            raise self.location.explained(error) from None
        with file:
            check()
            try:
                yield read
            finally:
                check()

    @contextmanager
    def _opened_in_store(self) -> Iterator[Reader]:
        transport = open_transport(self.location, self.version, read_settings().consistency)
        size = self.version.size
        unsaid = not transport.pinned

        def read(start: int, stop: int) -> bytes:
            nonlocal unsaid
            stop = stop if size is None else min(stop, size)
            if stop <= start:
                return b""
            answer = transport.read(start, stop - start)
            end = start + len(answer.raw)
            unsaid = unsaid or not answer.pinned
            if end < stop and size is not None:
                if answer.version.size not in (None, size):
                    raise changed(self.location, self.version, answer.version)
                if unsaid:
                    self._check()  # it may have become shorter
                raise Transient(f"the answer ended at byte {end}, the file has {size}")
            return answer.raw

        try:
            yield read
        except FileChangedError:
            raise
        except Exception:
            if unsaid:
                with suppress(MissingFileError):
                    self._check()  # what was replaced may look damaged
            raise
        if unsaid:
            self._check()

    def _check(self) -> None:
        if read_settings().consistency != "off":
            self.require(self.location.find_version())


def current_version(location: Location) -> Version:
    """Return the version that the store has now, in the words in which `StoredFile.open` has it.

    With a part of a file, servers may name another version than with the whole.
    """
    answer = _first(location, _FIRST_BYTES, first_contact=False)
    if answer is not None and answer.version.kind:
        return answer.version
    return location.find_version()


def read_whole(location: Location, limit: int) -> bytes:
    """Read a small file, or its first `limit` bytes, as one version."""
    answer = _first(location, limit, first_contact=False)
    if answer is not None and answer.version.size is not None:
        return answer.raw
    return StoredFile(location, location.find_version()).read(0, limit)


def _wait_until_settled(location: Location, size: int, answer: Answer | None) -> Answer | None:
    """Ask again until a later change would have a later date, if that can be and matters."""
    if read_settings().consistency != "strict":
        return answer
    address = urlsplit(location.url)
    host = (address.hostname, address.port)
    for _ in range(_SETTLING):
        if answer is None or answer.settled or host in _unsettled:
            return answer
        time.sleep(1)
        answer = _first(location, size, first_contact=False)
    if answer is not None and not answer.settled:
        _unsettled.keep(host, True)
    return answer


def _first(location: Location, size: int, *, first_contact: bool) -> Answer | None:
    """Read from the start, whatever version there is; None where no answer can name a version."""
    if location.is_local:
        return None
    transport = open_transport(location, UNKNOWN, "off")
    if not transport.pinned:
        return None

    def read() -> Answer:
        answer = transport.read(0, size)
        known = answer.version.size
        if known is not None and len(answer.raw) < min(size, known):
            raise Transient(f"the answer ended at byte {len(answer.raw)}, the file has {known}")
        return answer

    try:
        return location.retried(read, first_contact=first_contact)
    except MissingFileError as error:
        if transport.has_folders:
            return None  # asking for it tells a folder from nothing
        raise error from None
