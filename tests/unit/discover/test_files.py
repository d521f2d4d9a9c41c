"""The directory of a file is listed when it is needed, and once."""

from __future__ import annotations

import pytest

from mrcdist.discover.files import Directory, locate
from mrcdist.storage.location import Location


def test_names_are_listed_once(tmp_path, monkeypatch):
    (tmp_path / "a.mrc").write_bytes(b"")
    asked = []
    monkeypatch.setattr(Location, "list_siblings", lambda self: asked.append(self) or ("a.mrc",))
    directory = Directory(Location.of(tmp_path / "a.mrc"))
    assert asked == []
    assert directory.listing == directory.listing == ("a.mrc",)
    assert asked == [directory.location]


def test_a_directory_that_cannot_be_listed_is_asked_once(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(Location, "list_siblings", lambda self: asked.append(self))
    directory = Directory(Location.of(tmp_path / "a.mrc"))
    assert directory.listing is directory.listing is None
    assert len(asked) == 1


def test_names_known_so_far_are_given_without_listing(tmp_path):
    (tmp_path / "a.mrc").write_bytes(b"")
    directory = Directory(Location.of(tmp_path / "a.mrc"))
    assert directory.known_names == ()
    assert directory.listing == ("a.mrc",)
    assert directory.known_names == ("a.mrc",)


OPTIONS = {"headers": {"Authorization": "Bearer made-up"}}


class TestLocate:
    """Storage options of the data go to files in the same store, and nowhere else."""

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
    def test_serve_a_file_in_the_same_store(self, path, data):
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
    def test_do_not_go_to_another_one(self, path, data):
        assert not locate(path, Location.of(data, OPTIONS)).storage_options
