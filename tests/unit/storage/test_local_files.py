"""Local files and folders are created, replaced and removed atomically."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mrcdist.errors import WriteError
from mrcdist.storage.local_files import (
    atomic_write,
    explain_os_errors,
    remove_folder,
    rename_file,
    replace_path,
    restore_path,
)


class TestAtomicWrite:
    def test_file_appears_only_when_it_is_complete(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        with pytest.raises(ZeroDivisionError), atomic_write(path) as file:
            file.writelines(b"x" * (1 // n) for n in (1, 0))
        assert list(tmp_path.iterdir()) == []
        with atomic_write(path) as file:
            file.write(b"all")
            assert not path.exists()
        assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"all"]

    def test_two_writers_use_different_temporary_names(self, tmp_path: Path) -> None:
        with atomic_write(tmp_path / "a") as one, atomic_write(tmp_path / "a") as two:
            one.write(b"one")
            two.write(b"two")
        assert (tmp_path / "a").read_bytes() == b"one"

    def test_error_has_the_message_of_the_operating_system(self, tmp_path: Path) -> None:
        path = tmp_path / "folder"
        path.mkdir()
        with (
            pytest.raises(WriteError, match="folder could not be written") as failed,
            explain_os_errors(path),
            atomic_write(path) as file,
        ):
            file.write(b"all")
        assert failed.value.code == "write-failed"
        assert failed.value.cause == os.strerror(21)
        assert [each.name for each in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("hard_links", [True, False])
class TestRenameFile:
    @pytest.fixture(autouse=True)
    def _filesystem(self, hard_links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        def link(*_: object) -> None:
            raise PermissionError(1, "not supported")

        if not hard_links:
            monkeypatch.setattr(os, "link", link)

    @pytest.fixture
    def complete(self, tmp_path: Path) -> Path:
        complete = tmp_path / "complete"
        complete.write_text("new", "utf-8")
        return complete

    @pytest.mark.parametrize("overwrite", [True, False])
    def test_file_is_renamed_to_a_free_name(
        self, complete: Path, tmp_path: Path, overwrite: bool
    ) -> None:
        rename_file(complete, tmp_path / "a", overwrite=overwrite)
        assert [path.name for path in tmp_path.iterdir()] == ["a"]

    def test_existing_file_is_replaced_only_with_overwrite(
        self, complete: Path, tmp_path: Path
    ) -> None:
        path = tmp_path / "a"
        path.write_text("old", "utf-8")
        with pytest.raises(FileExistsError):
            rename_file(complete, path, overwrite=False)
        assert (complete.read_text("utf-8"), path.read_text("utf-8")) == ("new", "old")
        rename_file(complete, path, overwrite=True)
        assert path.read_text("utf-8") == "new"

    def test_rename_that_was_cut_short_is_completed(
        self, complete: Path, tmp_path: Path, hard_links: bool
    ) -> None:
        if hard_links:
            os.link(complete, tmp_path / "a")
        rename_file(complete, tmp_path / "a", overwrite=False)
        assert [path.name for path in tmp_path.iterdir()] == ["a"]

    def test_renaming_a_missing_file_leaves_the_name_free(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            rename_file(tmp_path / "missing", tmp_path / "a", overwrite=False)
        assert list(tmp_path.iterdir()) == []

    def test_only_one_of_several_writers_gets_the_name(self, tmp_path: Path) -> None:
        writers = 8
        files = [tmp_path / str(number) for number in range(writers)]
        for file in files:
            file.write_text(file.name, "utf-8")
        start = threading.Barrier(writers)

        def rename(file: Path) -> bool:
            start.wait()
            try:
                rename_file(file, tmp_path / "a", overwrite=False)
            except FileExistsError:
                return False
            return True

        with ThreadPoolExecutor(writers) as threads:
            won = list(threads.map(rename, files))
        assert won.count(True) == 1
        assert (tmp_path / "a").read_text("utf-8") == files[won.index(True)].name


class TestReplacePath:
    @pytest.mark.parametrize("old", [None, "file", "folder"])
    def test_renamed_file_or_folder_replaces_the_one_with_its_name(
        self, tmp_path: Path, old: str | None
    ) -> None:
        path, new = tmp_path / "a", tmp_path / "new"
        if old == "file":
            path.write_text("old", "utf-8")
        elif old == "folder":
            path.mkdir()
            (path / "inside").write_text("old", "utf-8")
        if old == "folder":
            new.mkdir()
        else:
            new.write_text("new", "utf-8")
        replace_path(new, path, tmp_path / "aside")
        assert not new.exists()
        assert list(path.iterdir()) == [] if old == "folder" else path.read_text("utf-8") == "new"

    def test_folder_keeps_its_name_if_its_replacement_cannot_be_renamed(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "a"
        path.mkdir()
        (path / "inside").write_text("old", "utf-8")
        with pytest.raises(FileNotFoundError):
            replace_path(tmp_path / "missing", path, tmp_path / "aside")
        assert (path / "inside").read_text("utf-8") == "old"
        assert not (tmp_path / "aside").exists()

    def test_folder_is_restored_only_if_its_replacement_is_missing(self, tmp_path: Path) -> None:
        path, aside = tmp_path / "a", tmp_path / "aside"
        aside.mkdir()
        restore_path(aside, path)
        assert list(tmp_path.iterdir()) == [path]
        aside.mkdir()
        restore_path(aside, path)
        assert sorted(tmp_path.iterdir()) == [path, aside]


def test_folder_is_removed_though_a_file_is_added_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rmdir = tmp_path / "a", os.rmdir
    folder.mkdir()

    def add_file(path: object, **options: object) -> None:
        with pytest.raises(FileNotFoundError):
            (folder / "late").touch()
        rmdir(path, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "rmdir", add_file)
    remove_folder(folder)
    remove_folder(folder)
    assert list(tmp_path.iterdir()) == []
