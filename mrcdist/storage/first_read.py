"""The first bytes of a file and its version, by one request where the store tells both at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fsspec.asyn import sync
from fsspec.implementations.http import HTTPFileSystem
from s3fs import S3FileSystem

from mrcdist.storage.http import get_http
from mrcdist.storage.translate import Transient, is_past_end
from mrcdist.storage.version import Identity, remote_identity

__all__ = ["read_first"]


def read_first(fs: Any, path: str, size: int, shown: str) -> tuple[Identity, bytes] | None:
    """Read up to `size` bytes from the start of a file, and its identity from the same answer.

    Parameters
    ----------
    fs : fsspec.AbstractFileSystem
    path : str
        The path on it.
    size : int
        Bytes.
    shown : str
        The redacted URL.

    Returns
    -------
    (Identity, bytes) or None
        None where one answer does not tell both: the store has to be asked for each. So it is
        with other filesystems, empty and missing files, folders, and servers that tell no version
        with a part of a file.

    Raises
    ------
    Exception
        As the filesystem raises them.
    """
    try:
        # By type: caching wrappers and archives know versions of their own.
        if isinstance(fs, S3FileSystem):
            told, raw = sync(fs.loop, _ask_s3, fs, path, size)
        elif isinstance(fs, HTTPFileSystem):
            told, raw = _ask_http(fs, path, size, shown)
        else:
            return None
    except FileNotFoundError:
        return None
    except Exception as error:
        if is_past_end(error):
            return None
        raise
    span, _, total = str(told.get("ContentRange") or "").removeprefix("bytes ").partition("/")
    if not total.isdigit() or not span.startswith("0-"):
        return None
    identity = remote_identity({**told, "size": int(total)})
    if len(raw) < min(size, int(total)):
        raise Transient(f"the answer ended at byte {len(raw)}, the file has {total}")
    return (identity, raw) if identity.kind else None


async def _ask_s3(fs: S3FileSystem, path: str, size: int) -> tuple[Mapping[str, Any], bytes]:
    bucket, key, version = fs.split_path(path)
    if not key:
        raise FileNotFoundError(path)
    wanted = {"Bucket": bucket, "Key": key, "Range": f"bytes=0-{size - 1}"}
    if version:
        wanted["VersionId"] = version
    answer = await fs._call_s3("get_object", **wanted)
    body, raw = answer["Body"], bytearray()
    try:
        # What a store sends beyond that, ignoring Range, stays with it.
        while len(raw) < size and (piece := await body.read(size - len(raw))):
            raw += piece
    finally:
        body.close()
    return answer, bytes(raw)


def _ask_http(
    fs: HTTPFileSystem, path: str, size: int, shown: str
) -> tuple[Mapping[str, Any], bytes]:
    headers, raw = get_http(fs, path, 0, size, shown)
    told = {key: headers.get(key) for key in ("ETag", "Last-Modified")}
    # Of what was compressed on the way nevertheless, it counts other bytes.
    plain = headers.get("Content-Encoding", "identity") == "identity"
    return {**told, "ContentRange": headers.get("Content-Range") if plain else None}, raw
