"""Small files of a folder, on a disk and in a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrcdist.errors import ReadError
from mrcdist.storage.location import Location
from mrcdist.storage.store_calls import StoreCalls


@pytest.fixture(params=["disk", "memory"])
def folder(request, memory_file, tmp_path):
    if request.param == "memory":
        url = memory_file(b"", "folder/other")
        return Location.of(url.removesuffix("/other"))
    (tmp_path / "folder").mkdir()
    return Location.of(tmp_path / "folder")


def test_files_are_written_read_listed_and_removed_by_name(folder):
    calls = StoreCalls(folder)
    calls.put("a", b"12345")
    calls.put("b", b"")
    assert (calls.read("a"), calls.read("a", 1, 3), calls.read("b")) == (b"12345", b"23", b"")
    assert {"a", "b"} <= set(calls.names())
    assert calls.sizes().items() >= {"a": 5, "b": 0}.items()
    calls.remove("a")
    calls.remove("a")
    assert not calls.exists("a")
    assert calls.exists()
    calls.remove_all()
    calls.remove_all()
    assert not calls.exists()


def test_existing_file_is_not_replaced_by_a_new_one(folder):
    calls = StoreCalls(folder)
    calls.put("a", b"1", new=True)
    with pytest.raises(ReadError, match="FileExistsError"):
        calls.put("a", b"2", new=True)
    assert calls.read("a") == b"1"


def test_files_are_copied_to_another_folder(folder):
    calls = StoreCalls(folder)
    calls.put("a", b"1")
    calls.put("b", b"2")
    if folder.is_local:
        Path(folder.sibling("target").url).mkdir()
    target = StoreCalls(folder.sibling("target"))
    calls.copy(["a", "b"], target)
    calls.copy([], target)
    assert (target.read("a"), target.read("b")) == (b"1", b"2")
