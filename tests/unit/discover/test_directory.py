"""The directory of a file is listed when it is needed, and once."""

from __future__ import annotations

from mrcdist.discover.directory import Directory
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
    assert directory.listed == ()
    assert directory.listing == ("a.mrc",)
    assert directory.listed == ("a.mrc",)
