"""Objects in S3: one multipart upload, to which each task adds its own parts."""

from __future__ import annotations

import asyncio
import json
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from fsspec.asyn import sync
from s3fs import S3FileSystem

from mrcdist.config import read_settings
from mrcdist.errors import (
    AccessDeniedError,
    FileChangedError,
    MissingFileError,
    WriteError,
)
from mrcdist.storage.location import Location, here
from mrcdist.storage.retry import Attempts
from mrcdist.write.errors import exists, interrupted, write_errors
from mrcdist.write.grid import Grid, Piece

__all__ = ["S3Destination", "is_s3"]

# Of one task: more connections than that add nothing to a block's upload.
_PARTS_AT_A_TIME = 4

_MARK = "mrcdist-write"


def is_s3(location: Location) -> bool:
    """Whether a file can be written as parts of one object."""
    return isinstance(location.filesystem()[0], S3FileSystem)


@dataclass(frozen=True)
class S3Destination:
    """One multipart upload, with the records of its blocks as small objects beside it.

    Parameters
    ----------
    location : Location
    grid : Grid
    date : str
    upload : str
        Its UploadId.
    mark : str
        Stored with the object: which call has written it.
    overwrite : bool
    """

    location: Location
    grid: Grid
    date: str = ""
    upload: str = ""
    mark: str = ""
    overwrite: bool = False

    requests = 1

    def begin(self, about: dict[str, Any], *, overwrite: bool, resume: bool) -> S3Destination:
        """Make room for the file, or find what an earlier call has left.

        Parameters
        ----------
        about : dict
            What tells this file from any other; JSON-serialisable. Kept beside what is written.
        overwrite, resume : bool

        Returns
        -------
        Destination
            The one that tasks write to.

        Raises
        ------
        ArgumentError
            The file exists, is being written, or an earlier call wrote another one.
        WriteError, AccessDeniedError
        """
        found = replace(self, overwrite=overwrite)
        if not overwrite and self.location.exists():
            raise exists(self.location.shown)
        earlier = self._earlier()
        if earlier is not None:
            upload = str(earlier.get("upload", ""))
            if resume and earlier["about"] == about and upload in self._uploads():
                return replace(
                    found, date=str(earlier["date"]), upload=upload, mark=str(earlier["mark"])
                )
            if resume or not overwrite:
                raise interrupted(
                    self.location.shown, self._shown_prefix, differs=resume and upload != ""
                )
            replace(self, upload=upload).abandon()
        date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        mark = uuid.uuid4().hex
        answer = self._call(
            "create_multipart_upload",
            ContentType="application/octet-stream",
            Metadata={_MARK: mark},
        )
        found = replace(found, date=date, upload=str(answer["UploadId"]), mark=mark)
        plan = {"about": about, "date": date, "upload": found.upload, "mark": mark}
        try:
            self._put(self._beside("plan.json"), json.dumps(plan).encode())
        except BaseException:
            found.abandon()
            raise
        return found

    @property
    def _path(self) -> tuple[str, str]:
        fs, path = self.location.filesystem()
        bucket, key, _ = fs.split_path(path)
        return bucket, key

    def _beside(self, name: str) -> str:
        bucket, key = self._path
        return f"{bucket}/{key}.mrcdist-write/{name}"

    @property
    def _shown_prefix(self) -> str:
        return f"{self.location.shown}.mrcdist-write/"

    def _earlier(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self._get(self._beside("plan.json")))
        except MissingFileError:
            return None
        except ValueError:
            return {"about": None, "date": ""}
        return found if isinstance(found, dict) else {"about": None, "date": ""}

    def _uploads(self) -> set[str]:
        _, key = self._path
        answer = self._call("list_multipart_uploads", Key=None, Prefix=key)
        return {each["UploadId"] for each in answer.get("Uploads", ()) if each["Key"] == key}

    def kept(self) -> frozenset[int]:
        """See `Destination.kept`."""
        mine = f".{self.mark}.block"
        names = [name.rpartition("/")[2] for name in self._names_beside()]
        return frozenset(int(n.removesuffix(mine)) for n in names if n.endswith(mine))

    def write(self, start: int, raw: Any) -> None:
        """See `Destination.write`."""
        view = memoryview(raw).cast("B")
        first = self.grid.number(start)
        last = self.grid.number(start + view.nbytes - 1)
        fs, _ = self.location.filesystem()

        async def send(number: int) -> None:
            low, high = self.grid.span(number)
            # A copy of one part at a time: the client takes bytes.
            await self._patiently(
                lambda: self._upload_part(fs, number, bytes(view[low - start : high - start]))
            )

        async def send_all() -> None:
            slots = asyncio.Semaphore(_PARTS_AT_A_TIME)

            async def in_turn(number: int) -> None:
                async with slots:
                    await send(number)

            async with asyncio.TaskGroup() as group:
                for number in range(first, last + 1):
                    group.create_task(in_turn(number))

        try:
            with write_errors(self.location):
                try:
                    sync(fs.loop, send_all)
                except BaseExceptionGroup as failed:
                    raise failed.exceptions[0] from None
        except WriteError:
            if not self._is_whole():  # else a task whose worker was lost is being done again
                raise

    async def _upload_part(self, fs: Any, number: int, body: bytes) -> None:
        bucket, key = self._path
        await fs._call_s3(
            "upload_part",
            Bucket=bucket,
            Key=key,
            UploadId=self.upload,
            PartNumber=number + 1,
            Body=body,
        )

    async def _patiently(self, call: Any) -> None:
        attempts = Attempts(read_settings(), self.location.shown, self.location.scrub)
        while True:
            attempts.begin()
            try:
                await call()
            except Exception as error:  # noqa: BLE001 the store's own errors
                await asyncio.sleep(attempts.failed(error))
            else:
                return

    def keep(self, number: int, record: bytes) -> None:
        """See `Destination.keep`."""
        name = self._record_of(number)
        self._put(name, record)
        if not self._is_begun():  # given up while this task was running
            self._remove([name])

    def recall(self, number: int) -> bytes:
        """See `Destination.recall`."""
        return self._get(self._record_of(number))

    def _record_of(self, number: int) -> str:
        """Named by this upload: a task may put its record after the upload was given up."""
        return self._beside(f"{number}.{self.mark}.block")

    def finish(self, rest: list[Piece], auxiliary: dict[str, bytes]) -> None:
        """See `Destination.finish`."""
        if self._is_whole():  # done, by a task whose worker was lost before it could say so
            self._forget_records()
            return
        for start, raw in rest:
            self.write(start, raw)
        for name, content in auxiliary.items():
            beside = self.location.sibling(name)
            self._put(beside.filesystem()[1], content)
        parts = self._parts()
        wanted = [
            (n + 1, stop - start)
            for n in range(self.grid.cells)
            for start, stop in (self.grid.span(n),)
        ]
        if [(part["PartNumber"], part["Size"]) for part in parts] != wanted:
            raise WriteError(
                f"{self.location.shown}: {len(parts)} of {len(wanted)} parts have arrived whole",
                code="write-failed",
                cause="the store lost a part, or somebody else has written to this upload",
                remedy="call again with {overwrite=True}",
                where=here(self.location),
            )
        if not self.overwrite and self.location.exists():
            raise exists(self.location.shown)
        listed = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in parts]
        # Where the store knows conditional writes, a second writer cannot come first meanwhile.
        condition = {} if self.overwrite else {"IfNoneMatch": "*"}
        try:
            self._call(
                "complete_multipart_upload",
                UploadId=self.upload,
                MultipartUpload={"Parts": listed},
                **condition,
            )
        except FileChangedError:  # the condition was not met
            raise exists(self.location.shown) from None
        self._forget_records()

    def _parts(self) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        marker: dict[str, Any] = {}
        while True:
            answer = self._call("list_parts", UploadId=self.upload, **marker)
            parts += answer.get("Parts", ())
            if not answer.get("IsTruncated"):
                return sorted(parts, key=lambda part: int(part["PartNumber"]))
            marker = {"PartNumberMarker": answer["NextPartNumberMarker"]}

    def _is_whole(self) -> bool:
        """Whether the object is there, and is what this call was to write."""
        try:
            found = self._call("head_object")
        except (WriteError, AccessDeniedError):  # which some stores say of what is not there
            return False
        return bool(found.get("Metadata", {}).get(_MARK) == self.mark)

    def abandon(self) -> None:
        """See `Destination.abandon`."""
        # A part that is on its way may outlive the first call, as S3 says.
        for _ in range(3):
            if not self.upload:
                break
            with suppress(WriteError):  # it has been completed or aborted before
                self._call("abort_multipart_upload", UploadId=self.upload)
            if self.upload not in self._uploads():
                break
        self._forget_records()

    def _forget_records(self) -> None:
        """Remove what is kept beside the file; the plan first, for which `keep` looks last."""
        self._remove([self._beside("plan.json")])
        self._remove(self._names_beside())

    def _names_beside(self) -> list[str]:
        fs, _ = self.location.filesystem()

        def ask() -> list[str]:
            fs.invalidate_cache()
            names: list[str] = fs.find(self._beside(""))
            return names

        return self.location.retried(ask)

    def _is_begun(self) -> bool:
        fs, _ = self.location.filesystem()
        plan = self._beside("plan.json")

        def ask() -> bool:
            fs.invalidate_cache()
            return bool(fs.exists(plan))

        return self.location.retried(ask)

    def _remove(self, names: list[str]) -> None:
        fs, _ = self.location.filesystem()

        def remove() -> None:
            with suppress(FileNotFoundError):
                if names:
                    fs.rm(names)
            fs.invalidate_cache()

        with write_errors(self.location):
            self.location.retried(remove)

    def _call(self, method: str, **arguments: Any) -> Any:
        """Call S3 with the bucket and the key, patiently."""
        fs, _ = self.location.filesystem()
        bucket, key = self._path
        given = {"Bucket": bucket, "Key": key, **arguments}
        given = {name: value for name, value in given.items() if value is not None}
        with write_errors(self.location):
            return self.location.retried(lambda: sync(fs.loop, fs._call_s3, method, **given))

    def _put(self, path: str, content: bytes) -> None:
        fs, _ = self.location.filesystem()
        with write_errors(self.location):
            self.location.retried(lambda: fs.pipe_file(path, content))

    def _get(self, path: str) -> bytes:
        fs, _ = self.location.filesystem()
        found: bytes = self.location.retried(lambda: fs.cat_file(path))
        return found
