"""Files within archives and caches: checksums and copies."""

from __future__ import annotations

import zipfile

import fsspec
import numpy as np
import pytest

import mrcdist
from mrcdist.errors import FileChangedError
from mrcdist.storage import layers
from mrcdist.storage.location import Location
from mrcdist.storage.version import Version
from tests.support.mrc_files import counting, mrc_bytes

CONTENT = bytes(range(256)) * 16


def write_damaged_zip(path, compression):
    """Write a zip file whose only member has a different checksum."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a", CONTENT)
        archive.infolist()[0].CRC ^= 1


def test_files_are_read_through_caches_and_archives(tmp_path):
    numbers = counting((6, 4, 5), "uint16")
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc_bytes(numbers))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(path, "run/a.mrc")
    for url in (
        f"simplecache::{path}",
        f"filecache::file://{path}",
        f"zip://run/a.mrc::{tmp_path}/all.zip",
    ):
        [ds] = mrcdist.read_mrc(url, chunks=(2, -1, -1))
        np.testing.assert_array_equal(ds["data"].compute(), numbers)


def test_stored_member_is_verified_once_a_quarter_of_it_has_been_read(tmp_path):
    write_damaged_zip(tmp_path / "all.zip", zipfile.ZIP_STORED)
    fs = fsspec.filesystem("zip", fo=str(tmp_path / "all.zip"))
    member = str(tmp_path), Version(len(CONTENT), "archive", "1")
    layers.verify_once(fs, "a", member, 512)
    with pytest.raises(zipfile.BadZipFile, match="CRC"):
        layers.verify_once(fs, "a", member, 512)


def test_compressed_member_is_verified_at_its_first_read(tmp_path):
    write_damaged_zip(tmp_path / "all.zip", zipfile.ZIP_DEFLATED)
    fs = fsspec.filesystem("zip", fo=str(tmp_path / "all.zip"))
    member = str(tmp_path), Version(len(CONTENT), "archive", "1")
    with pytest.raises(zipfile.BadZipFile, match="CRC"):
        layers.verify_once(fs, "a", member, 1)


def test_cache_has_one_copy_of_each_version_and_none_of_another(memory_file, tmp_path):
    url = memory_file(CONTENT)
    location = Location.of(f"simplecache::{url}", {"simplecache": {"cache_storage": str(tmp_path)}})
    old = location.find_version()
    copies = [location.local_copy(old), location.local_copy(old)]
    fsspec.filesystem("memory").pipe_file(url, CONTENT[::-1])
    copies.append(location.local_copy(location.find_version()))
    assert len(set(copies)) == 2
    assert [copy.read_bytes() for copy in copies] == [CONTENT, CONTENT, CONTENT[::-1]]
    with pytest.raises(FileChangedError):
        location.local_copy(Version(len(CONTENT), "modified", "2000-01-01"))
    assert set(tmp_path.iterdir()) == set(copies)  # nothing unfinished is left
