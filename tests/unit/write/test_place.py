"""A complete file or folder gets its name, or all stays as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrcdist.write.place import give_name


@pytest.mark.parametrize("old", [None, "file", "folder"])
def test_the_new_one_takes_the_place_of_the_old_one(tmp_path: Path, old: str | None) -> None:
    path, new = tmp_path / "a", tmp_path / "new"
    if old == "file":
        path.write_text("old")
    elif old == "folder":
        path.mkdir()
        (path / "inside").write_text("old")
    if old == "folder":
        new.mkdir()
    else:
        new.write_text("new")
    give_name(new, path, tmp_path / "aside")
    assert not new.exists()
    assert list(path.iterdir()) == [] if old == "folder" else path.read_text() == "new"


def test_a_folder_keeps_its_name_if_the_new_one_cannot_have_it(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.mkdir()
    (path / "inside").write_text("old")
    with pytest.raises(FileNotFoundError):
        give_name(tmp_path / "missing", path, tmp_path / "aside")
    assert (path / "inside").read_text() == "old"
    assert not (tmp_path / "aside").exists()
