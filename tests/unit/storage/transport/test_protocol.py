"""Content-Range of a response is compared with the request."""

from __future__ import annotations

import pytest

from mrcdist.errors import FileChangedError, ReadError
from mrcdist.storage.location import Location
from mrcdist.storage.retry import Transient
from mrcdist.storage.transport.protocol import check_range
from mrcdist.storage.version import Version

LOCATION = Location("https://host/a.mrc")
PLANNED = Version(1000, "etag", '"1"')


@pytest.mark.parametrize(
    ("content_range", "start", "size", "length"),
    [
        ("bytes 100-199/1000", 100, 100, 1000),
        ("bytes 100-199/*", 100, 100, None),
        ("bytes 900-999/1000", 900, None, 1000),
        ("bytes 0-99/1000", 0, None, 1000),
        (None, 0, None, None),
        ("", 0, None, None),
    ],
)
def test_requested_range_contains_the_size_of_the_file(
    content_range: str | None, start: int, size: int | None, length: int | None
) -> None:
    assert check_range(content_range, start, size, LOCATION, PLANNED) == length


@pytest.mark.parametrize(
    ("content_range", "start", "size", "error"),
    [
        ("bytes 100-199/1001", 100, 100, FileChangedError),
        ("bytes 100-199/150", 100, 100, FileChangedError),
        ("bytes 0-99/150", 0, None, FileChangedError),
        ("bytes 100-198/1000", 100, 100, Transient),
        ("bytes 10-109/1000", 100, 100, Transient),
        ("bytes 1000-1099/*", 100, None, Transient),
        ("garbage", 100, 100, Transient),
        (None, 100, 100, ReadError),
        (None, 0, 100, ReadError),
        (None, 100, None, ReadError),
    ],
)
def test_response_with_another_range_is_an_error(
    content_range: str | None, start: int, size: int | None, error: type[Exception]
) -> None:
    with pytest.raises(error):
        check_range(content_range, start, size, LOCATION, PLANNED)


def test_unknown_size_is_taken_from_the_response() -> None:
    assert check_range("bytes 0-99/150", 0, 100, LOCATION, Version(None)) == 150
    with pytest.raises(FileChangedError):
        check_range("bytes 100-199/150", 100, 100, LOCATION, Version(None))
