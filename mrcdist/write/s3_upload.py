"""One multipart upload, whose parts are sent by tasks or copied by the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from mrcdist.errors import FileChangedError, MissingFileError, MrcdistError, WriteError
from mrcdist.storage.location import Location
from mrcdist.warning_notes import Note
from mrcdist.write.errors import exists, incomplete
from mrcdist.write.s3_client import Body, call, call_once
from mrcdist.write.work_folder import request

_MARK = "mrcdist-write"


class Part(NamedTuple):
    """A part that has arrived."""

    number: int
    nbytes: int
    etag: str


@dataclass(frozen=True)
class S3Upload:
    """A multipart upload of one object.

    `mark`, which is stored with the object, identifies the call that writes it; `upload` is the
    UploadId.
    """

    location: Location
    mark: str = ""
    upload: str = ""

    def begin(self) -> S3Upload:
        """Start the upload; if a response is lost, an upload that `others` lists may be left."""
        content_type, metadata = "application/octet-stream", {_MARK: self.mark}
        try:
            response = self._call(
                "create_multipart_upload", ContentType=content_type, Metadata=metadata
            )
        except WriteError as error:
            others = self.others()
            if not others:
                raise
            raise error.remedied(f"{error.remedy}; {orphan_note(others)}") from None
        return replace(self, upload=str(response["UploadId"]))

    def open_uploads(self, *, page: int = 1000) -> frozenset[str]:
        """Return the IDs of the uploads of this object that were neither completed nor aborted.

        Each request lists at most `page` uploads, including those of objects with longer names.
        """
        fs, path = self.location.filesystem()
        _, key, _ = fs.split_path(path)
        ids: set[str] = set()
        arguments = {"Key": None, "Prefix": key, "MaxUploads": page}
        markers = ("KeyMarker", "UploadIdMarker")
        for response in self._pages("list_multipart_uploads", markers, **arguments):
            uploads = response.get("Uploads", ())
            ids.update(str(each["UploadId"]) for each in uploads if each["Key"] == key)
            # Keys are sorted, so the object's own comes before those that start with it.
            if response.get("NextKeyMarker", "") > key:
                break
        return frozenset(ids)

    def parts(self) -> list[Part]:
        """Return the parts that have arrived."""
        pages = self._pages("list_parts", ("PartNumberMarker",), UploadId=self.upload)
        return sorted(
            Part(int(part["PartNumber"]), int(part["Size"]), str(part["ETag"]))
            for response in pages
            for part in response.get("Parts", ())
        )

    def _pages(self, method: str, markers: Sequence[str], **arguments: Any) -> Iterator[Any]:
        """Yield the pages of a listing, each of which is retried on its own.

        `markers` are the arguments that select the next page.
        """
        while True:
            response = self._call(method, **arguments)
            yield response
            if not response.get("IsTruncated"):
                return
            arguments.update((name, response[f"Next{name}"]) for name in markers)

    def send(self, number: int, body: memoryview | Body) -> Part:
        """Send a part, without retries."""
        response = self._call_once("upload_part", PartNumber=number, Body=body)
        return Part(number, body.nbytes, str(response["ETag"]))

    def copy(self, number: int, source: Location, start: int, stop: int) -> None:
        """Let the store copy a byte range of another object as a part."""
        fs, path = source.filesystem()
        arguments = {
            "PartNumber": number,
            "CopySource": dict(zip(("Bucket", "Key"), fs.split_path(path), strict=False)),
            "CopySourceRange": f"bytes={start}-{stop - 1}",
        }
        self.location.retried(lambda: self._call_once("upload_part_copy", **arguments), long=True)

    def complete(self, parts: Sequence[Part], sizes: Sequence[int], *, overwrite: bool) -> None:
        """Create the object from its parts.

        Raise `WriteError` unless `parts` are in order and have the expected sizes, and
        `ArgumentError` if another object has this name and must not be replaced.
        """
        if [(part.number, part.nbytes) for part in parts] != list(enumerate(sizes, 1)):
            raise incomplete(self.location, len(parts), len(sizes), "parts")
        if not overwrite and self.exists():
            raise exists(self.location.shown)
        part_list = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        arguments = {"UploadId": self.upload, "MultipartUpload": {"Parts": part_list}}
        # If the store supports conditional writes, no other writer can be faster.
        condition = {} if overwrite else {"IfNoneMatch": "*"}
        try:
            self._call("complete_multipart_upload", **arguments, **condition)
        except (FileChangedError, WriteError) as error:
            if self.is_complete():  # only the response was lost
                return
            if isinstance(error, FileChangedError):  # the condition was not met
                raise exists(self.location.shown) from None
            raise

    def exists(self) -> bool:
        """Return whether any object has this name."""
        return self._head() is not None

    def is_complete(self, *, retry: bool = True) -> bool:
        """Return whether the object exists and was written by this call."""
        try:
            head = self._head(retry=retry) or {}
        except MrcdistError:  # some stores respond with other errors for missing objects
            return False
        return bool(head.get("Metadata", {}).get(_MARK) == self.mark)

    def _head(self, *, retry: bool = True) -> dict[str, Any] | None:
        try:
            return request(
                self.location, lambda: dict(call_once(self.location, "head_object")), retry=retry
            )
        except MissingFileError:
            return None

    def others(self) -> frozenset[str]:
        """Return other open uploads of this object; none if they cannot be listed."""
        try:
            return self.open_uploads() - {self.upload}
        except MrcdistError:
            return frozenset()

    def is_open(self) -> bool:
        """Return whether the upload was started, and neither completed nor aborted."""
        return self.upload in self.open_uploads()

    def abort(self) -> None:
        """Abort the upload."""
        # According to S3, a part that is in transit may outlive the first request.
        for _ in range(3):
            with suppress(WriteError):  # it has been completed or aborted before
                self._call("abort_multipart_upload", UploadId=self.upload)
            try:
                if not self.is_open():
                    return
            except MrcdistError:  # a user with write access may not be allowed to list
                return

    def _call(self, method: str, **arguments: Any) -> Any:
        return call(self.location, method, **arguments)

    def _call_once(self, method: str, **arguments: Any) -> Any:
        return call_once(self.location, method, UploadId=self.upload, **arguments)


def orphan_note(uploads: frozenset[str]) -> Note:
    """Return a note about uploads that nobody may ever complete."""
    names = ", ".join(sorted(uploads))
    text = (
        f"{len(uploads)} unfinished multipart upload(s) of this object, started by another program "
        f"or left by one that was killed or lost the response, take up space: {names}; if nobody "
        "is writing, abort them (aws s3api abort-multipart-upload)"
    )
    return Note("uploads-unfinished", text)
