"""One multipart upload: the parts of one object, sent by tasks or copied by the store."""

from __future__ import annotations

import asyncio
import functools
import io
import weakref
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from fsspec.asyn import sync

from mrcdist.config import read_settings
from mrcdist.errors import FileChangedError, MrcdistError, WriteError
from mrcdist.storage.location import Location, here
from mrcdist.storage.retry import Attempts
from mrcdist.write.errors import exists, write_errors

__all__ = ["S3Upload", "call_once", "left_by_others", "run_together"]

_MARK = "mrcdist-write"

# Seconds without an answer while a store copies, or puts 10,000 parts together.
_PATIENCE = 300.0


@dataclass(frozen=True)
class S3Upload:
    """An object that is made of parts.

    Parameters
    ----------
    location : Location
        Of the object.
    mark : str
        Stored with the object: which call has written it.
    upload : str
        UploadId.
    """

    location: Location
    mark: str = ""
    upload: str = ""

    @property
    def path(self) -> tuple[str, str]:
        """Bucket and key."""
        fs, path = self.location.filesystem()
        bucket, key, _ = fs.split_path(path)
        return bucket, key

    def begin(self, mark: str) -> S3Upload:
        """Begin the upload.

        If the answer of a request is lost, an upload without parts may be left: `others` lists it.
        It cannot be told from one that another program has begun, and is not aborted.
        """
        kind, metadata = "application/octet-stream", {_MARK: mark}
        try:
            begun = self._call("create_multipart_upload", ContentType=kind, Metadata=metadata)
        except WriteError as error:
            left = self.others()
            if not left:
                raise
            raise WriteError(
                error.problem,
                code=error.code,
                cause=f"{error.cause}; {left_by_others(left)}",
                remedy=error.remedy,
                where=error.where,
            ) from None
        return replace(self, mark=mark, upload=str(begun["UploadId"]))

    def open_uploads(self, *, page: int = 1000) -> frozenset[str]:
        """Return the uploads of this object that were neither completed nor aborted.

        Parameters
        ----------
        page : int
            How many uploads a request lists at most, those of objects with longer names included.
        """
        _, key = self.path
        found: set[str] = set()
        marker: dict[str, Any] = {}
        while True:
            asked = {"Key": None, "Prefix": key, "MaxUploads": page, **marker}
            answer = self._call("list_multipart_uploads", **asked)
            uploads = answer.get("Uploads", ())
            found.update(str(each["UploadId"]) for each in uploads if each["Key"] == key)
            # Names are sorted: the object's own comes before all that begin with it.
            if not answer.get("IsTruncated") or answer.get("NextKeyMarker", "") > key:
                return frozenset(found)
            marker = {
                "KeyMarker": answer["NextKeyMarker"],
                "UploadIdMarker": answer["NextUploadIdMarker"],
            }

    async def send(self, number: int, body: memoryview) -> None:
        """Send a part, once."""
        await self._call_once("upload_part", PartNumber=number, Body=body, UploadId=self.upload)

    async def copy(self, number: int, source: tuple[str, str], start: int, stop: int) -> None:
        """Have the store copy a byte range of another object as a part, once."""
        bucket, key = source
        await self._patient._call_once(
            "upload_part_copy",
            PartNumber=number,
            CopySource={"Bucket": bucket, "Key": key},
            CopySourceRange=f"bytes={start}-{stop - 1}",
            UploadId=self.upload,
        )

    def complete(self, sizes: Sequence[int], *, overwrite: bool) -> None:
        """Make the object of its parts.

        Parameters
        ----------
        sizes : sequence of int
            Bytes of each part.
        overwrite : bool
            Whether an object of that name is replaced.

        Raises
        ------
        WriteError
            A part is missing.
        ArgumentError
            The object exists.
        """
        parts = self._parts()
        if [(part["PartNumber"], part["Size"]) for part in parts] != list(enumerate(sizes, 1)):
            raise WriteError(
                f"{self.location.shown}: {len(parts)} of {len(sizes)} parts have arrived whole",
                code="write-failed",
                cause="the store lost a part, or somebody else has written to this upload",
                remedy="call again with {overwrite=True}",
                where=here(self.location),
            )
        if not overwrite and self.location.exists():
            raise exists(self.location.shown)
        listed = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in parts]
        # Where the store knows conditional writes, a second writer cannot come first meanwhile.
        condition = {} if overwrite else {"IfNoneMatch": "*"}
        try:
            self._patient._call(
                "complete_multipart_upload",
                UploadId=self.upload,
                MultipartUpload={"Parts": listed},
                **condition,
            )
        except (FileChangedError, WriteError) as error:
            if self.is_whole():  # done, but the answer got lost
                return
            if isinstance(error, FileChangedError):  # the condition was not met
                raise exists(self.location.shown) from None
            raise

    def _parts(self) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        marker: dict[str, Any] = {}
        while True:
            answer = self._call("list_parts", UploadId=self.upload, **marker)
            parts += answer.get("Parts", ())
            if not answer.get("IsTruncated"):
                return sorted(parts, key=lambda part: int(part["PartNumber"]))
            marker = {"PartNumberMarker": answer["NextPartNumberMarker"]}

    def is_whole(self) -> bool:
        """Whether the object is there, and is what this call was to write."""
        fs, _ = self.location.filesystem()
        return bool(sync(fs.loop, self.found_whole))

    async def found_whole(self) -> bool:
        """As `is_whole`, in the filesystem's event loop."""
        try:
            found = await _patiently(self.location, lambda: self._call_once("head_object"))
        except MrcdistError:  # some stores say that of what is not there
            return False
        return bool(found.get("Metadata", {}).get(_MARK) == self.mark)

    def others(self) -> frozenset[str]:
        """Return the other open uploads of this object; none where they may not be listed."""
        try:
            return self.open_uploads() - {self.upload}
        except MrcdistError:
            return frozenset()

    def is_open(self) -> bool:
        """Whether it has begun, and was neither completed nor aborted."""
        return self.upload in self.open_uploads()

    def abort(self) -> None:
        """Give it up."""
        # A part that is on its way may outlive the first call, as S3 says.
        for _ in range(3):
            with suppress(WriteError):  # it has been completed or aborted before
                self._call("abort_multipart_upload", UploadId=self.upload)
            try:
                if not self.is_open():
                    return
            except MrcdistError:  # who may write may not be allowed to list
                return

    @property
    def _patient(self) -> S3Upload:
        """The same, where an answer may take long."""
        given = self.location.storage_options
        config = {"read_timeout": _PATIENCE, **(given.get("config_kwargs") or {})}
        options = {**given, "config_kwargs": config}
        return replace(self, location=replace(self.location, storage_options=options))

    async def _call_once(self, method: str, **arguments: Any) -> Any:
        return await call_once(self.location, method, self.path, **arguments)

    def _call(self, method: str, **arguments: Any) -> Any:
        return self._retried(functools.partial(self._call_once, method, **arguments))

    def _retried(self, call: Callable[[], Awaitable[Any]]) -> Any:
        fs, _ = self.location.filesystem()
        with write_errors(self.location):
            return self.location.retried(lambda: sync(fs.loop, call))


def left_by_others(uploads: frozenset[str]) -> str:
    """Name uploads that nobody may ever complete."""
    names = ", ".join(sorted(uploads))
    return (
        f"{len(uploads)} unfinished multipart upload(s) of this object, begun by another program "
        f"or left by one that was killed or lost the answer, take up space: {names}; if nobody is "
        "writing, abort them (aws s3api abort-multipart-upload)"
    )


async def call_once(
    location: Location, method: str, path: tuple[str, str], **arguments: Any
) -> Any:
    """Call S3, in the filesystem's event loop.

    Parameters
    ----------
    location : Location
        With the options of the store.
    method : str
        Of botocore's client.
    path : (str, str)
        Bucket and key.
    **arguments
        None for one that is left out.
    """
    fs, _ = location.filesystem()
    given = {"Bucket": path[0], "Key": path[1], **arguments}
    given = {name: value for name, value in given.items() if value is not None}
    if "Body" not in given:
        return await fs._call_s3(method, **given)
    # The client waits for ever if the store does not take what it sends. Waiting for a connection
    # of this process that is free is no silence of the store.
    stall = read_settings().stall
    loop = asyncio.get_running_loop()
    async with _connections(fs), asyncio.timeout(stall) as silence:

        def heard() -> None:
            with suppress(RuntimeError):  # it is over
                silence.reschedule(loop.time() + stall)

        # aiohttp reads from it in threads.
        body = _Body(given["Body"], lambda: loop.call_soon_threadsafe(heard))
        return await fs._call_s3(method, **{**given, "Body": body})


def _connections(fs: Any) -> asyncio.Semaphore:
    """The connections of this process on which bodies are sent, whatever the number of tasks."""
    if fs not in _SENDING:
        _SENDING[fs] = asyncio.Semaphore(fs.config_kwargs.get("max_pool_connections", 10) or 10)
    return _SENDING[fs]


_SENDING: weakref.WeakKeyDictionary[Any, asyncio.Semaphore] = weakref.WeakKeyDictionary()


class _Body(io.RawIOBase):
    """Body of a request, sent without a copy; reports each piece as it goes out."""

    def __init__(self, content: bytes | memoryview, heard: Callable[[], object]) -> None:
        super().__init__()
        self._view = memoryview(content)
        self._at = 0
        self._heard = heard

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._view.nbytes}[whence]
        self._at = start + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        self._heard()
        stop = None if size is None or size < 0 else self._at + size
        piece = bytes(self._view[self._at : stop])
        self._at += len(piece)
        return piece


def run_together(
    location: Location, calls: Sequence[Callable[[], Awaitable[Any]]], *, slots: int
) -> None:
    """Make requests in the filesystem's event loop, each until it works.

    Parameters
    ----------
    location : Location
        What errors name.
    calls : sequence of callable
        One attempt each.
    slots : int
        How many at a time.
    """

    async def all_of_them() -> None:
        turns = asyncio.Semaphore(slots)

        async def in_turn(call: Callable[[], Awaitable[Any]]) -> None:
            async with turns:
                await _patiently(location, call)

        async with asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(in_turn(call))

    fs, _ = location.filesystem()
    with write_errors(location):
        try:
            sync(fs.loop, all_of_them)
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None


async def _patiently(location: Location, call: Callable[[], Awaitable[Any]]) -> Any:
    attempts = Attempts(read_settings(), location.shown, location.scrub)
    while True:
        attempts.begin()
        try:
            return await call()
        except Exception as error:  # noqa: BLE001 the store's own errors
            wait = attempts.failed(error)
        await asyncio.sleep(wait)
