"""Movies in numbered parts, lists and globs: one dataset, its frames in the order of the parts."""

from __future__ import annotations

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
from mrcdist.demo.acquisition import write_acquisition
from tests.support.acquisitions import all_frames, axis_names, frames_of

FRAME = (3, 5)


def parts_of(folder, parts=3, **options):
    return write_acquisition(folder, scan_shape=(4, 6), frame_shape=FRAME, parts=parts, **options)


class TestNaming:
    @pytest.mark.parametrize("named", ["first part", "glob", "list"])
    @pytest.mark.parametrize("parts", [1, 2, 5, 12])
    def test_all_parts_make_one_scan(self, tmp_path, keep, named, parts):
        """24 frames in 12 parts: part 10 comes behind part 9."""
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

    def test_a_list_is_taken_in_its_own_order(self, tmp_path, keep):
        written = parts_of(tmp_path, 2)
        folder = keep(tmp_path)
        [dataset] = read_mrc(
            [f"{folder}/{path.name}" for path in reversed(written.movies)], metadata_file=None
        )
        expected = frames_of([*range(12, 24), *range(12)], written)
        np.testing.assert_array_equal(dataset["data"].compute(), expected)

    def test_a_list_of_one_is_that_one(self, tmp_path, keep):
        written = parts_of(tmp_path, 2)
        [dataset] = read_mrc([f"{keep(tmp_path)}/{written.movie.name}"], metadata_file=None)
        np.testing.assert_array_equal(dataset["data"].compute(), frames_of(range(12), written))

    def test_a_part_that_is_listed_twice_is_an_error(self, tmp_path):
        first, second = parts_of(tmp_path, 2).movies
        with pytest.raises(ArgumentError, match="is listed 2 times"):
            read_mrc([first, second, str(first)])

    def test_paths_in_a_list(self, tmp_path):
        written = parts_of(tmp_path, 2)
        [dataset] = read_mrc(list(written.movies))
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written))

    def test_a_later_part_alone_does_not_pass_for_the_scan(self, tmp_path, keep):
        written = parts_of(tmp_path)
        with pytest.raises(SidecarError, match=r"24 points.* 8 frames"):
            read_mrc(f"{keep(tmp_path)}/{written.movies[1].name}")

    def test_a_missing_part_is_an_error(self, tmp_path, keep):
        written = parts_of(tmp_path)
        written.movies[1].unlink()
        with pytest.raises(MissingFileError, match="0, 2"):
            read_mrc(f"{keep(tmp_path)}/{written.movie.name}")

    def test_a_glob_that_matches_nothing_is_an_error(self, tmp_path, keep):
        parts_of(tmp_path)
        with pytest.raises(MissingFileError, match="nothing"):
            read_mrc(f"{keep(tmp_path)}/nothing*.mrc")

    def test_an_empty_list_is_an_error(self):
        with pytest.raises(ArgumentError, match="empty"):
            read_mrc([])


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

    def test_eagerly(self, tmp_path, keep):
        written = parts_of(tmp_path, 5)
        url = f"{keep(tmp_path)}/{written.movie.name}"
        for distributed in (True, False):
            [dataset] = read_mrc(url, lazy=False, distributed=distributed)
            np.testing.assert_array_equal(dataset["data"], all_frames(written))

    def test_a_custom_scan_in_parts(self, tmp_path, keep):
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


class TestAgreement:
    """Parts of different frames would make a wrong array."""

    @pytest.mark.parametrize(
        "other", [{"frame_shape": (5, 3)}, {"dtype": "int16"}, {"byteorder": ">"}]
    )
    def test_parts_that_differ_are_refused(self, tmp_path, keep, other):
        options = {"scan_shape": (4, 6), "frame_shape": FRAME, **other}
        written = parts_of(tmp_path)
        odd = write_acquisition(tmp_path / "odd", **options).movie
        odd.replace(written.movies[1])
        with pytest.raises(FormatError, match="does not go with") as caught:
            read_mrc(f"{keep(tmp_path)}/{written.movie.name}")
        assert written.movies[1].name in str(caught.value)

    def test_a_part_that_is_no_mrc_file_is_named(self, tmp_path, keep):
        written = parts_of(tmp_path)
        written.movies[1].write_bytes(b"<html>".ljust(2000))
        with pytest.raises(FormatError) as caught:
            read_mrc(f"{keep(tmp_path)}/{written.movie.name}")
        assert written.movies[1].name in caught.value.where

    def test_only_the_last_part_may_be_cut(self, tmp_path, keep):
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
