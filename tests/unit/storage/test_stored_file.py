"""One version of one file: reads of it, and changes that are detected."""

from __future__ import annotations

import os
from contextlib import ExitStack

import pytest

from mrcdist.errors import FileChangedError, MissingFileError
from mrcdist.read_limits import DEFAULT_LIMITS
from mrcdist.storage.location import Location
from mrcdist.storage.stored_file import StoredFile, current_version, read_whole


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    return path


def replace(path, content):
    path.with_name("new").write_bytes(content)
    path.with_name("new").replace(path)


def test_reads_end_at_the_end_of_the_file(memory_file, tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    for url in (memory_file(b"12345"), tmp_path / "a"):
        file, head, _ = StoredFile.open(Location.of(url), 3, DEFAULT_LIMITS)
        assert head == b"123"
        assert file.read(0, 100) == b"12345"
        assert file.read(3, 100) == b"45"
        assert file.read(5, 100) == b""


def test_small_file_is_read_up_to_a_limit(memory_file, path):
    for url in (memory_file(b"12345"), path):
        assert read_whole(Location.of(url), 5) == b"12345"
        assert read_whole(Location.of(url), 3) == b"123"


def test_current_version_is_that_of_the_opened_file(memory_file, path):
    for url in (memory_file(b"12345"), path):
        file, _, settled = StoredFile.open(Location.of(url), 3, DEFAULT_LIMITS)
        assert settled
        assert current_version(file.location, 3) == file.version
        assert file.version.size == 5


def test_missing_file_is_an_error(memory_file, tmp_path):
    for url in (memory_file(b"").replace("any.mrc", "none"), tmp_path / "none"):
        with pytest.raises(MissingFileError):
            StoredFile.open(Location.of(url), 3, DEFAULT_LIMITS)


@pytest.mark.parametrize("content", [b"54321", b"1234567", b"1"], ids=str)
def test_replaced_file_is_an_error(memory_file, path, content):
    for url in (memory_file(b"12345"), path):
        file, _, _ = StoredFile.open(Location.of(url), 3, DEFAULT_LIMITS)
        fs, name = file.location.filesystem()
        fs.pipe_file(name, content)
        with pytest.raises(FileChangedError):
            file.read(0, 5)


def test_local_file_overwritten_between_two_reads_is_an_error_at_the_end(path):
    file, _, _ = StoredFile.open(Location.of(path), 3, DEFAULT_LIMITS)
    times = path.stat()
    with ExitStack() as stack:
        read = stack.enter_context(file.reader())
        assert read(0, 3) == b"123"
        path.write_bytes(b"54321")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert read(0, 3) == b"543"
        with pytest.raises(FileChangedError):
            stack.close()


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be deleted or replaced")
@pytest.mark.parametrize("change", [os.unlink, lambda path: replace(path, b"54321")])
def test_open_local_file_can_be_read_after_it_is_deleted_or_replaced(path, change):
    file, _, _ = StoredFile.open(Location.of(path), 3, DEFAULT_LIMITS)
    with file.reader() as read:
        change(path)
        assert read(0, 5) == b"12345"


def test_local_file_is_opened_for_writing_only_in_the_planned_version(path):
    file, _, _ = StoredFile.open(Location.of(path), 3, DEFAULT_LIMITS)
    replace(path, b"54321")
    with pytest.raises(FileChangedError), file.open_local(path, "strict", "r+b"):
        pytest.fail("another file was opened")
    file, _, _ = StoredFile.open(Location.of(path), 3, DEFAULT_LIMITS)
    with pytest.raises(FileChangedError), file.open_local(path, "strict", "r+b") as opened:
        opened.write(b"9")
    assert path.read_bytes() == b"94321"
