"""One version of one file: the only access to its bytes, on the client and on workers."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from mrcdist.config import read_settings
from mrcdist.errors import FileChangedError, MissingFileError
from mrcdist.read_limits import ReadLimits
from mrcdist.remembered import Remembered
from mrcdist.storage.location import Location, changed, require_version
from mrcdist.storage.retry import Transient
from mrcdist.storage.transport import Response, open_transport
from mrcdist.storage.version import UNKNOWN, Version, local_version

# Hosts on which the date of some file was always that of the response, so that waiting is useless.
_unsettled: Remembered[tuple[str | None, int | None], bool] = Remembered(1000)

Reader = Callable[[int, int], bytes]


@dataclass(frozen=True)
class StoredFile:
    """One version of one file; every read is of this version, or raises `FileChangedError`.

    Reads also raise `MissingFileError`, `AccessDeniedError` and `ReadError`. The setting
    ``mrcdist.consistency`` says how much of the version must match.
    """

    location: Location
    version: Version

    @classmethod
    def open(
        cls, location: Location, size: int, limits: ReadLimits
    ) -> tuple[StoredFile, bytes, bool]:
        """Return the current version of a file, its first `size` bytes, and whether it is settled.

        A version is settled if any later change of the file will result in a different one. A date
        in whole seconds that is not older than the response is not settled; the request is then
        repeated a second later, provided that versions are compared.

        One request, or two if the response does not contain the version. This is the first request
        to the store: a host that cannot be reached raises an error after a few seconds.
        """
        response = _read_start(location, size, first_contact=True)
        if response is not None and not response.settled:
            response = _wait_until_settled(location, size, response, limits.settling_requests)
        if response is not None and response.version.kind:
            return cls(location, response.version), response.raw, response.settled
        file = cls(location, location.find_version(first=True))
        return file, file.read(0, size), True

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` up to, but not including, `stop` or the end of the file."""
        with self.reader() as read:
            return read(start, stop)

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Open the file for several reads: a function of (start, stop) that returns bytes.

        If the responses of a store do not contain the version, it is compared once at the end of
        the block, even if the block fails.
        """
        required = self.version if read_settings().consistency == "strict" else None
        if self.location.is_local:
            consistency = read_settings().consistency
            opened = self._read_local(self.location.filesystem()[1], consistency)
        elif (copy := self.location.local_copy(required)) is not None:
            opened = self._read_local(copy, "off")  # its name contains the version
        else:
            opened = self._read_store()
        with opened as read:
            yield lambda start, stop: self.location.retried(lambda: read(start, stop))

    def require(self, actual: Version, consistency: str | None = None) -> None:
        """Raise `FileChangedError` unless the file is still this version.

        `consistency` is ``mrcdist.consistency``, if the caller has read the settings.
        """
        consistency = consistency or read_settings().consistency
        require_version(self.location, self.version, actual, consistency)

    @contextmanager
    def open_local(
        self, path: str | Path, consistency: str, mode: Literal["rb", "r+b"] = "rb"
    ) -> Iterator[io.FileIO]:
        """Open a local file, checking at the start and at the end that it is this version.

        A file that is deleted or replaced while it is open can still be read. Deletion sets ctime:
        if the file was overwritten and its mtime restored before, this is not detected.
        """

        def check() -> None:
            now = os.fstat(file.fileno())
            unchanged = (now.st_size, now.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
            if now.st_nlink or not unchanged:  # else deleted or replaced while open
                self.require(local_version(now), consistency)

        try:
            file = io.FileIO(path, mode)
        except OSError as error:
            raise self.location.explained(error) from None
        with file:
            before = os.fstat(file.fileno())
            self.require(local_version(before), consistency)
            with _CheckedAtEnd(check):
                yield file

    @contextmanager
    def _read_local(self, path: str | Path, consistency: str) -> Iterator[Reader]:
        def read(start: int, stop: int) -> bytes:
            file.seek(start)
            stop = min(stop, os.fstat(file.fileno()).st_size)  # memory is allocated for all of it
            pieces = []
            while start < stop and (piece := file.read(stop - start)):
                pieces.append(piece)
                start += len(piece)
            return b"".join(pieces)

        with self.open_local(path, consistency) as file:
            yield read

    @contextmanager
    def _read_store(self) -> Iterator[Reader]:
        transport = open_transport(self.location, self.version, read_settings().consistency)
        size = self.version.size
        unverified = not transport.pinned

        def read(start: int, stop: int) -> bytes:
            nonlocal unverified
            stop = stop if size is None else min(stop, size)
            if stop <= start:
                return b""
            response = transport.read(start, stop - start)
            end = start + len(response.raw)
            unverified = unverified or not response.pinned
            if end < stop and size is not None:
                if response.version.size not in (None, size):
                    raise changed(self.location, self.version, response.version)
                if unverified:
                    self._check()  # the file may be shorter now
                raise Transient(f"the response ended at byte {end}, but the file has {size} bytes")
            return response.raw

        def check_unverified() -> None:
            if unverified:
                self._check()

        with _CheckedAtEnd(check_unverified):
            yield read

    def _check(self) -> None:
        if read_settings().consistency != "off":
            self.require(self.location.find_version())


class _CheckedAtEnd:
    """Calls `check` at the end of a block, even if it fails: a replaced file may look damaged.

    Not a generator, which would take 1 µs longer for each block that is read.
    """

    def __init__(self, check: Callable[[], object]) -> None:
        self._check = check

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            self._check()
        elif isinstance(error, Exception) and not isinstance(error, FileChangedError):
            with suppress(MissingFileError):
                self._check()


def current_version(location: Location, size: int) -> Version:
    """Return the current version, from the same source as `StoredFile.open` with the same `size`.

    Some servers report another version with a part of a file than with the whole.
    """
    response = _read_start(location, size, first_contact=False)
    if response is not None and response.version.kind:
        return response.version
    return location.find_version()


def read_whole(location: Location, limit: int) -> bytes:
    """Read a small file, or its first `limit` bytes, as one version."""
    response = _read_start(location, limit, first_contact=False)
    if response is not None and response.version.size is not None:
        return response.raw
    return StoredFile(location, location.find_version()).read(0, limit)


def _wait_until_settled(
    location: Location, size: int, response: Response | None, requests: int
) -> Response | None:
    """Repeat the request up to `requests` times until its version is settled.

    Does nothing unless versions are compared. The last response may be unsettled: those of some
    hosts always are.
    """
    if read_settings().consistency != "strict":
        return response
    address = urlsplit(location.url)
    host = (address.hostname, address.port)
    for _ in range(requests):
        if response is None or response.settled or host in _unsettled:
            return response
        time.sleep(1)
        response = _read_start(location, size, first_contact=False)
    if response is not None and not response.settled:
        _unsettled.keep(host, True)
    return response


def _read_start(location: Location, size: int, *, first_contact: bool) -> Response | None:
    """Read the start of the current version; None if responses cannot contain the version."""
    if location.is_local:
        return None
    transport = open_transport(location, UNKNOWN, "off")
    if not transport.pinned:
        return None

    def read() -> Response:
        response = transport.read(0, size)
        total, received = response.version.size, len(response.raw)
        if total is not None and received < min(size, total):
            raise Transient(
                f"the response ended at byte {received}, but the file has {total} bytes"
            )
        return response

    try:
        return location.retried(read, first_contact=first_contact)
    except MissingFileError as error:
        if transport.has_folders:
            return None  # `find_version` distinguishes a folder from a missing file
        raise error from None
