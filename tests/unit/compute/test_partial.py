"""Finished parts of a job are kept for resuming, and never mixed with those of another job."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from mrcdist.compute.partial import PartialStore
from mrcdist.errors import ArgumentError, MrcdistError, ReadError

JOB = {"software": "mrcdist 1", "version": "10 bytes", "detector": "bf"}


def make_store(*args, **options):
    return PartialStore(*args, resume_hint="continue with --resume", **options)


class TestPartialStore:
    def test_parts_are_kept_until_the_job_is_complete(self, tmp_path):
        folder = tmp_path / "out.npy.partial"
        store = make_store(folder, JOB, 3)
        assert store.open(resume=False) == []
        store.disk = {"cy": 1.5}
        store.save(1, [np.arange(4)])
        resumed = make_store(folder, JOB, 3)
        assert resumed.open(resume=True) == [1]
        assert resumed.disk == {"cy": 1.5}
        np.testing.assert_array_equal(resumed.load(1), np.arange(4))
        resumed.remove()
        assert not folder.exists()

    def test_part_with_several_arrays_is_read_back_unless_truncated(self, tmp_path):
        store = make_store(tmp_path / "out", JOB, 3)
        store.open(resume=False)
        arrays = [np.arange(4), np.ones((2, 3), "uint8"), np.float32([1.5])]
        store.save(2, arrays)
        for number, expected in enumerate(arrays):
            got = store.load(2, number)
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got, expected)
        [part] = store.folder.glob("part-00002*.npz")
        complete = part.read_bytes()
        assert make_store(tmp_path / "out", JOB, 3).open(resume=True) == [2]
        for length in range(len(complete)):
            part.write_bytes(complete[:length])
            assert make_store(tmp_path / "out", JOB, 3).open(resume=True) == []

    @pytest.mark.parametrize("finished", [0, 1])
    def test_failed_job_keeps_the_folder_only_if_a_part_is_finished(self, tmp_path, finished):
        store = make_store(tmp_path / "out.npy.partial", JOB, 3)
        store.open(resume=False)
        for number in range(finished):
            store.save(number, [np.arange(4)])
        with pytest.raises(KeyboardInterrupt), store.kept_if_any():
            raise KeyboardInterrupt
        assert store.folder.exists() == bool(finished)

    def test_resume_without_an_earlier_run_starts_the_job(self, tmp_path):
        assert make_store(tmp_path / "new", JOB, 3).open(resume=True) == []
        assert make_store(tmp_path / "new", JOB, 3).open(resume=False) == []

    def test_finished_parts_are_neither_used_nor_deleted_without_resume(self, tmp_path):
        store = self.store_with_a_part(tmp_path)
        with pytest.raises(ArgumentError, match=r"1 finished parts.*\n.*\n.*--resume"):
            make_store(tmp_path / "out", JOB, 3).open(resume=False)
        np.testing.assert_array_equal(store.load(0), np.zeros(2))

    @pytest.mark.parametrize(
        ("change", "n_parts", "cause"),
        [
            ({"version": "11 bytes"}, 3, "version: 10 bytes then, 11 bytes now"),
            ({"detector": "adf", "software": "2"}, 3, "software: mrcdist 1 then, 2 now; detector"),
            ({}, 4, "parts: 3 then, 4 now"),
        ],
    )
    def test_error_for_parts_of_another_job_lists_the_differences(
        self, tmp_path, change, n_parts, cause
    ):
        self.store_with_a_part(tmp_path)
        with pytest.raises(ArgumentError, match=cause):
            make_store(tmp_path / "out", {**JOB, **change}, n_parts).open(resume=True)

    @pytest.mark.parametrize("description", ["", "{", "[]", '{"other": 1}'])
    def test_parts_without_a_description_are_refused(self, tmp_path, description):
        self.store_with_a_part(tmp_path)
        (tmp_path / "out" / "job.json").write_text(description)
        with pytest.raises(ArgumentError, match="another job"):
            make_store(tmp_path / "out", JOB, 3).open(resume=True)

    @pytest.mark.parametrize("bytes_left", [0, 7, 130])
    def test_loading_a_truncated_part_is_an_error(self, tmp_path, bytes_left):
        store = self.store_with_a_part(tmp_path)
        [part] = store.folder.glob("part-00000*.npz")
        part.write_bytes(part.read_bytes()[:bytes_left])
        with pytest.raises(ReadError, match=r"part-00000-.*\.npz cannot be read"):
            store.load(0)

    def test_loading_a_part_with_a_changed_byte_is_an_error(self, tmp_path):
        store = self.store_with_a_part(tmp_path)
        [part] = store.folder.glob("part-00000*.npz")
        raw = bytearray(part.read_bytes())
        for position in range(
            raw.index(b"\n") + 1, raw.index(b"\n") + 17
        ):  # the values of the array
            raw[position] ^= 1
            part.write_bytes(raw)
            with pytest.raises(ReadError, match="cannot be read"):
                store.load(0)
            raw[position] ^= 1

    @pytest.mark.parametrize("change", [1, 32, 255])
    def test_changed_byte_anywhere_in_a_part_is_an_error_or_harmless(self, tmp_path, change):
        store = self.store_with_a_part(tmp_path)
        expected = store.load(0)
        [part] = store.folder.glob("part-00000*.npz")
        raw = bytearray(part.read_bytes())
        for position in range(len(raw)):
            raw[position] ^= change
            part.write_bytes(raw)
            make_store(store.folder, JOB, 3).open(resume=True)
            with suppress(ReadError):
                np.testing.assert_array_equal(store.load(0), expected)
            raw[position] ^= change

    def test_parts_of_an_earlier_version_are_computed_again(self, tmp_path):
        store = self.store_with_a_part(tmp_path)
        [part] = store.folder.glob("part-00000*.npz")
        np.save(part.with_suffix(".npy"), np.zeros(2))
        part.unlink()
        resumed = make_store(store.folder, JOB, 3)
        assert resumed.open(resume=True) == []
        resumed.finish()
        assert not store.folder.exists()

    @pytest.mark.parametrize("bytes_left", [0, 7, 130])
    def test_truncated_part_is_computed_again_on_resume(self, tmp_path, bytes_left):
        store = self.store_with_a_part(tmp_path)
        store.save(1, [np.ones(2)])
        [part] = store.folder.glob("part-00000*.npz")
        part.write_bytes(part.read_bytes()[:bytes_left])
        resumed = make_store(store.folder, JOB, 3)
        assert resumed.open(resume=True) == [1]
        resumed.save(0, [np.zeros(2)])
        np.testing.assert_array_equal(resumed.load(0), np.zeros(2))

    def test_foreign_files_in_the_folder_of_parts_are_kept(self, tmp_path):
        store = self.store_with_a_part(tmp_path)
        (tmp_path / "out" / "notes.txt").write_text("mine")
        store.remove()
        assert [file.name for file in (tmp_path / "out").iterdir()] == ["notes.txt"]

    def store_with_a_part(self, tmp_path):
        store = make_store(tmp_path / "out", JOB, 3)
        store.open(resume=False)
        store.save(0, [np.zeros(2)])
        return store

    def test_note_on_a_failure_gives_the_number_of_parts_and_the_folder(self, tmp_path):
        store = self.store_with_a_part(tmp_path)
        with pytest.raises(KeyboardInterrupt) as stopped, store.kept_if_any():
            raise KeyboardInterrupt
        assert stopped.value.__notes__ == [
            f"1 of 3 parts are finished and kept in {store.folder}; continue with --resume"
        ]

    def test_note_on_an_interrupt_before_the_first_part_says_that_nothing_is_kept(self, tmp_path):
        store = make_store(tmp_path / "out", JOB, 3)
        store.open(resume=False)
        with pytest.raises(KeyboardInterrupt) as stopped, store.kept_if_any():
            raise KeyboardInterrupt
        assert stopped.value.__notes__ == ["nothing is kept"]

    def test_error_before_the_first_part_gets_no_note(self, tmp_path):
        store = make_store(tmp_path / "out", JOB, 3)
        store.open(resume=False)
        with pytest.raises(ZeroDivisionError) as failed, store.kept_if_any():
            raise ZeroDivisionError
        assert not hasattr(failed.value, "__notes__")

    def test_note_on_an_interrupt_after_the_result_is_written_says_so(self, tmp_path, monkeypatch):
        store = self.store_with_a_part(tmp_path)
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
    def test_late_parts_of_a_replaced_job_are_not_mixed_with_new_ones(self, tmp_path):
        old = make_store(tmp_path / "out", JOB, 2)
        old.open(resume=False)
        new = make_store(tmp_path / "out", {**JOB, "detector": "adf"}, 2)
        new.open(resume=False)
        with pytest.raises(MrcdistError) as lost:
            old.save(0, [np.zeros(2)])
        assert lost.value.code == "job-lost"
        new.save(0, [np.ones(2)])
        np.testing.assert_array_equal(new.load(0), np.ones(2))

    @pytest.mark.parametrize(
        "change",
        [
            lambda store: store.claim(store.folder / "job.json", store.folder / "job.json"),
            lambda store: setattr(store, "disk", {"cy": 1.5}),
        ],
        ids=["output", "disk"],
    )
    def test_late_change_of_a_replaced_job_leaves_the_state_of_the_new_job(self, tmp_path, change):
        old = make_store(tmp_path / "out", JOB, 2)
        old.open(resume=False)
        new = make_store(tmp_path / "out", {**JOB, "detector": "adf"}, 2)
        new.open(resume=False)
        before = (tmp_path / "out" / "job.json").read_bytes()
        with pytest.raises(MrcdistError, match="no longer belongs to this job"):
            change(old)
        assert (tmp_path / "out" / "job.json").read_bytes() == before
        new.save(0, [np.ones(2)])

    def test_late_failure_of_a_replaced_job_keeps_the_parts_of_the_new_job(self, tmp_path):
        old = make_store(tmp_path / "out", JOB, 2)
        old.open(resume=False)
        new = make_store(tmp_path / "out", {**JOB, "detector": "adf"}, 2)
        new.open(resume=False)
        new.save(0, [np.ones(2)])
        with pytest.raises(KeyboardInterrupt) as stopped, old.kept_if_any():
            raise KeyboardInterrupt
        assert stopped.value.__notes__ == ["another job has taken over"]
        assert make_store(tmp_path / "out", {**JOB, "detector": "adf"}, 2).open(resume=True) == [0]

    def test_part_with_the_id_of_another_job_is_ignored(self, tmp_path):
        store = make_store(tmp_path / "out", JOB, 2)
        store.open(resume=False)
        store.save(0, [np.zeros(2)])
        [part] = store.folder.glob("part-*.npz")
        part.rename(store.folder / part.name.replace("part-00000", "part-00001"))
        np.savez(store.folder / "part-00000-abcdef012345.npz", np.ones(2))
        assert make_store(tmp_path / "out", JOB, 2).open(resume=True) == [1]

    def test_saving_to_a_deleted_folder_raises_an_error(self, tmp_path):
        store = make_store(tmp_path / "out", JOB, 2)
        store.open(resume=False)
        shutil.rmtree(store.folder)
        with pytest.raises(MrcdistError, match="no longer belongs to this job"):
            store.save(0, [np.zeros(2)])


class TestUndetectableChanges:
    def interrupted(self, folder, *, resumable):
        store = make_store(folder, JOB, 3, resumable=resumable)
        store.open(resume=False)
        store.save(0, [np.zeros(2)])
        return store

    def test_parts_are_not_reused_if_the_input_may_have_changed_unnoticed(self, tmp_path):
        earlier = self.interrupted(tmp_path / "out", resumable=False)
        store = make_store(tmp_path / "out", JOB, 3, resumable=False)
        assert store.open(resume=True) == []
        assert store.job != earlier.job
        assert not list(store.folder.glob("part-*.npz"))

    def test_parts_are_not_kept_if_the_input_may_change_unnoticed(self, tmp_path):
        store = self.interrupted(tmp_path / "out", resumable=False)
        with pytest.raises(KeyboardInterrupt) as stopped, store.kept_if_any():
            raise KeyboardInterrupt
        assert stopped.value.__notes__ == ["nothing is kept"]
        assert not store.folder.exists()

    def test_parts_of_another_job_are_not_deleted_by_a_job_that_cannot_be_resumed(self, tmp_path):
        self.interrupted(tmp_path / "out", resumable=True)
        other = make_store(tmp_path / "out", {**JOB, "detector": "adf"}, 3, resumable=False)
        with pytest.raises(ArgumentError, match="another job"):
            other.open(resume=True)
        assert make_store(tmp_path / "out", JOB, 3).open(resume=True) == [0]


class TestFolder:
    @pytest.mark.parametrize("resume", [False, True])
    @pytest.mark.parametrize(
        ("kind", "cause"),
        [
            ("file", "it is a file"),
            ("link", "it is a link"),
            ("dangling link", "it is a link"),
            ("other files", "other files, such as mine.txt"),
            ("other description", "other files, such as job.json"),
        ],
    )
    def test_error_for_foreign_files_in_the_way_leaves_them_unchanged(
        self, tmp_path, kind, cause, resume
    ):
        folder, foreign = tmp_path / "out", tmp_path / "foreign"
        foreign.mkdir()
        (foreign / "part-00000.npz").write_text("mine")
        if kind == "file":
            folder.write_text("mine")
        elif kind == "link":
            folder.symlink_to(foreign)
        elif kind == "dangling link":
            folder.symlink_to(tmp_path / "none")
        else:
            folder.mkdir()
            (folder / ("job.json" if kind == "other description" else "mine.txt")).write_text("{}")
        before = sorted((path, path.is_file() and path.read_text()) for path in tmp_path.rglob("*"))
        with pytest.raises(ArgumentError, match="is in the way") as refused:
            make_store(folder, JOB, 3).open(resume=resume)
        assert cause in refused.value.cause
        after = sorted((path, path.is_file() and path.read_text()) for path in tmp_path.rglob("*"))
        assert after == before

    @pytest.mark.parametrize("names", [(), (".job.json.0123",), (".part-00000-ab.npz.0123",)])
    def test_temporary_files_of_a_killed_run_are_removed(self, tmp_path, names):
        folder = tmp_path / "out"
        folder.mkdir()
        for name in names:
            (folder / name).touch()
        assert make_store(folder, JOB, 3).open(resume=True) == []
        assert [file.name for file in folder.iterdir()] == ["job.json"]


class TestOwnOutputs:
    @pytest.fixture
    def written(self, tmp_path):
        """A store of a job that ended after it had written its output."""
        store = make_store(tmp_path / "a.npy.partial", JOB, 1)
        store.open(resume=False)
        (tmp_path / "unfinished").write_text("result")
        store.claim(tmp_path / "a.npy", tmp_path / "unfinished")
        (tmp_path / "unfinished").rename(tmp_path / "a.npy")
        return store

    def test_output_written_by_a_job_belongs_to_it(self, tmp_path, written):
        resumed = make_store(written.folder, JOB, 1)
        assert resumed.is_own(tmp_path / "a.npy")
        assert not resumed.is_own(tmp_path / "b.npy")

    def test_earlier_output_belongs_to_the_job_until_it_is_replaced(self, tmp_path, written):
        resumed = make_store(written.folder, JOB, 1)
        resumed.open(resume=True)  # no part is kept: the job was killed while it deleted them
        assert resumed.is_own(tmp_path / "a.npy")
        (tmp_path / "unfinished").write_text("the same result")
        resumed.claim(tmp_path / "a.npy", tmp_path / "unfinished")
        assert resumed.is_own(tmp_path / "a.npy")
        (tmp_path / "unfinished").rename(tmp_path / "a.npy")
        assert resumed.is_own(tmp_path / "a.npy")

    def test_output_whose_name_is_not_utf_8_is_recognised(self, tmp_path):
        store, output = make_store(tmp_path / "out.partial", JOB, 3), Path(f"{tmp_path}/\udcff.npy")
        store.open(resume=False)
        output.write_bytes(b"result")
        store.claim(output, output)
        resumed = make_store(tmp_path / "out.partial", JOB, 3)
        resumed.open(resume=True)
        assert resumed.is_own(output)

    def test_output_of_another_job_does_not_belong_to_this_one(self, tmp_path, written):
        another = make_store(written.folder, {**JOB, "version": "another"}, 1)
        assert not another.is_own(tmp_path / "a.npy")
        another.open(resume=True)
        assert not make_store(written.folder, JOB, 1).is_own(tmp_path / "a.npy")

    def test_output_of_an_earlier_version_does_not_belong_to_the_job(self, tmp_path, written):
        job = written.folder / "job.json"
        state = json.loads(job.read_text())
        [[path, *stamp]] = state.pop("written")
        job.write_text(json.dumps({**state, "outputs": {path: [stamp]}}))
        assert not written.is_own(tmp_path / "a.npy")

    def test_output_overwritten_by_another_program_is_not_that_of_the_job(self, tmp_path, written):
        (tmp_path / "a.npy").write_text("another result")
        assert not written.is_own(tmp_path / "a.npy")

    def test_empty_folder_owns_no_output(self, tmp_path):
        (tmp_path / "a.npy.partial").mkdir()
        (tmp_path / "a.npy").touch()
        assert not make_store(tmp_path / "a.npy.partial", JOB, 1).is_own(tmp_path / "a.npy")


def test_job_json_has_the_id_and_the_description_of_the_job(tmp_path):
    store = make_store(tmp_path / "out", JOB, 1)
    store.open(resume=False)
    description = json.loads((tmp_path / "out" / "job.json").read_text())
    assert description["id"] == store.job
    assert description["job"] == {**JOB, "parts": "1"}
