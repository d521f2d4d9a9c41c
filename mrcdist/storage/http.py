"""A bounded read over HTTP: a server that ignores Range is refused, not downloaded."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fsspec.asyn import sync
from fsspec.implementations.http import HTTPFileSystem

from mrcdist.errors import ReadError
from mrcdist.storage.redact import redact_record

__all__ = ["get_http", "range_headers", "ranges_ignored", "read_http"]

# These log URLs and headers as they are, with passwords, signatures and session tokens.
for _logger in ("fsspec.http", "botocore.auth", "botocore.endpoint"):
    logging.getLogger(_logger).addFilter(redact_record)


def read_http(fs: HTTPFileSystem, path: str, start: int, size: int, shown: str) -> bytes:
    """Read up to `size` bytes from byte `start`, fewer where the file ends.

    fsspec's own ``cat_file`` would take all that a server without ranges sends.

    Raises
    ------
    ReadError
        The server ignores Range, and the file is longer than what is wanted of it.
    FileNotFoundError, aiohttp.ClientError
        As fsspec raises them.
    """
    return get_http(fs, path, start, size, shown)[1]


def get_http(
    fs: HTTPFileSystem, path: str, start: int, size: int, shown: str
) -> tuple[Mapping[str, str], bytes]:
    """Do the same, and return the answer's headers before the bytes."""
    answer: tuple[Mapping[str, str], bytes] = sync(fs.loop, _get, fs, path, start, size, shown)
    return answer


async def _get(
    fs: HTTPFileSystem, path: str, start: int, size: int, shown: str
) -> tuple[Mapping[str, str], bytes]:
    session = await fs.set_session()
    options = dict(fs.kwargs)
    headers = {**options.pop("headers", {}), **range_headers(start, size)}
    async with session.get(fs.encode_url(path), headers=headers, **options) as answer:
        if answer.status == 416:
            return answer.headers, b""
        fs._raise_not_found_for_status(answer, path)
        pieces, got = [], 0
        async for piece in answer.content.iter_chunked(2**18):
            pieces.append(piece)
            got += len(piece)
            if got > size:
                break
        if got > size or (answer.status == 200 and start > 0):
            raise ranges_ignored(shown)
        return answer.headers, b"".join(pieces)


def range_headers(start: int, size: int) -> dict[str, str]:
    """Headers that ask for a part of the bytes as they are, not as compressed on the way."""
    return {"Range": f"bytes={start}-{start + size - 1}", "Accept-Encoding": "identity"}


def ranges_ignored(shown: Any) -> ReadError:
    """Build the error for a server that sends everything."""
    return ReadError(
        f"{shown}: the server ignores Range and sends the whole file",
        cause="it answered 200 to a request for a part",
        remedy='prefix the URL with "simplecache::" to fetch the whole file once a worker, '
        "or serve it from a server that knows ranges",
    )
