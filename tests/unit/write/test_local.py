"""New files on a disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mrcdist.errors import WriteError
from mrcdist.storage.location import Location
from mrcdist.write.grid import Grid
from mrcdist.write.local import LocalDestination


def test_error_for_a_full_disk_is_raised_even_if_the_work_folder_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "rename", refuse)
    larger_than_any_disk = Grid(1024, 1, 2**62)
    destination = LocalDestination(Location.of(tmp_path / "a.mrc"), larger_than_any_disk)
    with pytest.raises(WriteError) as error:
        destination.begin({}, overwrite=False, resume=False)
    assert error.value.code == "disk-full"
    [note] = error.value.__notes__
    assert "unfinished files could not all be removed" in note
    assert os.strerror(13) in note
