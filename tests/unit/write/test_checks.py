"""Destinations that would replace an input."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrcdist.errors import ArgumentError
from mrcdist.storage.location import Location
from mrcdist.write.checks import check_not_input


def is_refused(destination: str | Path, source: str | Path) -> bool:
    try:
        check_not_input(Location.of(destination), Location.of(source), "url")
    except ArgumentError as error:
        return (error.code, error.argument) == ("destination-is-input", "url")
    return False


@pytest.mark.parametrize(
    ("destination", "refused"),
    [
        ("memory://run/a.mrc", True),
        ("memory://run", True),
        ("memory://run/", True),
        ("memory://run/a", False),
        ("memory://run/a.mrc2", False),
        ("memory://ru", False),
        ("s3://run/a.mrc", False),
    ],
)
def test_object_or_prefix_of_the_input_in_a_store_is_refused(
    destination: str, refused: bool
) -> None:
    assert is_refused(destination, "memory://run/a.mrc") == refused


@pytest.mark.parametrize("chain", ["", "file://", "zip://a.mrc::", "simplecache::file://"])
def test_file_or_folder_of_the_input_is_refused_under_any_name(tmp_path: Path, chain: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "input").touch()
    (tmp_path / "link").symlink_to(folder / "input")
    source = f"{chain}{folder / 'input'}"
    for destination in (folder / "input", folder, tmp_path, tmp_path / "link"):
        assert is_refused(destination, source)
    for destination in (folder / "output", tmp_path / "run2"):
        assert not is_refused(destination, source)
