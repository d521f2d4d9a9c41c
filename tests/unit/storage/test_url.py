"""Windows paths are local files; tested with pathlib's rules for Windows on any system."""

from __future__ import annotations

from pathlib import PureWindowsPath

import pytest

from mrcdist.storage import url
from mrcdist.storage.url import lies_in


class WindowsPath(PureWindowsPath):
    """Windows path with a working directory, on any system."""

    def absolute(self):
        return WindowsPath("C:/here") / self

    def exists(self):
        return False


@pytest.fixture(autouse=True)
def _windows(monkeypatch):
    monkeypatch.setattr(url, "Path", WindowsPath)


ABSOLUTE = (
    r"C:\data\a movie.mrc",
    "C:/data/a movie.mrc",
    r"\\server\share\data\a movie.mrc",
    "//server/share/data/a movie.mrc",
)


@pytest.mark.parametrize("text", ABSOLUTE)
def test_drive_letters_and_unc_names_are_absolute_paths(text):
    assert url.is_path(text)
    assert url.as_path(text) == str(PureWindowsPath(text))
    assert url.chain(text) == [text]


def test_relative_path_with_backslashes_becomes_absolute():
    assert url.as_path(r"data\a.mrc") == r"C:\here\data\a.mrc"


@pytest.mark.parametrize("text", ABSOLUTE)
def test_name_of_a_windows_path_is_its_last_part(text):
    assert url.name_of(text) == "a movie.mrc"


@pytest.mark.parametrize("text", ABSOLUTE)
def test_sibling_of_a_path_is_in_the_same_folder(text):
    sibling = url.sibling_url(text, "a_info.txt")
    assert PureWindowsPath(sibling) == PureWindowsPath(text).with_name("a_info.txt")


@pytest.mark.parametrize("scheme", ["https", "HTTPS"])
def test_name_in_a_web_url_is_unquoted_and_without_query(scheme):
    assert url.name_of(f"{scheme}://x.example/a%20movie.mrc?sig=1") == "a movie.mrc"


@pytest.mark.parametrize("text", ["s3://bucket/a.mrc", "https://x.example/a.mrc", "memory://a.mrc"])
def test_urls_are_not_windows_paths(text):
    assert not url.is_path(text)
    assert url.as_path(text) is None


def test_file_lies_in_all_its_parent_folders_and_links_to_them(tmp_path):
    file = tmp_path / "run" / "part" / "a.mrc"
    file.parent.mkdir(parents=True)
    file.touch()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    assert lies_in(file, tmp_path / "run")
    assert lies_in(file, tmp_path / "link")
    assert not lies_in(file, file)
    assert not lies_in(tmp_path / "b.mrc", tmp_path / "run")
    assert not lies_in(file, tmp_path / "none")
