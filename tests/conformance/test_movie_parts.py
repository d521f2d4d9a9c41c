"""Movies in numbered parts, lists and globs: one dataset, with frames in the order of the parts."""

from __future__ import annotations

import os
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from mrcdist import (
    ArgumentError,
    FormatError,
    MissingFileError,
    MrcdistWarning,
    SidecarError,
    TruncatedFileError,
    read_mrc,
)
from mrcdist.testing.acquisition import write_acquisition
from tests.support.acquisitions import all_frames, axis_names, frames_of

FRAME = (3, 5)


def parts_of(folder, parts=3, **options):
    return write_acquisition(folder, scan_shape=(4, 6), frame_shape=FRAME, parts=parts, **options)


def renumbered(written, numbers, stem="20260101_00001"):
    """Rename the parts of an acquisition."""
    for part, number in reversed(list(zip(written.movies, numbers, strict=True))):
        part.rename(part.with_name(f"{stem}_{number}_movie.mrc"))


class TestSelection:
    @pytest.mark.parametrize("selection", ["first part", "glob", "list"])
    @pytest.mark.parametrize("parts", [1, 2, 5, 12])
    def test_all_parts_form_one_scan(self, tmp_path, store, selection, parts):
        """With 12 parts, part 10 must follow part 9."""
        written = parts_of(tmp_path, parts)
        assert len(written.movies) == parts
        folder = store(tmp_path)
        url = {
            "first part": f"{folder}/{written.movie.name}",
            "glob": f"{folder}/20260101_00001*_movie.mrc",
            "list": [f"{folder}/{path.name}" for path in written.movies],
        }[selection]
        [dataset] = read_mrc(url)
        assert axis_names(dataset) == ["y", "x", "ky", "kx"]
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written))

    def test_frames_of_a_list_are_in_the_order_of_the_list(self, tmp_path, store):
        written = parts_of(tmp_path, 2)
        folder = store(tmp_path)
        [dataset] = read_mrc(
            [f"{folder}/{path.name}" for path in reversed(written.movies)], metadata_file=None
        )
        expected = frames_of([*range(12, 24), *range(12)], written)
        np.testing.assert_array_equal(dataset["data"].compute(), expected)

    def test_list_of_one_part_reads_only_that_part(self, tmp_path, store):
        written = parts_of(tmp_path, 2)
        [dataset] = read_mrc([f"{store(tmp_path)}/{written.movie.name}"], metadata_file=None)
        np.testing.assert_array_equal(dataset["data"].compute(), frames_of(range(12), written))

    def test_part_that_is_listed_twice_is_an_error(self, tmp_path):
        first, second = parts_of(tmp_path, 2).movies
        with pytest.raises(ArgumentError, match="is listed 2 times"):
            read_mrc([first, second, str(first)])

    @pytest.mark.parametrize("alias", ["link", "hard link", "folder and back", "URL"])
    def test_file_that_is_listed_under_two_names_is_an_error(self, tmp_path, alias):
        first, second = parts_of(tmp_path, 2, scan=False).movies
        (tmp_path / "also.mrc").symlink_to(first)
        (tmp_path / "hard.mrc").hardlink_to(first)
        second_name = {
            "link": tmp_path / "also.mrc",
            "hard link": tmp_path / "hard.mrc",
            "folder and back": f"{tmp_path}/../{tmp_path.name}/{first.name}",
            "URL": f"file://{first}",
        }[alias]
        with pytest.raises(ArgumentError, match="is listed 2 times") as raised:
            read_mrc([first, second, second_name])
        assert raised.value.argument == "filename"
        assert (f"also as {second_name}" in raised.value.problem) == (alias != "URL")

    def test_different_files_with_equal_inode_numbers_are_read(self, tmp_path, monkeypatch):
        """Only some network filesystems do that, so `stat` is replaced."""

        def with_equal_inodes(path, **options):
            status = stat(path, **options)
            fields = {name: getattr(status, name) for name in dir(status) if name[:3] == "st_"}
            return SimpleNamespace(**fields | {"st_ino": 7})

        written, stat = parts_of(tmp_path, 2), os.stat
        monkeypatch.setattr(os, "stat", with_equal_inodes)
        [dataset] = read_mrc(list(written.movies))
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written))

    def test_pattern_that_matches_a_link_and_its_target_is_an_error(self, tmp_path):
        first, _ = parts_of(tmp_path, 2, scan=False).movies
        (tmp_path / "20260101_00001_2_movie.mrc").symlink_to(first)
        with pytest.raises(ArgumentError, match="is listed 2 times"):
            read_mrc(f"{tmp_path}/*_movie.mrc")

    def test_list_can_contain_path_objects(self, tmp_path):
        written = parts_of(tmp_path, 2)
        [dataset] = read_mrc(list(written.movies))
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written))

    @pytest.mark.parametrize("first", [0, 1])
    def test_first_part_can_have_number_0_or_1(self, tmp_path, store, first):
        written = parts_of(tmp_path)
        if first:
            renumbered(written, range(1, 4))
        [dataset] = read_mrc(f"{store(tmp_path)}/20260101_00001_{first}_movie.mrc")
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written))

    @pytest.mark.parametrize("wildcard", ["*", "[0-2]"])
    def test_pattern_with_a_wildcard_finds_all_parts(self, tmp_path, store, wildcard):
        written = parts_of(tmp_path)
        [dataset] = read_mrc(f"{store(tmp_path)}/20260101_00001_{wildcard}_movie.mrc")
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written))

    def test_existing_file_with_brackets_in_its_name_is_read(self, tmp_path, store):
        written = write_acquisition(tmp_path, scan_shape=(4, 6), frame_shape=FRAME)
        written.movie.rename(tmp_path / "run [1]_movie.mrc")
        [dataset] = read_mrc(f"{store(tmp_path)}/run [1]_movie.mrc")
        np.testing.assert_array_equal(dataset["data"].compute(), frames_of(range(24), written))

    @pytest.mark.parametrize("wildcard", ["*", "[0-2]"])
    @pytest.mark.parametrize(
        ("folder", "neighbour"),
        [
            ("run[1]", "run1"),
            ("run [a-c]", "run b"),
            ("a?b", "a1b"),
            ("q*", "qq"),
            ("[!x]", "y"),
            ("100%", "100"),
            ("a#b", "a"),
            ("{a,b}", "a"),
            ("a::b", "a"),
        ],
    )
    def test_special_characters_in_the_name_of_a_folder_match_literally(
        self, tmp_path, store, folder, neighbour, wildcard
    ):
        """Files in a folder that the name would match as a pattern do not become parts."""
        for other in (folder, neighbour):
            (tmp_path / other).mkdir()
        written = parts_of(tmp_path / folder, scan=False)
        write_acquisition(tmp_path / neighbour, scan_shape=(2, 3), frame_shape=FRAME, scan=False)
        if "::" in folder and store(tmp_path).startswith("memory"):
            pytest.skip("in a URL, :: joins the members of a chain")
        [dataset] = read_mrc(f"{store(tmp_path)}/{folder}/20260101_00001_{wildcard}_movie.mrc")
        np.testing.assert_array_equal(dataset["data"].compute(), frames_of(range(24), written))

    def test_brackets_next_to_a_wildcard_match_literally(self, tmp_path, store):
        written = parts_of(tmp_path, scan=False)
        renumbered(written, range(3), stem="run [1]")
        write_acquisition(tmp_path, name="run 1", scan_shape=(2, 3), frame_shape=FRAME, scan=False)
        [dataset] = read_mrc(f"{store(tmp_path)}/run [1]_*_movie.mrc")
        np.testing.assert_array_equal(dataset["data"].compute(), frames_of(range(24), written))

    def test_pattern_does_not_match_hidden_files(self, tmp_path, store):
        written = parts_of(tmp_path, scan=False)
        for part in written.movies:  # as left by macOS on foreign disks
            (tmp_path / f"._{part.name}").write_bytes(b"no movie")
        [dataset] = read_mrc(f"{store(tmp_path)}/*_movie.mrc")
        np.testing.assert_array_equal(dataset["data"].compute(), frames_of(range(24), written))

    def test_pattern_does_not_match_folders(self, tmp_path, store):
        written = parts_of(tmp_path, scan=False)
        (tmp_path / "20260101_00001_3_movie.mrc").mkdir()
        (tmp_path / "20260101_00001_3_movie.mrc" / "notes.txt").write_text("text")
        [dataset] = read_mrc(f"{store(tmp_path)}/*_movie.mrc")
        np.testing.assert_array_equal(dataset["data"].compute(), frames_of(range(24), written))

    @pytest.mark.parametrize("name", ["a*b.mrc", "a?b.mrc", "a[1]b.mrc", "a::b.mrc", "zip::b.mrc"])
    def test_existing_file_takes_precedence_over_a_pattern_or_a_chained_url(
        self, tmp_path, monkeypatch, name
    ):
        written = write_acquisition(tmp_path, scan_shape=(4, 6), frame_shape=FRAME, scan=False)
        written.movie.rename(tmp_path / name)
        (tmp_path / "a1b.mrc").write_bytes(b"another file")
        monkeypatch.chdir(tmp_path)
        for filename in (name, tmp_path / name, f"./{name}", [name]):
            [dataset] = read_mrc(filename)
            np.testing.assert_array_equal(dataset["data"].compute(), frames_of(range(24), written))

    def test_sidecar_is_found_if_the_path_of_the_movie_contains_colons(self, tmp_path, monkeypatch):
        written = write_acquisition(tmp_path / "a::b", scan_shape=(4, 6), frame_shape=FRAME)
        monkeypatch.chdir(tmp_path)
        for filename in (f"a::b/{written.movie.name}", written.movie, "a::b/*_movie.mrc"):
            assert axis_names(read_mrc(filename)[0]) == ["y", "x", "ky", "kx"]

    def test_superscript_digits_are_not_taken_for_part_numbers(self, tmp_path, store):
        written = parts_of(tmp_path)
        renumbered(written, range(3), stem="1²3")
        [dataset] = read_mrc(f"{store(tmp_path)}/1²3_*_movie.mrc", metadata_file=None)
        np.testing.assert_array_equal(dataset["data"].compute(), frames_of(range(24), written))

    def test_single_later_part_is_read_as_a_stack(self, tmp_path, store):
        written = parts_of(tmp_path)
        url = f"{store(tmp_path)}/{written.movies[1].name}"
        for options in ({"metadata_file": None}, {"navigation_shape": (8,)}):
            [dataset] = read_mrc(url, **options)
            np.testing.assert_array_equal(
                dataset["data"].compute(), frames_of(range(8, 16), written)
            )

    def test_pattern_that_matches_two_acquisitions_is_an_error(self, tmp_path, store):
        parts_of(tmp_path)
        parts_of(tmp_path, name="20260101_00002")
        with pytest.raises(ArgumentError, match="20260101_00001, 20260101_00002") as raised:
            read_mrc(f"{store(tmp_path)}/*_movie.mrc")
        assert raised.value.argument == "filename"

    @pytest.mark.usefixtures("unlistable")
    def test_single_part_causes_a_warning_if_the_folder_cannot_be_listed(self, tmp_path, store):
        written = parts_of(tmp_path, scan=False)
        url = f"{store(tmp_path)}/{written.movie.name}"
        with pytest.warns(MrcdistWarning, match="cannot list the folder to look for further parts"):
            [dataset] = read_mrc(url)
        assert dataset["data"].shape == (8, *FRAME)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read_mrc([url])

    def test_missing_part_is_an_error(self, tmp_path, store):
        written = parts_of(tmp_path)
        written.movies[1].unlink()
        with pytest.raises(MissingFileError, match="0, 2"):
            read_mrc(f"{store(tmp_path)}/{written.movie.name}")

    @pytest.mark.parametrize("scan", [True, False])
    def test_error_for_a_pattern_with_a_gap_names_the_missing_part(self, tmp_path, store, scan):
        written = parts_of(tmp_path, scan=scan)
        written.movies[1].unlink()
        with pytest.raises(MissingFileError, match=r"00001_1_movie\.mrc"):
            read_mrc(f"{store(tmp_path)}/*_movie.mrc", allow_truncated=True)

    def test_list_with_a_gap_is_read_with_a_warning_that_names_the_missing_part(
        self, tmp_path, store
    ):
        written = parts_of(tmp_path, scan=False)
        folder = store(tmp_path)
        with pytest.warns(MrcdistWarning, match="00001_1_movie.mrc is missing from the list"):
            [dataset] = read_mrc([f"{folder}/{written.movies[i].name}" for i in (0, 2)])
        expected = frames_of([*range(8), *range(16, 24)], written)
        np.testing.assert_array_equal(dataset["data"].compute(), expected)

    def test_pattern_that_matches_nothing_is_an_error(self, tmp_path, store):
        parts_of(tmp_path)
        with pytest.raises(MissingFileError, match="nothing"):
            read_mrc(f"{store(tmp_path)}/nothing*.mrc")

    def test_empty_list_of_files_is_an_error(self):
        with pytest.raises(ArgumentError, match="empty"):
            read_mrc([])


class TestFirstPart:
    """Scans are filled from the start, so parts of a scan must include the first."""

    @pytest.mark.parametrize("allow", [False, True])
    @pytest.mark.parametrize("custom", [False, True])
    @pytest.mark.parametrize(
        ("present", "selection", "absent"),
        [
            ([0, 1, 2], "00001_1_movie.mrc", 0),
            ([0, 1, 2], ["00001_1_movie.mrc", "00001_2_movie.mrc"], 0),
            ([0, 1, 2], ["00001_0_movie.mrc", "00001_2_movie.mrc"], 1),
            ([1, 2, 3], "00001_2_movie.mrc", 1),
            ([0, 1, 2], "00001_[12]_movie.mrc", 0),
        ],
    )
    @pytest.mark.filterwarnings("ignore:.*is missing from the list")
    def test_parts_of_a_scan_without_the_first_or_with_a_gap_are_an_error(
        self, tmp_path, store, allow, custom, present, selection, absent
    ):
        points = np.array([[i % 6, i // 6] for i in reversed(range(24))]) if custom else None
        written = parts_of(tmp_path, custom_points=points)
        if present[0]:
            renumbered(written, present)
        folder = store(tmp_path)
        stem = "20260101_"
        url = (
            f"{folder}/{stem}{selection}"
            if isinstance(selection, str)
            else [f"{folder}/{stem}{name}" for name in selection]
        )
        with pytest.raises(SidecarError, match=r"24 points.* (8|16) frames") as caught:
            read_mrc(url, allow_truncated=allow)
        assert f"00001_{absent}_movie.mrc is not among them" in caught.value.problem

    @pytest.mark.usefixtures("unlistable")
    def test_later_part_of_a_scan_is_an_error_if_the_folder_cannot_be_listed(self, tmp_path, store):
        written = parts_of(tmp_path)
        url = f"{store(tmp_path)}/{written.movies[1].name}"
        with pytest.raises(SidecarError, match=r"00001_0_movie\.mrc is not among them"):
            read_mrc(url, allow_truncated=True)


class TestReading:
    @pytest.mark.parametrize("chunks", [5, (3, -1, -1, -1), (1, 4, 2, 3), -1])
    def test_chunks_that_span_parts_are_read(self, tmp_path, store, chunks):
        written = parts_of(tmp_path, 5)
        url = f"{store(tmp_path)}/{written.movie.name}"
        [dataset] = read_mrc(url, chunks=chunks)
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written))
        np.testing.assert_array_equal(
            dataset["data"][::-2, 1:5:3, ::-1].compute(), all_frames(written)[::-2, 1:5:3, ::-1]
        )

    def test_parts_can_be_read_eagerly(self, tmp_path, store):
        written = parts_of(tmp_path, 5)
        url = f"{store(tmp_path)}/{written.movie.name}"
        for distributed in (True, False):
            [dataset] = read_mrc(url, lazy=False, distributed=distributed)
            np.testing.assert_array_equal(dataset["data"], all_frames(written))

    def test_custom_scan_in_parts_is_read(self, tmp_path, store):
        points = np.random.default_rng(1).permutation(24)
        written = parts_of(tmp_path, 5, custom_points=np.stack([points % 6, points // 6], axis=1))
        [dataset] = read_mrc(f"{store(tmp_path)}/{written.movie.name}", chunks=(2, 2, -1, -1))
        expected = frames_of(np.argsort(points).reshape(4, 6), written)
        np.testing.assert_array_equal(dataset["data"].compute(), expected)

    def test_aborted_acquisition_with_fewer_parts_is_read_if_allowed(self, tmp_path, store):
        written = parts_of(tmp_path, 5, present=12)
        assert len(written.movies) == 3
        url = f"{store(tmp_path)}/{written.movie.name}"
        with pytest.raises(SidecarError, match=r"24 points.* 12 frames"):
            read_mrc(url)
        with pytest.warns(MrcdistWarning, match="12 of 24 frames are missing"):
            [dataset] = read_mrc(url, allow_truncated=True)
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written))


class TestNotes:
    """Notes that apply to several parts are given once."""

    def test_trailing_bytes_of_each_part_cause_one_note(self, tmp_path, store):
        written = parts_of(tmp_path)
        for number, movie in enumerate(written.movies, 1):
            movie.write_bytes(movie.read_bytes() + bytes(number))
        with pytest.warns(MrcdistWarning) as caught:
            read_mrc(f"{store(tmp_path)}/{written.movie.name}")
        [warning] = caught
        assert "1 bytes follow" in str(warning.message)
        assert "also in 2 other files" in str(warning.message)

    def test_note_on_trailing_bytes_names_a_later_part(self, tmp_path, store):
        written = parts_of(tmp_path)
        written.movies[1].write_bytes(written.movies[1].read_bytes() + b"x")
        with pytest.warns(MrcdistWarning) as caught:
            read_mrc(f"{store(tmp_path)}/{written.movie.name}")
        [warning] = caught
        assert f"{written.movies[1].name}: 1 bytes follow" in str(warning.message)


class TestConsistency:
    """Parts with different frames cannot be joined."""

    @pytest.mark.parametrize("other", [{"frame_shape": (5, 3)}, {"dtype": "int16"}])
    def test_error_for_a_part_with_other_frames_names_that_part(self, tmp_path, store, other):
        options = {"scan_shape": (4, 6), "frame_shape": FRAME, **other}
        written = parts_of(tmp_path)
        other_part = write_acquisition(tmp_path / "other", **options).movie
        other_part.replace(written.movies[1])
        with pytest.raises(FormatError, match="does not match") as caught:
            read_mrc(f"{store(tmp_path)}/{written.movie.name}")
        assert written.movies[1].name in str(caught.value)

    def test_error_for_a_part_that_is_not_an_mrc_file_names_that_part(self, tmp_path, store):
        written = parts_of(tmp_path)
        written.movies[1].write_bytes(b"<html>".ljust(2000))
        with pytest.raises(FormatError) as caught:
            read_mrc(f"{store(tmp_path)}/{written.movie.name}")
        assert written.movies[1].name in caught.value.where

    def test_only_the_last_part_may_be_truncated(self, tmp_path, store):
        written = parts_of(tmp_path)
        first, *_, last = written.movies
        complete = first.read_bytes()
        first.write_bytes(complete[:-1])
        url = f"{store(tmp_path)}/{first.name}"
        for allow in (False, True):
            with pytest.raises(TruncatedFileError):
                read_mrc(url, allow_truncated=allow)
        first.write_bytes(complete)
        last.write_bytes(last.read_bytes()[:-1])
        with pytest.raises(TruncatedFileError, match="7 of 8 frames") as caught:
            read_mrc(f"{store(tmp_path)}/{first.name}")
        assert last.name in caught.value.where
        with pytest.warns(MrcdistWarning) as caught:
            [dataset] = read_mrc(f"{store(tmp_path)}/{first.name}", allow_truncated=True)
        assert any("1 of 24 frames are missing" in str(warning.message) for warning in caught)
        expected = frames_of([*range(23), -1], written).reshape(4, 6, *FRAME)
        np.testing.assert_array_equal(dataset["data"].compute(), expected)
