"""One multipart upload: the parts of one object, sent by tasks or copied by the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from mrcdist.errors import FileChangedError, MissingFileError, MrcdistError, WriteError
from mrcdist.storage.location import Location
from mrcdist.write.errors import exists, incomplete
from mrcdist.write.s3_client import Body, answer, call, call_once

_MARK = "mrcdist-write"


class Part(NamedTuple):
    """A part that has arrived: its number, its bytes, and what the store calls it."""

    number: int
    nbytes: int
    etag: str


@dataclass(frozen=True)
class S3Upload:
    """An object that is made of parts.

    `mark`, which is stored with the object, tells which call has written it; `upload` is the
    UploadId.
    """

    location: Location
    mark: str = ""
    upload: str = ""

    def begin(self) -> S3Upload:
        """Begin the upload; if an answer is lost, one that `others` lists may be left."""
        kind, metadata = "application/octet-stream", {_MARK: self.mark}
        try:
            begun = self._call("create_multipart_upload", ContentType=kind, Metadata=metadata)
        except WriteError as error:
            left = self.others()
            if not left:
                raise
            raise error.remedied(f"{error.remedy}; {left_by_others(left)}") from None
        return replace(self, upload=str(begun["UploadId"]))

    def open_uploads(self, *, page: int = 1000) -> frozenset[str]:
        """Return the uploads of this object that were neither completed nor aborted.

        A request lists `page` uploads at most, those of objects with longer names included.
        """
        fs, path = self.location.filesystem()
        _, key, _ = fs.split_path(path)
        found: set[str] = set()
        asked = {"Key": None, "Prefix": key, "MaxUploads": page}
        markers = ("KeyMarker", "UploadIdMarker")
        for listed in self._pages("list_multipart_uploads", markers, **asked):
            uploads = listed.get("Uploads", ())
            found.update(str(each["UploadId"]) for each in uploads if each["Key"] == key)
            # Names are sorted: the object's own comes before all that begin with it.
            if listed.get("NextKeyMarker", "") > key:
                break
        return frozenset(found)

    def parts(self) -> list[Part]:
        """Return the parts that have arrived."""
        pages = self._pages("list_parts", ("PartNumberMarker",), UploadId=self.upload)
        return sorted(
            Part(int(part["PartNumber"]), int(part["Size"]), str(part["ETag"]))
            for listed in pages
            for part in listed.get("Parts", ())
        )

    def _pages(self, method: str, markers: Sequence[str], **arguments: Any) -> Iterator[Any]:
        """Yield the answers of a call that lists; each is tried again, and not all from the first.

        Of the next page, `markers` are given as the answer before has them.
        """
        while True:
            listed = self._call(method, **arguments)
            yield listed
            if not listed.get("IsTruncated"):
                return
            arguments.update((name, listed[f"Next{name}"]) for name in markers)

    def send(self, number: int, body: memoryview | Body) -> Part:
        """Send a part, once."""
        sent = self._once("upload_part", PartNumber=number, Body=body)
        return Part(number, body.nbytes, str(sent["ETag"]))

    def copy(self, number: int, source: Location, start: int, stop: int) -> None:
        """Have the store copy a byte range of another object as a part."""
        fs, path = source.filesystem()
        arguments = {
            "PartNumber": number,
            "CopySource": dict(zip(("Bucket", "Key"), fs.split_path(path), strict=False)),
            "CopySourceRange": f"bytes={start}-{stop - 1}",
        }
        self.location.retried(lambda: self._once("upload_part_copy", **arguments), long=True)

    def complete(self, parts: Sequence[Part], sizes: Sequence[int], *, overwrite: bool) -> None:
        """Make the object of its parts.

        Raise `WriteError` unless `parts`, in order, are of the sizes that there should be, and
        `ArgumentError` if there is another object that may not be replaced.
        """
        if [(part.number, part.nbytes) for part in parts] != list(enumerate(sizes, 1)):
            raise incomplete(self.location, len(parts), len(sizes), "parts")
        if not overwrite and self.exists():
            raise exists(self.location.shown)
        listed = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        # Where the store knows conditional writes, a second writer cannot come first meanwhile.
        condition = {} if overwrite else {"IfNoneMatch": "*"}
        given = {"UploadId": self.upload, "MultipartUpload": {"Parts": listed}, **condition}
        try:
            self._call("complete_multipart_upload", **given)
        except (FileChangedError, WriteError) as error:
            if self.is_whole():  # done, but the answer got lost
                return
            if isinstance(error, FileChangedError):  # the condition was not met
                raise exists(self.location.shown) from None
            raise

    def exists(self) -> bool:
        """Whether there is an object of that name."""
        return self._head() is not None

    def is_whole(self, *, retry: bool = True) -> bool:
        """Whether the object is there, and is what this call was to write."""
        try:
            found = self._head(retry=retry) or {}
        except MrcdistError:  # some stores say that of what is not there
            return False
        return bool(found.get("Metadata", {}).get(_MARK) == self.mark)

    def _head(self, *, retry: bool = True) -> dict[str, Any] | None:
        def ask() -> dict[str, Any]:
            return dict(call_once(self.location, "head_object"))

        try:
            return answer(self.location, ask, retry=retry)
        except MissingFileError:
            return None

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

    def _call(self, method: str, **arguments: Any) -> Any:
        return call(self.location, method, **arguments)

    def _once(self, method: str, **arguments: Any) -> Any:
        return call_once(self.location, method, UploadId=self.upload, **arguments)


def left_by_others(uploads: frozenset[str]) -> str:
    """Name uploads that nobody may ever complete."""
    names = ", ".join(sorted(uploads))
    return (
        f"{len(uploads)} unfinished multipart upload(s) of this object, begun by another program "
        f"or left by one that was killed or lost the answer, take up space: {names}; if nobody is "
        "writing, abort them (aws s3api abort-multipart-upload)"
    )
