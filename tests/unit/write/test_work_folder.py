"""Work folders of unfinished files: each belongs to one call, which stores its own records."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from mrcdist.errors import ArgumentError, MissingFileError
from mrcdist.storage.location import Location
from mrcdist.write.work_folder import WorkFolder

ABOUT = {"data": "x", "chunks": [[4, 4], [8]]}


@pytest.fixture(params=["disk", "memory"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Location]:
    if request.param == "disk":
        yield Location.of(tmp_path / "a.mrc")
        return
    folder = f"memory://{uuid.uuid4().hex}"
    yield Location.of(f"{folder}/a.mrc")
    fs, path = fsspec.url_to_fs(folder)
    if fs.exists(path):
        fs.rm(path, recursive=True)


@pytest.fixture
def work(location: Location) -> WorkFolder:
    work = WorkFolder(location, "mine")
    work.claim(ABOUT, date="today")
    return work


class TestClaim:
    def test_plan_contains_the_mark_of_its_call_and_the_details(self, work: WorkFolder) -> None:
        plan = WorkFolder(work.target).plan()
        assert plan is not None
        assert (plan["mark"], plan["about"], plan["date"]) == ("mine", ABOUT, "today")
        assert list(work.sizes()) == ["plan.json"]

    @pytest.mark.parametrize("hard_links", [True, False])
    def test_second_call_cannot_claim_the_folder(
        self, work: WorkFolder, hard_links: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def link(*_: object) -> None:
            raise PermissionError(1, "not supported")

        if not hard_links:
            monkeypatch.setattr(os, "link", link)
        other = WorkFolder(work.target, "other")
        with pytest.raises(ArgumentError) as error:
            other.claim(ABOUT)
        assert error.value.code == "destination-busy"
        assert work.holds()
        assert other.holds() is False
        assert list(work.sizes()) == ["plan.json"]

    def test_claim_whose_response_was_lost_succeeds(self, work: WorkFolder) -> None:
        work.claim(ABOUT, date="today")
        assert work.holds()

    def test_call_still_holds_its_plan_if_a_proxy_reports_once_that_it_is_missing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        work = WorkFolder(Location.of(f"memory://{uuid.uuid4().hex}/a.mrc"), "mine")
        work.claim(ABOUT)
        requests, cat_file = [], MemoryFileSystem.cat_file

        def missing_at_first(fs: MemoryFileSystem, path: str, **options: Any) -> Any:
            requests.append(path)
            if len(requests) == 1:
                raise FileNotFoundError(path)
            return cat_file(fs, path, **options)

        monkeypatch.setattr(MemoryFileSystem, "cat_file", missing_at_first)
        assert work.holds()
        requests.clear()
        assert work.holds(retry=False) is False

    def test_claim_that_cannot_be_written_leaves_no_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise OSError(28, os.strerror(28))

        monkeypatch.setattr(os, "fsync", full)
        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match=os.strerror(28)):
            WorkFolder(Location.of(tmp_path / "a.mrc"), "mine").claim(ABOUT)
        assert list(tmp_path.iterdir()) == []


class TestPlanOfAnEarlierCall:
    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"<html>"])
    def test_folder_with_an_unreadable_plan_is_neither_held_nor_lost(
        self, tmp_path: Path, content: bytes
    ) -> None:
        work = WorkFolder(Location.of(tmp_path / "a.mrc"), "mine")
        work.claim(ABOUT)
        (work.path / "plan.json").write_bytes(content)
        assert work.plan() == {"about": {}}
        assert work.holds() is None
        assert not work.is_lost()

    def test_plan_of_another_format_is_never_resumed(self, work: WorkFolder) -> None:
        plan = work.plan()
        assert plan is not None
        work.put("plan.json", json.dumps({**plan, "format": plan["format"] - 1}).encode())
        earlier = work.plan()
        assert earlier is not None
        with pytest.raises(ArgumentError, match="another version of mrcdist") as error:
            work.resumes(earlier, ABOUT, resume=True, overwrite=True)
        assert error.value.code == "destination-differs"
        assert not work.resumes(earlier, ABOUT, resume=False, overwrite=True)

    @pytest.mark.parametrize(
        ("about", "resume", "overwrite", "expected"),
        [
            (ABOUT, True, False, True),
            (ABOUT, True, True, True),
            (ABOUT, False, True, False),
            (ABOUT, False, False, "destination-busy"),
            ({**ABOUT, "data": "y"}, True, True, "destination-differs"),
            ({**ABOUT, "data": "y"}, False, True, False),
            ({**ABOUT, "data": "y"}, False, False, "destination-busy"),
            (None, True, False, False),
            (None, False, True, False),
            (None, False, False, "destination-busy"),
        ],
    )
    def test_earlier_call_is_resumed_or_replaced_or_the_new_call_refused(
        self,
        tmp_path: Path,
        about: dict[str, object] | None,
        resume: bool,
        overwrite: bool,
        expected: bool | str,
    ) -> None:
        work = WorkFolder(Location.of(tmp_path / "a.mrc"))

        def decide() -> bool:
            return work.resumes({"about": about}, ABOUT, resume=resume, overwrite=overwrite)

        if isinstance(expected, bool):
            assert decide() is expected
            return
        with pytest.raises(ArgumentError) as error:
            decide()
        assert error.value.code == expected

    def test_error_for_different_chunks_has_both(self, work: WorkFolder) -> None:
        other = {**ABOUT, "chunks": [[8], [8]]}
        with pytest.raises(ArgumentError, match="up to 4 × 8 then, 8 × 8 now"):
            work.resumes({"about": ABOUT}, other, resume=True, overwrite=False)


class TestRecords:
    def test_records_of_another_call_are_not_recalled(self, work: WorkFolder) -> None:
        other = WorkFolder(work.target, "other")
        work.keep(3, b"three")
        work.keep("level-4")
        other.keep(5, b"five")
        assert work.kept() == {"3", "level-4"}
        assert work.recall(3) == b"three"
        with pytest.raises(MissingFileError):
            work.recall(5)

    def test_missing_folder_has_no_records(self, location: Location) -> None:
        assert WorkFolder(location, "mine").kept() == frozenset()
        assert WorkFolder(location, "mine").sizes() == {}

    def test_call_that_holds_the_plan_removes_all_records(self, work: WorkFolder) -> None:
        work.keep(1)
        WorkFolder(work.target, "other").keep(2)
        work.remove()
        assert work.sizes() == {}
        assert work.plan() is None

    @pytest.mark.parametrize("name", ["a*.mrc", "a?.mrc", "a[12].mrc"])
    def test_name_like_a_pattern_is_not_a_pattern(self, location: Location, name: str) -> None:
        works = [WorkFolder(location.sibling(each), "mine") for each in (name, "a1.mrc")]
        for work in works:
            work.claim(ABOUT)
            work.keep(1)
        works[0].remove(["1.mine.done"])
        assert works[0].plan() is None
        works[0].clear()
        assert works[0].sizes() == {}
        assert works[1].kept() == {"1"}
        assert works[1].holds()

    def test_call_that_lost_the_plan_removes_no_records_of_the_other(
        self, work: WorkFolder
    ) -> None:
        other = WorkFolder(work.target, "other")
        work.keep(1)
        other.keep(2)
        other.remove()
        assert work.holds()
        assert work.kept() == {"1"}
        assert (other.kept() == frozenset()) == (not work.target.is_local)
