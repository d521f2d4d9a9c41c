"""Files whose NZ is out of date: frames beyond NZ are read and never treated as missing."""

from __future__ import annotations

import bz2
import gzip
import struct
import warnings
from pathlib import Path

import blosc
import numpy as np
import pytest

import mrcdist
from mrcdist.errors import ArgumentError, MrcdistWarning, SidecarError
from mrcdist.testing.acquisition import write_acquisition
from tests.support.acquisitions import frames_of, url_of
from tests.support.mrc_files import counting, header_bytes, mrc_bytes

SCAN = (4, 5)
N = 20


def set_nz(path, nz, byteorder="<"):
    raw = bytearray(Path(path).read_bytes())
    struct.pack_into(byteorder + "i", raw, 8, nz)
    Path(path).write_bytes(raw)
    return path


def read(url, **options):
    """Return the data and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MrcdistWarning)
        [ds] = mrcdist.read_mrc(url, **options)
    return ds["data"].compute(), [str(one.message) for one in caught]


def assert_complete(result, expected, nz):
    data, notes = result
    np.testing.assert_array_equal(data, expected)
    assert any(f"NZ = {nz} is out of date" in note for note in notes), notes
    assert not any("read as 0" in note or "not read" in note for note in notes), notes


@pytest.mark.parametrize("options", [{}, {"allow_truncated": True}])
@pytest.mark.parametrize("nz", [0, 1, 7, 19])
class TestScan:
    def test_raster_scan_has_all_frames_in_the_file(self, tmp_path, store, nz, options):
        written = write_acquisition(tmp_path, scan_shape=SCAN, announced=nz)
        url = url_of(written.movie, store)
        expected = frames_of(np.arange(N).reshape(SCAN), written)
        assert_complete(read(url, **options), expected, nz)

    def test_repeated_scan_has_all_frames_in_the_file(self, tmp_path, store, nz, options):
        written = write_acquisition(
            tmp_path, scan_shape=(2, 5), repeats=2, point_repeats=1, announced=nz
        )
        expected = frames_of(np.arange(N).reshape(2, 2, 5), written)
        assert_complete(read(url_of(written.movie, store), **options), expected, nz)

    def test_custom_scan_has_all_frames_in_the_file(self, tmp_path, store, nz, options):
        points = np.stack(np.unravel_index(np.arange(N)[::-1], SCAN)[::-1], -1)
        written = write_acquisition(tmp_path, scan_shape=SCAN, custom_points=points, announced=nz)
        expected = frames_of(np.arange(N)[::-1].reshape(SCAN), written)
        assert_complete(read(url_of(written.movie, store), **options), expected, nz)

    def test_navigation_shape_has_all_frames_in_the_file(self, tmp_path, store, nz, options):
        written = write_acquisition(tmp_path, scan_shape=SCAN, announced=nz)
        expected = frames_of(np.arange(N).reshape(2, 10), written)
        result = read(
            url_of(written.movie, store), navigation_shape=(10, 2), metadata_file=None, **options
        )
        assert_complete(result, expected, nz)


@pytest.mark.parametrize("points_in", ["file", "stream"])
def test_list_of_scan_points_can_be_a_stream_if_nz_is_out_of_date(tmp_path, points_in):
    points = np.stack(np.unravel_index(np.arange(N)[::-1], SCAN)[::-1], -1)
    written = write_acquisition(tmp_path, scan_shape=SCAN, custom_points=points, announced=1)
    expected = frames_of(np.arange(N)[::-1].reshape(SCAN), written)
    [points_file] = tmp_path.glob("*coordinates*")
    if points_in == "file":
        result = read(written.movie, scan_file=points_file)
    else:
        with points_file.open("rb") as stream:
            result = read(written.movie, scan_file=stream)
    assert_complete(result, expected, 1)


class TestPartialScan:
    @pytest.mark.parametrize("nz", [0, 1, 11])
    def test_frames_of_an_aborted_scan_are_read(self, tmp_path, nz):
        """The scan is incomplete, and NZ is out of date."""
        written = write_acquisition(tmp_path, scan_shape=SCAN, present=12, announced=nz)
        numbers = np.where(np.arange(N) < 12, np.arange(N), -1).reshape(SCAN)
        data, notes = read(written.movie, allow_truncated=True)
        np.testing.assert_array_equal(data, frames_of(numbers, written))
        assert any("8 of 20 frames are missing" in note for note in notes)
        assert any(f"NZ = {nz} is out of date: the file has 12" in note for note in notes)

    def test_aborted_scan_is_an_error_without_allow_truncated(self, tmp_path):
        written = write_acquisition(tmp_path, scan_shape=SCAN, present=12, announced=1)
        with pytest.raises(SidecarError, match="only 12 frames"):
            mrcdist.read_mrc(written.movie)

    def test_incomplete_last_frame_beyond_nz_is_not_counted(self, tmp_path):
        written = write_acquisition(tmp_path, scan_shape=SCAN, present=12, announced=1)
        with written.movie.open("ab") as file:
            file.write(bytes(7))
        numbers = np.where(np.arange(N) < 12, np.arange(N), -1).reshape(SCAN)
        data, _ = read(written.movie, allow_truncated=True)
        np.testing.assert_array_equal(data, frames_of(numbers, written))

    @pytest.mark.parametrize("options", [{}, {"allow_truncated": True}])
    @pytest.mark.parametrize("nz", [0, 1, 19])
    def test_more_frames_than_points_of_the_scan_are_an_error(self, tmp_path, nz, options):
        """It is unknown which frames belong to the scan, and NZ is wrong, too."""
        written = write_acquisition(tmp_path, scan_shape=SCAN, present=25, announced=nz)
        with pytest.raises(SidecarError, match="20 points, but the file has 25 frames"):
            mrcdist.read_mrc(written.movie, **options)

    @pytest.mark.parametrize("options", [{}, {"allow_truncated": True}])
    def test_more_frames_than_points_of_navigation_shape_are_an_error(self, tmp_path, options):
        written = write_acquisition(tmp_path, scan_shape=SCAN, announced=1)
        with pytest.raises(ArgumentError, match="15 points, but the file has 20 frames"):
            mrcdist.read_mrc(written.movie, navigation_shape=(5, 3), **options)


def test_nz_is_used_if_it_matches_navigation_shape(tmp_path):
    written = write_acquisition(tmp_path, scan_shape=SCAN, announced=10)
    with pytest.warns(MrcdistWarning, match="bytes follow the 10 frames"):
        [ds] = mrcdist.read_mrc(written.movie, navigation_shape=(5, 2), metadata_file=None)
    np.testing.assert_array_equal(
        ds["data"].compute(), frames_of(np.arange(10).reshape(2, 5), written)
    )


class TestMovieInParts:
    """A movie in numbered parts of 8, 8 and 4 frames."""

    @pytest.fixture
    def written(self, tmp_path):
        return write_acquisition(tmp_path, scan_shape=SCAN, parts=3)

    @pytest.mark.parametrize("stale", [(0,), (1,), (2,), (0, 1, 2)])
    @pytest.mark.parametrize("options", [{}, {"allow_truncated": True}])
    def test_parts_with_outdated_nz_have_all_their_frames(self, written, stale, options):
        for number in stale:
            set_nz(written.movies[number], 1)
        expected = frames_of(np.arange(N).reshape(SCAN), written)
        assert_complete(read(written.movie, **options), expected, 1)

    def test_frames_beyond_nz_of_one_part_do_not_replace_a_missing_part(self, written):
        """The last part is missing, and NZ of the first is out of date."""
        set_nz(written.movies[0], 3)
        written.movies[2].unlink()
        present = 2 * -(-N // 3)
        numbers = np.where(np.arange(N) < present, np.arange(N), -1).reshape(SCAN)
        data, _ = read(written.movie, allow_truncated=True)
        np.testing.assert_array_equal(data, frames_of(numbers, written))

    def test_frames_after_nz_keep_their_points_if_the_last_part_is_truncated(self, written):
        set_nz(written.movies[0], 3)
        last = written.movies[2]
        last.write_bytes(last.read_bytes()[:-1])
        numbers = np.append(np.arange(N - 1), -1).reshape(SCAN)
        data, _ = read(written.movie, allow_truncated=True)
        np.testing.assert_array_equal(data, frames_of(numbers, written))


NUMBERS = counting((N, 6, 8), "int16")


def mrcz_bytes(numbers, nz):
    head = header_bytes(nx=8, ny=6, nz=nz, mode=6001)
    return head + b"".join(blosc.compress(one.tobytes(), 2, cname="zstd") for one in numbers)


def bytes_with_nz(numbers, nz):
    raw = bytearray(mrc_bytes(numbers))
    struct.pack_into("<i", raw, 8, nz)
    return bytes(raw)


COMPRESSIONS = {
    "gzip": lambda numbers, nz: gzip.compress(bytes_with_nz(numbers, nz), mtime=0),
    "bzip2": lambda numbers, nz: bz2.compress(bytes_with_nz(numbers, nz)),
    "MRCZ": mrcz_bytes,
}


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("nz", [0, 1, 19])
class TestCompressed:
    @pytest.mark.parametrize("options", [{}, {"allow_truncated": True}])
    def test_compressed_file_has_all_its_frames(self, tmp_path, compression, nz, options):
        path = tmp_path / "a.mrc"
        path.write_bytes(COMPRESSIONS[compression](NUMBERS, nz))
        result = read(path, navigation_shape=(5, 4), **options)
        assert_complete(result, NUMBERS.reshape(4, 5, 6, 8), nz)

    def test_missing_frames_of_a_compressed_file_read_as_0(self, tmp_path, compression, nz):
        path = tmp_path / "a.mrc"
        path.write_bytes(COMPRESSIONS[compression](NUMBERS, nz))
        data, notes = read(path, navigation_shape=(6, 4), allow_truncated=True)
        expected = np.concatenate([NUMBERS, np.zeros((4, 6, 8), "int16")]).reshape(4, 6, 6, 8)
        np.testing.assert_array_equal(data, expected)
        assert any("4 of 24 frames are missing" in note for note in notes)

    def test_compressed_file_with_more_frames_than_points_is_an_error(
        self, tmp_path, compression, nz
    ):
        path = tmp_path / "a.mrc"
        path.write_bytes(COMPRESSIONS[compression](NUMBERS, nz))
        with pytest.raises(ArgumentError, match="15 points"):
            mrcdist.read_mrc(path, navigation_shape=(5, 3), allow_truncated=True)


@pytest.mark.parametrize("trailing", [b"junk", b"\2\1\0\0" + bytes(40)])
def test_trailing_bytes_of_mrcz_are_not_counted_as_sections(tmp_path, trailing):
    path = tmp_path / "a.mrcz"
    path.write_bytes(mrcz_bytes(NUMBERS[:12], 10) + trailing)
    data, notes = read(path, navigation_shape=(5, 4), allow_truncated=True)
    np.testing.assert_array_equal(data.reshape(NUMBERS.shape)[:12], NUMBERS[:12])
    assert not data.reshape(NUMBERS.shape)[12:].any()
    assert any("NZ = 10 is out of date: the file has 12" in note for note in notes)


@pytest.mark.parametrize("trailing", [b"junk", blosc.compress(NUMBERS[0].tobytes(), 2)[:-1]])
def test_bytes_after_all_announced_sections_of_mrcz_cause_a_note(tmp_path, trailing):
    path = tmp_path / "a.mrcz"
    path.write_bytes(mrcz_bytes(NUMBERS[:12], 12) + trailing)
    _, notes = read(path, navigation_shape=(5, 4), allow_truncated=True)
    assert any(
        f"{len(trailing)} bytes after the last section are ignored" in note for note in notes
    )


@pytest.mark.parametrize("nz", [0, 1, 5])
def test_nz_is_used_without_a_scan_and_the_warning_suggests_navigation_shape(tmp_path, nz):
    path = tmp_path / "a.mrc"
    path.write_bytes(bytes_with_nz(NUMBERS, nz))
    with pytest.warns(MrcdistWarning, match="`navigation_shape=\\(20,\\)` reads them as frames"):
        [ds] = mrcdist.read_mrc(path)
    assert ds["data"].shape == ((6, 8) if nz == 1 else (nz, 6, 8))
    assert_complete(read(path, navigation_shape=(20,)), NUMBERS, nz)


@pytest.mark.parametrize("nz", [0, 1, 4])
def test_minus_1_in_navigation_shape_counts_frames_beyond_nz(tmp_path, nz):
    path = tmp_path / "a.mrc"
    path.write_bytes(bytes_with_nz(NUMBERS, nz))
    assert_complete(read(path, navigation_shape=(5, -1)), NUMBERS.reshape(4, 5, 6, 8), nz)


def test_minus_1_in_navigation_shape_counts_only_complete_frames_if_needed(tmp_path):
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc_bytes(NUMBERS)[: 1024 + 18 * 96 + 5])
    data, _ = read(path, navigation_shape=(3, -1), allow_truncated=True)
    np.testing.assert_array_equal(data, NUMBERS[:18].reshape(6, 3, 6, 8))
    with pytest.raises(ArgumentError, match="20 frames are not divisible by 8"):
        mrcdist.plan_mrc(path, navigation_shape=(8, -1), allow_truncated=True)


def test_warning_about_trailing_bytes_suggests_no_shape_if_they_are_not_frames(tmp_path):
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc_bytes(NUMBERS) + bytes(100))
    _, [note] = read(path)
    assert note.endswith("100 bytes follow the 20 frames that the header announces: not read")
