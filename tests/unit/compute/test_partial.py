"""Finished parts of a job: kept, found again, and never taken for another job's."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from mrcdist.compute.partial import PartialStore
from mrcdist.compute.whole_file import write_whole
from mrcdist.errors import ArgumentError, MrcdistError, ReadError

JOB = {"software": "mrcdist 1", "version": "10 bytes", "detector": "bf"}


def a_store(*of, **options):
    return PartialStore(*of, again="go on with --resume", **options)


class TestPartialStore:
    def test_parts_are_kept_until_the_job_is_done(self, tmp_path):
        folder = tmp_path / "out.npy.partial"
        store = a_store(folder, JOB, 3)
        assert store.open(resume=False) == []
        store.found = {"cy": 1.5}
        store.save(1, [np.arange(4)])
        again = a_store(folder, JOB, 3)
        assert again.open(resume=True) == [1]
        assert again.found == {"cy": 1.5}
        np.testing.assert_array_equal(again.load(1), np.arange(4))
        again.remove()
        assert not folder.exists()

    def test_a_part_may_hold_several_arrays(self, tmp_path):
        store = a_store(tmp_path / "out", JOB, 3)
        store.open(resume=False)
        arrays = [np.arange(4), np.ones((2, 3), "uint8"), np.float32([1.5])]
        store.save(2, arrays)
        for which, expected in enumerate(arrays):
            got = store.load(2, which)
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got, expected)
        [part] = store.folder.glob("part-00002*.npy")
        whole = part.read_bytes()
        for length in range(1, len(whole)):
            part.write_bytes(whole[:length])
            found = a_store(tmp_path / "out", JOB, 3).open(resume=True)
            assert (found == [2]) == (length in (160, 160 + 134))
        part.write_bytes(whole + b"x")
        assert a_store(tmp_path / "out", JOB, 3).open(resume=True) == []

    @pytest.mark.parametrize("finished", [0, 1])
    def test_a_failure_leaves_the_folder_only_if_there_is_a_part_in_it(self, tmp_path, finished):
        store = a_store(tmp_path / "out.npy.partial", JOB, 3)
        store.open(resume=False)
        for number in range(finished):
            store.save(number, [np.arange(4)])
        with pytest.raises(KeyboardInterrupt), store.kept_if_any():
            raise KeyboardInterrupt
        assert store.folder.exists() == bool(finished)

    def test_resuming_nothing_is_a_start(self, tmp_path):
        assert a_store(tmp_path / "new", JOB, 3).open(resume=True) == []
        assert a_store(tmp_path / "new", JOB, 3).open(resume=False) == []

    def test_finished_parts_are_neither_used_nor_lost_unasked(self, tmp_path):
        store = self.with_a_part(tmp_path)
        with pytest.raises(ArgumentError, match=r"1 finished parts.*\n.*\n.*--resume"):
            a_store(tmp_path / "out", JOB, 3).open(resume=False)
        np.testing.assert_array_equal(store.load(0), np.zeros(2))

    @pytest.mark.parametrize(
        ("change", "n_parts", "cause"),
        [
            ({"version": "11 bytes"}, 3, "version: 10 bytes then, 11 bytes now"),
            ({"detector": "adf", "software": "2"}, 3, "software: mrcdist 1 then, 2 now; detector"),
            ({}, 4, "parts: 3 then, 4 now"),
        ],
    )
    def test_parts_of_another_job_are_refused_by_name(self, tmp_path, change, n_parts, cause):
        self.with_a_part(tmp_path)
        with pytest.raises(ArgumentError, match=cause):
            a_store(tmp_path / "out", {**JOB, **change}, n_parts).open(resume=True)

    @pytest.mark.parametrize("described", ["", "{", "[]", '{"other": 1}'])
    def test_parts_without_a_description_are_refused(self, tmp_path, described):
        self.with_a_part(tmp_path)
        (tmp_path / "out" / "job.json").write_text(described)
        with pytest.raises(ArgumentError, match="another job"):
            a_store(tmp_path / "out", JOB, 3).open(resume=True)

    @pytest.mark.parametrize("bytes_left", [0, 7, 130])
    def test_a_damaged_part_is_an_error(self, tmp_path, bytes_left):
        store = self.with_a_part(tmp_path)
        [part] = store.folder.glob("part-00000*.npy")
        part.write_bytes(part.read_bytes()[:bytes_left])
        with pytest.raises(ReadError, match=r"part-00000-.*\.npy cannot be read"):
            store.load(0)

    @pytest.mark.parametrize("bytes_left", [0, 7, 130])
    def test_a_damaged_part_is_computed_again_when_the_job_is_resumed(self, tmp_path, bytes_left):
        store = self.with_a_part(tmp_path)
        store.save(1, [np.ones(2)])
        [part] = store.folder.glob("part-00000*.npy")
        part.write_bytes(part.read_bytes()[:bytes_left])
        again = a_store(store.folder, JOB, 3)
        assert again.open(resume=True) == [1]
        again.save(0, [np.zeros(2)])
        np.testing.assert_array_equal(again.load(0), np.zeros(2))

    def test_other_files_in_the_folder_of_parts_stay(self, tmp_path):
        store = self.with_a_part(tmp_path)
        (tmp_path / "out" / "notes.txt").write_text("mine")
        store.remove()
        assert [file.name for file in (tmp_path / "out").iterdir()] == ["notes.txt"]

    def test_a_file_appears_as_a_whole_or_not_at_all(self, tmp_path):
        def write(path, fail):
            with write_whole(path) as file:
                file.write(b"half")
                assert not path.exists()
                if fail:
                    raise ZeroDivisionError
                file.write(b" and half")

        with pytest.raises(ZeroDivisionError):
            write(tmp_path / "a", fail=True)
        assert list(tmp_path.iterdir()) == []
        write(tmp_path / "a", fail=False)
        assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"half and half"]

    def with_a_part(self, tmp_path):
        store = a_store(tmp_path / "out", JOB, 3)
        store.open(resume=False)
        store.save(0, [np.zeros(2)])
        return store

    def test_failure_says_how_many_parts_are_kept_and_where(self, tmp_path):
        store = self.with_a_part(tmp_path)
        with pytest.raises(KeyboardInterrupt) as stopped, store.kept_if_any():
            raise KeyboardInterrupt
        assert stopped.value.__notes__ == [
            f"1 of 3 parts are finished and kept in {store.folder}; go on with --resume"
        ]

    def test_interrupt_before_the_first_part_promises_nothing(self, tmp_path):
        store = a_store(tmp_path / "out", JOB, 3)
        store.open(resume=False)
        with pytest.raises(KeyboardInterrupt) as stopped, store.kept_if_any():
            raise KeyboardInterrupt
        assert stopped.value.__notes__ == ["nothing is kept"]

    def test_error_before_the_first_part_says_no_more_than_the_error(self, tmp_path):
        store = a_store(tmp_path / "out", JOB, 3)
        store.open(resume=False)
        with pytest.raises(ZeroDivisionError) as failed, store.kept_if_any():
            raise ZeroDivisionError
        assert not hasattr(failed.value, "__notes__")

    def test_interrupt_after_the_result_is_written_says_so(self, tmp_path, monkeypatch):
        store = self.with_a_part(tmp_path)
        rmdir = Path.rmdir

        def interrupted(self):
            monkeypatch.setattr(Path, "rmdir", rmdir)
            raise KeyboardInterrupt

        monkeypatch.setattr(Path, "rmdir", interrupted)
        with pytest.raises(KeyboardInterrupt) as stopped, store.kept_if_any():
            store.finish()
        assert stopped.value.__notes__ == ["the result is written"]
        assert not store.folder.exists()


class TestPartsOfOneJob:
    def test_parts_of_a_job_that_started_anew_are_not_mixed_with_late_ones(self, tmp_path):
        old = a_store(tmp_path / "out", JOB, 2)
        old.open(resume=False)
        new = a_store(tmp_path / "out", {**JOB, "detector": "adf"}, 2)
        new.open(resume=False)
        with pytest.raises(MrcdistError, match="no longer this job's") as lost:
            old.save(0, [np.zeros(2)])
        assert lost.value.code == "job-lost"
        new.save(0, [np.ones(2)])
        np.testing.assert_array_equal(new.load(0), np.ones(2))

    def test_late_failure_of_a_lost_job_leaves_the_other_jobs_parts(self, tmp_path):
        old = a_store(tmp_path / "out", JOB, 2)
        old.open(resume=False)
        new = a_store(tmp_path / "out", {**JOB, "detector": "adf"}, 2)
        new.open(resume=False)
        new.save(0, [np.ones(2)])
        with pytest.raises(KeyboardInterrupt) as stopped, old.kept_if_any():
            raise KeyboardInterrupt
        assert stopped.value.__notes__ == ["another job has taken over"]
        assert a_store(tmp_path / "out", {**JOB, "detector": "adf"}, 2).open(resume=True) == [0]

    def test_part_with_another_jobs_id_is_not_taken(self, tmp_path):
        store = a_store(tmp_path / "out", JOB, 2)
        store.open(resume=False)
        store.save(0, [np.zeros(2)])
        [part] = store.folder.glob("part-*.npy")
        part.rename(store.folder / part.name.replace("part-00000", "part-00001"))
        np.save(store.folder / "part-00000-abcdef012345.npy", np.ones(2))
        assert a_store(tmp_path / "out", JOB, 2).open(resume=True) == [1]

    def test_folder_that_somebody_deleted_is_an_error(self, tmp_path):
        store = a_store(tmp_path / "out", JOB, 2)
        store.open(resume=False)
        shutil.rmtree(store.folder)
        with pytest.raises(MrcdistError, match="no longer this job's"):
            store.save(0, [np.zeros(2)])


class TestVersionThatCannotTell:
    def interrupted(self, folder, *, lasting):
        store = a_store(folder, JOB, 3, lasting=lasting)
        store.open(resume=False)
        store.save(0, [np.zeros(2)])
        return store

    def test_parts_are_not_used_again(self, tmp_path):
        left = self.interrupted(tmp_path / "out", lasting=False)
        store = a_store(tmp_path / "out", JOB, 3, lasting=False)
        assert store.open(resume=True) == []
        assert store.job != left.job
        assert not list(store.folder.glob("part-*.npy"))

    def test_parts_are_not_kept_nor_promised(self, tmp_path):
        store = self.interrupted(tmp_path / "out", lasting=False)
        with pytest.raises(KeyboardInterrupt) as stopped, store.kept_if_any():
            raise KeyboardInterrupt
        assert stopped.value.__notes__ == ["nothing is kept"]
        assert not store.folder.exists()

    def test_parts_of_another_job_are_not_deleted_for_it(self, tmp_path):
        self.interrupted(tmp_path / "out", lasting=True)
        other = a_store(tmp_path / "out", {**JOB, "detector": "adf"}, 3, lasting=False)
        with pytest.raises(ArgumentError, match="another job"):
            other.open(resume=True)
        assert a_store(tmp_path / "out", JOB, 3).open(resume=True) == [0]


class TestPlaceOfTheFolder:
    @pytest.mark.parametrize("resume", [False, True])
    @pytest.mark.parametrize(
        ("what", "cause"),
        [
            ("file", "it is a file"),
            ("link", "it is a link"),
            ("dangling link", "it is a link"),
            ("other files", "other files, such as mine.txt"),
            ("other description", "other files, such as job.json"),
        ],
    )
    def test_something_else_in_its_place_is_left_as_it_is(self, tmp_path, what, cause, resume):
        folder, foreign = tmp_path / "out", tmp_path / "foreign"
        foreign.mkdir()
        (foreign / "part-00000.npy").write_text("mine")
        if what == "file":
            folder.write_text("mine")
        elif what == "link":
            folder.symlink_to(foreign)
        elif what == "dangling link":
            folder.symlink_to(tmp_path / "none")
        else:
            folder.mkdir()
            (folder / ("job.json" if what == "other description" else "mine.txt")).write_text("{}")
        before = sorted((path, path.is_file() and path.read_text()) for path in tmp_path.rglob("*"))
        with pytest.raises(ArgumentError, match="is in the way") as refused:
            a_store(folder, JOB, 3).open(resume=resume)
        assert cause in refused.value.cause
        after = sorted((path, path.is_file() and path.read_text()) for path in tmp_path.rglob("*"))
        assert after == before

    @pytest.mark.parametrize("left", [(), (".job.json.0123",), (".part-00000-ab.npy.0123",)])
    def test_what_a_killed_run_left_behind_is_cleared(self, tmp_path, left):
        folder = tmp_path / "out"
        folder.mkdir()
        for name in left:
            (folder / name).touch()
        assert a_store(folder, JOB, 3).open(resume=True) == []
        assert [file.name for file in folder.iterdir()] == ["job.json"]


class TestOwnOutputs:
    @pytest.fixture
    def written(self, tmp_path):
        """A store whose job ended after it had written its output."""
        store = a_store(tmp_path / "a.npy.partial", JOB, 1)
        store.open(resume=False)
        (tmp_path / "unfinished").write_text("result")
        store.claim(tmp_path / "a.npy", tmp_path / "unfinished")
        (tmp_path / "unfinished").rename(tmp_path / "a.npy")
        return store

    def test_output_that_the_job_wrote_is_known_again(self, tmp_path, written):
        again = a_store(written.folder, JOB, 1)
        assert again.is_own(tmp_path / "a.npy")
        assert not again.is_own(tmp_path / "b.npy")

    def test_output_stays_the_jobs_until_it_is_replaced(self, tmp_path, written):
        again = a_store(written.folder, JOB, 1)
        again.open(resume=True)  # no part is kept: it was killed as it deleted them
        assert again.is_own(tmp_path / "a.npy")
        (tmp_path / "unfinished").write_text("the same again")
        again.claim(tmp_path / "a.npy", tmp_path / "unfinished")
        assert again.is_own(tmp_path / "a.npy")
        (tmp_path / "unfinished").rename(tmp_path / "a.npy")
        assert again.is_own(tmp_path / "a.npy")

    def test_output_with_a_name_that_is_not_utf_8_is_known_again(self, tmp_path):
        store, output = a_store(tmp_path / "out.partial", JOB, 3), Path(f"{tmp_path}/\udcff.npy")
        store.open(resume=False)
        output.write_bytes(b"result")
        store.claim(output, output)
        again = a_store(tmp_path / "out.partial", JOB, 3)
        again.open(resume=True)
        assert again.is_own(output)

    def test_output_of_another_job_is_not(self, tmp_path, written):
        another = a_store(written.folder, {**JOB, "version": "another"}, 1)
        assert not another.is_own(tmp_path / "a.npy")
        another.open(resume=True)
        assert not a_store(written.folder, JOB, 1).is_own(tmp_path / "a.npy")

    def test_output_that_somebody_wrote_since_is_not(self, tmp_path, written):
        (tmp_path / "a.npy").write_text("their result")
        assert not written.is_own(tmp_path / "a.npy")

    def test_empty_folder_owns_nothing(self, tmp_path):
        (tmp_path / "a.npy.partial").mkdir()
        (tmp_path / "a.npy").touch()
        assert not a_store(tmp_path / "a.npy.partial", JOB, 1).is_own(tmp_path / "a.npy")


def test_file_that_cannot_be_written_is_an_error_with_the_systems_words(tmp_path):
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(MrcdistError, match=r"folder could not be written") as failed,
        write_whole(tmp_path / "folder") as file,
    ):
        file.write(b"all")
    assert failed.value.code == "write-failed"
    assert failed.value.cause == os.strerror(21)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_unfinished_files_of_two_processes_have_two_names(tmp_path):
    with write_whole(tmp_path / "a") as one, write_whole(tmp_path / "a") as two:
        one.write(b"one")
        two.write(b"two")
    assert (tmp_path / "a").read_bytes() == b"one"


def test_description_names_the_job(tmp_path):
    store = a_store(tmp_path / "out", JOB, 1)
    store.open(resume=False)
    described = json.loads((tmp_path / "out" / "job.json").read_text())
    assert described["id"] == store.job
    assert described["job"] == {**JOB, "parts": "1"}
