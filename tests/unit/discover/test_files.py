"""Listing of the directory of a file, and storage options of auxiliary files."""

from __future__ import annotations

import pytest
from fsspec.implementations.local import LocalFileSystem

from mrcdist.discover.files import Directory, locate
from mrcdist.storage.location import Location


@pytest.fixture
def requests(monkeypatch):
    """Folders that were listed."""
    folders, ls = [], LocalFileSystem.ls
    monkeypatch.setattr(
        LocalFileSystem, "ls", lambda fs, path, **how: folders.append(path) or ls(fs, path, **how)
    )
    return folders


def test_directory_is_listed_once_when_needed(tmp_path, requests):
    (tmp_path / "a.mrc").write_bytes(b"")
    directory = Directory(Location.of(tmp_path / "a.mrc"))
    assert requests == []
    assert directory.listing == directory.listing == ("a.mrc",)
    assert requests == [str(tmp_path)]


def test_failed_listing_is_not_repeated(tmp_path, requests):
    directory = Directory(Location.of(tmp_path / "missing" / "a.mrc"))
    assert directory.listing is directory.listing is None
    assert len(requests) == 1


def test_known_names_do_not_cause_a_listing(tmp_path):
    (tmp_path / "a.mrc").write_bytes(b"")
    directory = Directory(Location.of(tmp_path / "a.mrc"))
    assert directory.known_names == ()
    assert directory.listing == ("a.mrc",)
    assert directory.known_names == ("a.mrc",)


OPTIONS = {"headers": {"Authorization": "Bearer made-up"}}


class TestLocate:
    """Storage options of the data apply only to files in the same store."""

    @pytest.mark.parametrize(
        ("path", "data"),
        [
            ("http://a:80/x/i.txt", "http://a:80/m.mrc"),
            ("http://A/i.txt", "http://user@a/m.mrc"),
            ("s3://other/i.txt", "s3://bucket/m.mrc"),
            ("gs://other/i.txt", "gs://bucket/m.mrc"),
            ("abfs://other/i.txt", "abfs://box/m.mrc"),
            ("sftp://a/i.txt", "sftp://u@a/m.mrc"),
            ("zip://i.txt::http://a/all.zip", "zip://m.mrc::http://a/all.zip"),
        ],
    )
    def test_storage_options_apply_to_files_in_the_same_store(self, path, data):
        found = locate(path, Location.of(data, OPTIONS))
        assert found.storage_options == OPTIONS

    @pytest.mark.parametrize(
        ("path", "data"),
        [
            ("http://b/i.txt", "http://a/m.mrc"),
            ("http://a:8080/i.txt", "http://a/m.mrc"),
            ("http://a/i.txt", "https://a/m.mrc"),
            ("http://a@b/i.txt", "http://a/m.mrc"),
            ("s3://bucket/i.txt", "http://a/m.mrc"),
            ("/i.txt", "http://a/m.mrc"),
            ("sftp://b/i.txt", "sftp://a/m.mrc"),
            ("ftp://u@b/i.txt", "ftp://u@a/m.mrc"),
            ("abfs://c@b.dfs.core.windows.net/i.txt", "abfs://c@a.dfs.core.windows.net/m.mrc"),
            ("zip://i.txt::http://b/all.zip", "zip://m.mrc::http://a/all.zip"),
        ],
    )
    def test_storage_options_do_not_go_to_another_store(self, path, data):
        assert not locate(path, Location.of(data, OPTIONS)).storage_options
