"""Movies in numbered parts, lists and globs: one dataset, with frames in the order of the parts."""

from __future__ import annotations

import warnings
from pathlib import Path
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
from mrcdist.discover import files
from mrcdist.storage.location import Location
from mrcdist.testing.acquisition import write_acquisition
from tests.support.acquisitions import all_frames, axis_names, frames_of

FRAME = (3, 5)


def parts_of(folder, parts=3, **options):
    return write_acquisition(folder, scan_shape=(4, 6), frame_shape=FRAME, parts=parts, **options)


def renumbered(written, numbers, stem="20260101_00001"):
    """Rename the parts of an acquisition."""
    for part, number in reversed(list(zip(written.movies, numbers, strict=True))):
        part.rename(part.with_name(f"{stem}_{number}_movie.mrc"))


class TestNaming:
    @pytest.mark.parametrize("named", ["first part", "glob", "list"])
    @pytest.mark.parametrize("parts", [1, 2, 5, 12])
    def test_all_parts_make_one_scan(self, tmp_path, keep, named, parts):
        """24 frames in 12 parts: part 10 comes after part 9."""
        written = parts_of(tmp_path, parts)
        assert len(written.movies) == parts
        folder = keep(tmp_path)
        url = {
            "first part": f"{folder}/{written.movie.name}",
            "glob": f"{folder}/20260101_00001*_movie.mrc",
            "list": [f"{folder}/{path.name}" for path in written.movies],
        }[named]
        [dataset] = read_mrc(url)
        assert axis_names(dataset) == ["y", "x", "ky", "kx"]
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written))

    def test_list_is_used_in_its_own_order(self, tmp_path, keep):
        written = parts_of(tmp_path, 2)
        folder = keep(tmp_path)
        [dataset] = read_mrc(
            [f"{folder}/{path.name}" for path in reversed(written.movies)], metadata_file=None
        )
        expected = frames_of([*range(12, 24), *range(12)], written)
        np.testing.assert_array_equal(dataset["data"].compute(), expected)

    def test_list_of_one_file_is_only_that_file(self, tmp_path, keep):
        written = parts_of(tmp_path, 2)
        [dataset] = read_mrc([f"{keep(tmp_path)}/{written.movie.name}"], metadata_file=None)
        np.testing.assert_array_equal(dataset["data"].compute(), frames_of(range(12), written))

    def test_a_part_that_is_listed_twice_is_an_error(self, tmp_path):
        first, second = parts_of(tmp_path, 2).movies
        with pytest.raises(ArgumentError, match="is listed 2 times"):
            read_mrc([first, second, str(first)])

    @pytest.mark.parametrize("how", ["link", "hard link", "folder and back", "URL"])
    def test_one_file_under_two_names_is_an_error(self, tmp_path, how):
        first, second = parts_of(tmp_path, 2, scan=False).movies
        (tmp_path / "also.mrc").symlink_to(first)
        (tmp_path / "hard.mrc").hardlink_to(first)
        again = {
            "link": tmp_path / "also.mrc",
            "hard link": tmp_path / "hard.mrc",
            "folder and back": f"{tmp_path}/../{tmp_path.name}/{first.name}",
            "URL": f"file://{first}",
        }[how]
        with pytest.raises(ArgumentError, match="is listed 2 times") as raised:
            read_mrc([first, second, again])
        assert raised.value.argument == "filename"
        assert (f"also as {again}" in raised.value.problem) == (how != "URL")

    def test_files_with_equal_inode_numbers_are_distinguished(self, tmp_path, monkeypatch):
        """No filesystem of this machine does that, so `stat` is replaced."""

        class Mounted(type(Path())):
            def stat(self, **options):
                found = super().stat(**options)
                stamps = {name: getattr(found, name) for name in dir(found) if name[:3] == "st_"}
                return SimpleNamespace(**stamps | {"st_ino": 7})

        written = parts_of(tmp_path, 2)
        monkeypatch.setattr(files, "Path", Mounted)
        [dataset] = read_mrc(list(written.movies))
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written))

    def test_a_pattern_that_matches_a_link_and_its_file_is_an_error(self, tmp_path):
        first, _ = parts_of(tmp_path, 2, scan=False).movies
        (tmp_path / "20260101_00001_2_movie.mrc").symlink_to(first)
        with pytest.raises(ArgumentError, match="is listed 2 times"):
            read_mrc(f"{tmp_path}/*_movie.mrc")

    def test_a_list_may_hold_paths(self, tmp_path):
        written = parts_of(tmp_path, 2)
        [dataset] = read_mrc(list(written.movies))
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written))

    @pytest.mark.parametrize("first", [0, 1])
    def test_first_part_has_number_0_or_1(self, tmp_path, keep, first):
        written = parts_of(tmp_path)
        if first:
            renumbered(written, range(1, 4))
        [dataset] = read_mrc(f"{keep(tmp_path)}/20260101_00001_{first}_movie.mrc")
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written))

    @pytest.mark.parametrize("wildcard", ["*", "[0-2]"])
    def test_wildcards_find_all_parts(self, tmp_path, keep, wildcard):
        written = parts_of(tmp_path)
        [dataset] = read_mrc(f"{keep(tmp_path)}/20260101_00001_{wildcard}_movie.mrc")
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written))

    def test_brackets_in_the_name_of_a_file_are_not_a_wildcard(self, tmp_path, keep):
        written = write_acquisition(tmp_path, scan_shape=(4, 6), frame_shape=FRAME)
        written.movie.rename(tmp_path / "run [1]_movie.mrc")
        [dataset] = read_mrc(f"{keep(tmp_path)}/run [1]_movie.mrc")
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
    def test_wildcards_in_the_name_of_a_folder_are_literal(
        self, tmp_path, keep, folder, neighbour, wildcard
    ):
        """Files of a folder that the name would match as a pattern are not among the parts."""
        for other in (folder, neighbour):
            (tmp_path / other).mkdir()
        written = parts_of(tmp_path / folder, scan=False)
        write_acquisition(tmp_path / neighbour, scan_shape=(2, 3), frame_shape=FRAME, scan=False)
        if "::" in folder and keep(tmp_path).startswith("memory"):
            pytest.skip("in a URL, :: joins the members of a chain")
        [dataset] = read_mrc(f"{keep(tmp_path)}/{folder}/20260101_00001_{wildcard}_movie.mrc")
        np.testing.assert_array_equal(dataset["data"].compute(), frames_of(range(24), written))

    def test_brackets_next_to_a_wildcard_match_literally(self, tmp_path, keep):
        written = parts_of(tmp_path, scan=False)
        renumbered(written, range(3), stem="run [1]")
        write_acquisition(tmp_path, name="run 1", scan_shape=(2, 3), frame_shape=FRAME, scan=False)
        [dataset] = read_mrc(f"{keep(tmp_path)}/run [1]_*_movie.mrc")
        np.testing.assert_array_equal(dataset["data"].compute(), frames_of(range(24), written))

    def test_pattern_does_not_match_hidden_files(self, tmp_path, keep):
        written = parts_of(tmp_path, scan=False)
        for part in written.movies:  # as macOS leaves them on disks of others
            (tmp_path / f"._{part.name}").write_bytes(b"no movie")
        [dataset] = read_mrc(f"{keep(tmp_path)}/*_movie.mrc")
        np.testing.assert_array_equal(dataset["data"].compute(), frames_of(range(24), written))

    def test_pattern_does_not_match_folders(self, tmp_path, keep):
        written = parts_of(tmp_path, scan=False)
        (tmp_path / "20260101_00001_3_movie.mrc").mkdir()
        (tmp_path / "20260101_00001_3_movie.mrc" / "notes.txt").write_text("here")
        [dataset] = read_mrc(f"{keep(tmp_path)}/*_movie.mrc")
        np.testing.assert_array_equal(dataset["data"].compute(), frames_of(range(24), written))

    @pytest.mark.parametrize("name", ["a*b.mrc", "a?b.mrc", "a[1]b.mrc", "a::b.mrc", "zip::b.mrc"])
    def test_existing_file_is_not_taken_for_a_pattern_or_a_chained_url(
        self, tmp_path, monkeypatch, name
    ):
        written = write_acquisition(tmp_path, scan_shape=(4, 6), frame_shape=FRAME, scan=False)
        written.movie.rename(tmp_path / name)
        (tmp_path / "a1b.mrc").write_bytes(b"another file")
        monkeypatch.chdir(tmp_path)
        for given in (name, tmp_path / name, f"./{name}", [name]):
            [dataset] = read_mrc(given)
            np.testing.assert_array_equal(dataset["data"].compute(), frames_of(range(24), written))

    def test_sidecar_is_found_next_to_a_movie_with_colons(self, tmp_path, monkeypatch):
        written = write_acquisition(tmp_path / "a::b", scan_shape=(4, 6), frame_shape=FRAME)
        monkeypatch.chdir(tmp_path)
        for given in (f"a::b/{written.movie.name}", written.movie, "a::b/*_movie.mrc"):
            assert axis_names(read_mrc(given)[0]) == ["y", "x", "ky", "kx"]

    def test_digits_that_are_not_decimal_are_part_of_a_name(self, tmp_path, keep):
        written = parts_of(tmp_path)
        renumbered(written, range(3), stem="1²3")
        [dataset] = read_mrc(f"{keep(tmp_path)}/1²3_*_movie.mrc", metadata_file=None)
        np.testing.assert_array_equal(dataset["data"].compute(), frames_of(range(24), written))

    def test_later_part_alone_is_read_if_it_is_not_a_scan(self, tmp_path, keep):
        written = parts_of(tmp_path)
        url = f"{keep(tmp_path)}/{written.movies[1].name}"
        for options in ({"metadata_file": None}, {"navigation_shape": (8,)}):
            [dataset] = read_mrc(url, **options)
            np.testing.assert_array_equal(
                dataset["data"].compute(), frames_of(range(8, 16), written)
            )

    def test_a_pattern_that_matches_two_acquisitions_is_an_error(self, tmp_path, keep):
        parts_of(tmp_path)
        parts_of(tmp_path, name="20260101_00002")
        with pytest.raises(ArgumentError, match="20260101_00001, 20260101_00002") as raised:
            read_mrc(f"{keep(tmp_path)}/*_movie.mrc")
        assert raised.value.argument == "filename"

    def test_warning_about_further_parts_if_the_folder_cannot_be_listed(
        self, tmp_path, keep, monkeypatch
    ):
        written = parts_of(tmp_path, scan=False)
        url = f"{keep(tmp_path)}/{written.movie.name}"
        monkeypatch.setattr(Location, "list_siblings", lambda self: None)
        with pytest.warns(MrcdistWarning, match="cannot list the folder to look for further parts"):
            [dataset] = read_mrc(url)
        assert dataset["data"].shape == (8, *FRAME)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read_mrc([url])

    def test_a_missing_part_is_an_error(self, tmp_path, keep):
        written = parts_of(tmp_path)
        written.movies[1].unlink()
        with pytest.raises(MissingFileError, match="0, 2"):
            read_mrc(f"{keep(tmp_path)}/{written.movie.name}")

    @pytest.mark.parametrize("scan", [True, False])
    def test_a_pattern_with_a_gap_is_an_error_that_names_it(self, tmp_path, keep, scan):
        written = parts_of(tmp_path, scan=scan)
        written.movies[1].unlink()
        with pytest.raises(MissingFileError, match=r"00001_1_movie\.mrc"):
            read_mrc(f"{keep(tmp_path)}/*_movie.mrc", allow_truncated=True)

    def test_list_with_a_gap_is_read_with_a_warning(self, tmp_path, keep):
        written = parts_of(tmp_path, scan=False)
        folder = keep(tmp_path)
        with pytest.warns(MrcdistWarning, match="00001_1_movie.mrc is missing from the list"):
            [dataset] = read_mrc([f"{folder}/{written.movies[i].name}" for i in (0, 2)])
        expected = frames_of([*range(8), *range(16, 24)], written)
        np.testing.assert_array_equal(dataset["data"].compute(), expected)

    def test_a_glob_that_matches_nothing_is_an_error(self, tmp_path, keep):
        parts_of(tmp_path)
        with pytest.raises(MissingFileError, match="nothing"):
            read_mrc(f"{keep(tmp_path)}/nothing*.mrc")

    def test_an_empty_list_is_an_error(self):
        with pytest.raises(ArgumentError, match="empty"):
            read_mrc([])


class TestFirstPart:
    """A scan that is filled from its start must begin with its first part."""

    @pytest.mark.parametrize("allow", [False, True])
    @pytest.mark.parametrize("custom", [False, True])
    @pytest.mark.parametrize(
        ("present", "named", "absent"),
        [
            ([0, 1, 2], "00001_1_movie.mrc", 0),
            ([0, 1, 2], ["00001_1_movie.mrc", "00001_2_movie.mrc"], 0),
            ([0, 1, 2], ["00001_0_movie.mrc", "00001_2_movie.mrc"], 1),
            ([1, 2, 3], "00001_2_movie.mrc", 1),
            ([0, 1, 2], "00001_[12]_movie.mrc", 0),
        ],
    )
    @pytest.mark.filterwarnings("ignore:.*is missing from the list")
    def test_later_parts_are_not_taken_for_the_scan(
        self, tmp_path, keep, allow, custom, present, named, absent
    ):
        points = np.array([[i % 6, i // 6] for i in reversed(range(24))]) if custom else None
        written = parts_of(tmp_path, custom_points=points)
        if present[0]:
            renumbered(written, present)
        folder = keep(tmp_path)
        stem = "20260101_"
        url = (
            f"{folder}/{stem}{named}"
            if isinstance(named, str)
            else [f"{folder}/{stem}{name}" for name in named]
        )
        with pytest.raises(SidecarError, match=r"24 points.* (8|16) frames") as caught:
            read_mrc(url, allow_truncated=allow)
        assert f"00001_{absent}_movie.mrc is not among them" in caught.value.problem

    def test_later_parts_are_not_taken_for_the_scan_if_the_folder_cannot_be_listed(
        self, tmp_path, keep, monkeypatch
    ):
        written = parts_of(tmp_path)
        url = f"{keep(tmp_path)}/{written.movies[1].name}"
        monkeypatch.setattr(Location, "list_siblings", lambda self: None)
        with pytest.raises(SidecarError, match=r"00001_0_movie\.mrc is not among them"):
            read_mrc(url, allow_truncated=True)


class TestReading:
    @pytest.mark.parametrize("chunks", [5, (3, -1, -1, -1), (1, 4, 2, 3), -1])
    def test_chunks_may_span_parts(self, tmp_path, keep, chunks):
        written = parts_of(tmp_path, 5)
        url = f"{keep(tmp_path)}/{written.movie.name}"
        [dataset] = read_mrc(url, chunks=chunks)
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written))
        np.testing.assert_array_equal(
            dataset["data"][::-2, 1:5:3, ::-1].compute(), all_frames(written)[::-2, 1:5:3, ::-1]
        )

    def test_parts_are_read_eagerly(self, tmp_path, keep):
        written = parts_of(tmp_path, 5)
        url = f"{keep(tmp_path)}/{written.movie.name}"
        for distributed in (True, False):
            [dataset] = read_mrc(url, lazy=False, distributed=distributed)
            np.testing.assert_array_equal(dataset["data"], all_frames(written))

    def test_a_custom_scan_may_be_in_parts(self, tmp_path, keep):
        points = np.random.default_rng(1).permutation(24)
        written = parts_of(tmp_path, 5, custom_points=np.stack([points % 6, points // 6], axis=1))
        [dataset] = read_mrc(f"{keep(tmp_path)}/{written.movie.name}", chunks=(2, 2, -1, -1))
        expected = frames_of(np.argsort(points).reshape(4, 6), written)
        np.testing.assert_array_equal(dataset["data"].compute(), expected)

    def test_an_aborted_acquisition_has_fewer_parts(self, tmp_path, keep):
        written = parts_of(tmp_path, 5, present=12)
        assert len(written.movies) == 3
        url = f"{keep(tmp_path)}/{written.movie.name}"
        with pytest.raises(SidecarError, match=r"24 points.* 12 frames"):
            read_mrc(url)
        with pytest.warns(MrcdistWarning, match="12 of 24 frames are missing"):
            [dataset] = read_mrc(url, allow_truncated=True)
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written))


class TestNotes:
    """Unusual features of several parts are noted once."""

    def test_trailing_bytes_of_each_part_cause_one_note(self, tmp_path, keep):
        written = parts_of(tmp_path)
        for number, movie in enumerate(written.movies, 1):
            movie.write_bytes(movie.read_bytes() + bytes(number))
        with pytest.warns(MrcdistWarning) as said:
            read_mrc(f"{keep(tmp_path)}/{written.movie.name}")
        [warning] = said
        assert "1 bytes follow" in str(warning.message)
        assert "also in 2 other files" in str(warning.message)

    def test_note_on_trailing_bytes_names_a_later_part(self, tmp_path, keep):
        written = parts_of(tmp_path)
        written.movies[1].write_bytes(written.movies[1].read_bytes() + b"x")
        with pytest.warns(MrcdistWarning) as said:
            read_mrc(f"{keep(tmp_path)}/{written.movie.name}")
        [warning] = said
        assert f"{written.movies[1].name}: 1 bytes follow" in str(warning.message)


class TestAgreement:
    """Parts with different frames would give a wrong array."""

    @pytest.mark.parametrize("other", [{"frame_shape": (5, 3)}, {"dtype": "int16"}])
    def test_parts_that_differ_are_refused(self, tmp_path, keep, other):
        options = {"scan_shape": (4, 6), "frame_shape": FRAME, **other}
        written = parts_of(tmp_path)
        odd = write_acquisition(tmp_path / "odd", **options).movie
        odd.replace(written.movies[1])
        with pytest.raises(FormatError, match="does not match") as caught:
            read_mrc(f"{keep(tmp_path)}/{written.movie.name}")
        assert written.movies[1].name in str(caught.value)

    def test_error_names_a_part_that_is_not_an_mrc_file(self, tmp_path, keep):
        written = parts_of(tmp_path)
        written.movies[1].write_bytes(b"<html>".ljust(2000))
        with pytest.raises(FormatError) as caught:
            read_mrc(f"{keep(tmp_path)}/{written.movie.name}")
        assert written.movies[1].name in caught.value.where

    def test_only_the_last_part_may_be_truncated(self, tmp_path, keep):
        written = parts_of(tmp_path)
        first, *_, last = written.movies
        whole = first.read_bytes()
        first.write_bytes(whole[:-1])
        url = f"{keep(tmp_path)}/{first.name}"
        for allow in (False, True):
            with pytest.raises(TruncatedFileError):
                read_mrc(url, allow_truncated=allow)
        first.write_bytes(whole)
        last.write_bytes(last.read_bytes()[:-1])
        with pytest.raises(TruncatedFileError, match="7 of 8 frames") as caught:
            read_mrc(f"{keep(tmp_path)}/{first.name}")
        assert last.name in caught.value.where
        with pytest.warns(MrcdistWarning) as said:
            [dataset] = read_mrc(f"{keep(tmp_path)}/{first.name}", allow_truncated=True)
        assert any("1 of 24 frames are missing" in str(warning.message) for warning in said)
        expected = frames_of([*range(23), -1], written).reshape(4, 6, *FRAME)
        np.testing.assert_array_equal(dataset["data"].compute(), expected)
