"""Raster scans: positions of frames, and lengths of axes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcdist import ArgumentError, MrcdistWarning, SidecarError, TruncatedFileError, read_mrc
from mrcdist.testing.acquisition import write_acquisition
from tests.support.acquisitions import all_frames, axis_names, frames_of, url_of
from tests.support.examples import examples

FRAME = (3, 5)
FRAME_AXES = ["ky", "kx"]


def read(path, keep, **options):
    [dataset] = read_mrc(url_of(path, keep), **options)
    return dataset


@st.composite
def block_lengths(draw, sizes):
    """Return a block length for each axis; frames may be split, too."""
    return tuple(draw(st.integers(1, size)) for size in sizes)


class TestOrder:
    @examples(30)
    @given(
        sizes=st.tuples(*(st.integers(1, most) for most in (3, 4, 4, 3))),
        cuts=block_lengths((3, 4, 4, 3, *FRAME)),
        dtype=st.sampled_from(["uint8", "uint16", "float32"]),
        server=st.sampled_from(["2.7", "new"]),
    )
    def test_repeats_then_rows_then_columns_then_point_repeats(
        self, tmp_path_factory, keep, sizes, cuts, dtype, server
    ):
        repeats, y, x, point_repeats = sizes
        written = write_acquisition(
            tmp_path_factory.mktemp("order"),
            scan_shape=(y, x),
            repeats=repeats,
            point_repeats=point_repeats,
            frame_shape=FRAME,
            dtype=dtype,
            server=server,
        )
        long = [size > 1 for size in sizes]
        chunks = (*(cut for cut, kept in zip(cuts, long, strict=False) if kept), *cuts[4:])
        dataset = read(written.movie, keep, chunks=chunks)
        names = [
            name
            for name, kept in zip(["repeat", "y", "x", "point_repeat"], long, strict=True)
            if kept
        ]
        assert axis_names(dataset) == names + FRAME_AXES
        assert dataset["data"].chunksize == tuple(
            min(cut, size) for cut, size in zip(chunks, dataset["data"].shape, strict=True)
        )
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written, dtype))

    @pytest.mark.parametrize(
        "spelling",
        ["Scan - Point Repeats", "Scan - Point Repeat", "Scan - Camera Frames Per Point"],
    )
    def test_point_repeats_in_every_spelling(self, tmp_path, keep, spelling):
        written = write_acquisition(
            tmp_path,
            scan_shape=(2, 4),
            point_repeats=3,
            frame_shape=FRAME,
            sidecar={"Scan - Camera Frames Per Point": None, spelling: "3"},
        )
        dataset = read(written.movie, keep)
        assert axis_names(dataset) == ["y", "x", "point_repeat", *FRAME_AXES]
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written))

    def test_region_of_interest_determines_the_scan_shape(self, tmp_path, keep):
        written = write_acquisition(
            tmp_path, scan_shape=(16, 9), roi=(2, 3), repeats=2, frame_shape=FRAME
        )
        dataset = read(written.movie, keep)
        assert dataset["data"].shape == (2, 2, 3, *FRAME)
        assert axis_names(dataset) == ["repeat", "y", "x", *FRAME_AXES]
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written))

    def test_sizes_of_a_disabled_region_are_ignored(self, tmp_path, keep):
        written = write_acquisition(
            tmp_path,
            scan_shape=(2, 3),
            frame_shape=FRAME,
            sidecar={"Scan - ROI Size X": "7", "Scan - ROI Size Y": "7"},
        )
        assert read(written.movie, keep)["data"].shape == (2, 3, *FRAME)

    @pytest.mark.parametrize(
        ("scan_shape", "names"), [((1, 6), ["x"]), ((6, 1), ["y"]), ((1, 1), [])]
    )
    def test_axes_of_length_1_are_dropped(self, tmp_path, keep, scan_shape, names):
        written = write_acquisition(tmp_path, scan_shape=scan_shape, frame_shape=FRAME)
        for lazy in (True, False):
            dataset = read(written.movie, keep, lazy=lazy, distributed=lazy)
            assert axis_names(dataset) == names + FRAME_AXES
            np.testing.assert_array_equal(np.asarray(dataset["data"]), all_frames(written))

    def test_frame_of_one_row_keeps_its_axis(self, tmp_path, keep):
        written = write_acquisition(tmp_path, scan_shape=(2, 3), frame_shape=(1, 7))
        dataset = read(written.movie, keep)
        assert axis_names(dataset) == ["y", "x", *FRAME_AXES]
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written))

    def test_movie_without_a_scan_has_a_time_axis(self, tmp_path, keep):
        written = write_acquisition(tmp_path, scan_shape=(2, 4), frame_shape=FRAME, scan=False)
        dataset = read(written.movie, keep)
        assert axis_names(dataset) == ["time", *FRAME_AXES]
        np.testing.assert_array_equal(
            dataset["data"].compute(), all_frames(written).reshape(8, *FRAME)
        )

    def test_scan_in_tem_mode_is_read_as_a_scan(self, tmp_path, keep):
        written = write_acquisition(
            tmp_path,
            scan_shape=(2, 4),
            frame_shape=FRAME,
            sidecar={"Instrument Project TEMorSTEM Mode": "0"},
        )
        assert axis_names(read(written.movie, keep)) == ["y", "x", *FRAME_AXES]


class TestFrameCount:
    def test_more_frames_than_points_are_not_dropped(self, tmp_path, keep):
        written = write_acquisition(tmp_path, scan_shape=(2, 4), frame_shape=FRAME, present=10)
        for allow in (False, True):
            with pytest.raises(SidecarError, match=r"8 points.* 10 frames") as caught:
                read(written.movie, keep, allow_truncated=allow)
            assert "navigation_shape" in caught.value.remedy
            assert "metadata_file=None" in caught.value.remedy
        rescued = read(written.movie, keep, navigation_shape=(10,))["data"]
        np.testing.assert_array_equal(rescued.compute(), frames_of(range(10), written))
        plain = read(written.movie, keep, metadata_file=None)["data"]
        np.testing.assert_array_equal(plain.compute(), frames_of(range(10), written))

    def test_fewer_frames_than_points_are_not_invented(self, tmp_path, keep):
        written = write_acquisition(tmp_path, scan_shape=(2, 4), frame_shape=FRAME, present=5)
        with pytest.raises(SidecarError, match=r"8 points.* 5 frames") as caught:
            read(written.movie, keep)
        assert "allow_truncated=True" in caught.value.remedy

    @pytest.mark.parametrize("chunks", ["auto", (1, 3, -1, -1), (2, 2, 2, 3)])
    def test_missing_frames_of_a_partial_scan_read_as_0(self, tmp_path, keep, chunks):
        written = write_acquisition(tmp_path, scan_shape=(2, 4), frame_shape=FRAME, present=5)
        with pytest.warns(MrcdistWarning, match="3 of 8 frames are missing"):
            dataset = read(written.movie, keep, allow_truncated=True, chunks=chunks)
        assert axis_names(dataset) == ["y", "x", *FRAME_AXES]
        expected = all_frames(written)
        assert not expected[1, 1:].any()
        np.testing.assert_array_equal(dataset["data"].compute(), expected)

    def test_frames_that_are_announced_but_missing_are_an_error_or_a_note(self, tmp_path, keep):
        written = write_acquisition(
            tmp_path, scan_shape=(2, 4), frame_shape=FRAME, present=5, announced=8
        )
        with pytest.raises(TruncatedFileError, match="5 of 8 frames"):
            read(written.movie, keep)
        with pytest.warns(MrcdistWarning) as said:
            dataset = read(written.movie, keep, allow_truncated=True)
        assert any("3 of 8 frames are missing" in str(warning.message) for warning in said)
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written))

    def test_incomplete_last_frame_is_missing(self, tmp_path, keep):
        written = write_acquisition(tmp_path, scan_shape=(2, 4), frame_shape=FRAME)
        whole = written.movie.read_bytes()
        written.movie.write_bytes(whole[:-1])
        with pytest.raises(TruncatedFileError, match="7 of 8 frames"):
            read(written.movie, keep)
        with pytest.warns(MrcdistWarning) as said:
            data = read(written.movie, keep, allow_truncated=True)["data"].compute()
        assert any("1 of 8 frames are missing" in str(warning.message) for warning in said)
        expected = all_frames(written)
        expected[1, 3] = 0
        np.testing.assert_array_equal(data, expected)


class TestNavigationShape:
    """navigation_shape is in HyperSpy's order, fastest first; that of the array is reversed."""

    @pytest.mark.parametrize(
        ("given", "array_order"),
        [
            ((6, 4), (4, 6)),
            ([6, 4], (4, 6)),
            ((24,), (24,)),
            ((3, 2, 4), (4, 2, 3)),
            ((3, 2, 2, 2), (2, 2, 2, 3)),
            ((3, 1, 2, 2, 2, 1), (2, 2, 2, 3)),
            ((6, -1), (4, 6)),
            ((-1, 6), (6, 4)),
            ((-1,), (24,)),
            ((-1, 24), (24,)),
            ((np.int64(6), np.int32(4)), (4, 6)),
        ],
    )
    @pytest.mark.parametrize("sidecar", ["auto", None])
    def test_navigation_shape_overrides_the_sidecar(
        self, tmp_path, keep, given, array_order, sidecar
    ):
        written = write_acquisition(tmp_path, scan_shape=(3, 8), frame_shape=FRAME)
        dataset = read(written.movie, keep, navigation_shape=given, metadata_file=sidecar)
        names = axis_names(dataset)
        assert len(set(names)) == len(names) == len(array_order) + 2
        expected = frames_of(np.arange(24).reshape(array_order), written)
        np.testing.assert_array_equal(dataset["data"].compute(), expected)

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ((5, 4), "20 points, but the file has 24"),
            ((5, 5), "25 points, but the file has 24"),
            ((5, -1), "24 frames are not divisible by 5"),
            ((-1, -1), "for at most one -1"),
            ((0, 24), "positive"),
            ((24.5,), "integers"),
            ((float("inf"),), "integers"),
            ((10**30,), "points, but the file has 24"),
            ("24", "integers"),
            ((), "integers"),
            (24, "integers"),
        ],
    )
    def test_a_navigation_shape_that_does_not_fit_is_refused(self, tmp_path, keep, given, said):
        written = write_acquisition(tmp_path, scan_shape=(3, 8), frame_shape=FRAME)
        with pytest.raises(ArgumentError) as caught:
            read(written.movie, keep, navigation_shape=given)
        assert said in str(caught.value)
        assert "navigation_shape" in caught.value.problem

    def test_a_navigation_shape_far_longer_than_the_file_is_refused(self, tmp_path, keep):
        sizes = {"Scan - Size X": str(10**17), "Scan - Size Y": "1"}
        written = write_acquisition(tmp_path, scan_shape=(3, 8), frame_shape=FRAME, sidecar=sizes)
        with pytest.raises(SidecarError, match=str(10**17)):
            read(written.movie, keep, allow_truncated=True)
        for size in (10**9, 10**30):
            with pytest.raises(ArgumentError, match=str(size)):
                read(written.movie, keep, navigation_shape=(size,), allow_truncated=True)

    def test_longer_navigation_shape_is_a_partial_scan_if_allowed(self, tmp_path, keep):
        written = write_acquisition(tmp_path, scan_shape=(3, 8), frame_shape=FRAME)
        with pytest.warns(MrcdistWarning, match="1 of 25 frames are missing"):
            dataset = read(written.movie, keep, navigation_shape=(5, 5), allow_truncated=True)
        expected = frames_of([*range(24), -1], written).reshape(5, 5, *FRAME)
        np.testing.assert_array_equal(dataset["data"].compute(), expected)

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"repeats": 2},
            {"point_repeats": 3},
            {"scan_shape": (3, 3), "point_repeats": 3},
            {"repeats": 2, "point_repeats": 3},
        ],
        ids=str,
    )
    def test_shape_of_the_scan_keeps_its_axes(self, tmp_path, keep, options):
        options = {"scan_shape": (3, 8), "frame_shape": FRAME, **options}
        written = write_acquisition(tmp_path, **options)
        own = read(written.movie, keep)
        given = list(reversed(own["data"].shape[:-2]))
        for shape in (given, [*given, 1], [1, *given]):
            assert read(written.movie, keep, navigation_shape=shape)["axes"] == own["axes"]

    def test_other_shape_keeps_axes_up_to_the_first_that_differs(self, tmp_path, keep):
        """Frames are in the order of the scan, so 8 consecutive ones are always a line."""
        written = write_acquisition(tmp_path, scan_shape=(6, 8), repeats=6, frame_shape=FRAME)
        y, x = read(written.movie, keep, navigation_shape=(8, 36))["axes"][:2]
        assert (x["name"], x["scale"], x["units"]) == ("x", 0.4, "nm")
        assert (y["name"], y["scale"], y["units"]) == ("scan_y", 1.0, None)
        first, *others = read(written.movie, keep, navigation_shape=(4, 12, 6))["axes"][:3]
        assert [axis["name"] for axis in (first, *others)] == ["scan_3", "scan_y", "scan_x"]
        assert {axis["units"] for axis in (first, *others)} == {None}

    def test_reversed_shape_of_the_scan_is_used_with_a_warning(self, tmp_path):
        written = write_acquisition(tmp_path, scan_shape=(3, 8), frame_shape=FRAME)
        with pytest.warns(MrcdistWarning, match=r"\(3, 8\) is used as given.* scan is \(8, 3\)"):
            [dataset] = read_mrc(written.movie, navigation_shape=(3, 8))
        assert dataset["data"].shape == (8, 3, *FRAME)

    def test_axes_of_a_scan_with_point_repeats_are_not_confused(self, tmp_path, keep):
        """The lengths are those of x and y, but the fastest axis is that of the repeats."""
        written = write_acquisition(tmp_path, scan_shape=(4, 4), point_repeats=3, frame_shape=FRAME)
        with pytest.warns(MrcdistWarning, match="the shape of the scan is"):
            axes = read(written.movie, keep, navigation_shape=(4, 4, 3))["axes"][:3]
        assert [(axis["name"], axis["units"]) for axis in axes] == [
            ("scan_3", None),
            ("scan_y", None),
            ("scan_x", None),
        ]

    def test_lines_with_extra_frames_keep_the_calibration_of_the_scan(self, tmp_path, keep):
        """The camera records while the beam flies back: `[:, :8]` is the scan."""
        written = write_acquisition(tmp_path, scan_shape=(2, 8), frame_shape=FRAME, present=20)
        own = read(written.movie, keep, skip_frames=(0, 2))["axes"]
        y, x, *signal = read(written.movie, keep, navigation_shape=(10, 2))["axes"]
        assert [y, x | {"size": 8}, *signal] == own
        assert x["units"] == "nm"

    def test_scan_with_another_number_of_points_does_not_name_the_axes(self, tmp_path, keep):
        written = write_acquisition(tmp_path, scan_shape=(2, 8), frame_shape=FRAME, present=24)
        axes = read(written.movie, keep, navigation_shape=(8, 3))["axes"][:2]
        assert [(axis["name"], axis["units"]) for axis in axes] == [
            ("scan_y", None),
            ("scan_x", None),
        ]

    @pytest.mark.parametrize(("given", "name"), [((24,), "time"), ((6, 4), None)])
    def test_axes_of_a_movie_have_distinct_names(self, tmp_path, keep, given, name):
        """A movie of images has signal axes called y and x."""
        written = write_acquisition(
            tmp_path,
            scan_shape=(3, 8),
            frame_shape=FRAME,
            scan=False,
            sidecar={
                "Instrument Project Camera Length (centimeters)": "-1",
                "Instrument Project TEMorSTEM Mode": "-1",
            },
        )
        dataset = read(written.movie, keep, navigation_shape=given)
        names = axis_names(dataset)
        assert names[-2:] == ["y", "x"]
        assert len(set(names)) == len(names)
        assert dataset["axes"][0] == read(written.movie, keep)["axes"][0] or name is None

    def test_navigation_shape_replaces_an_invalid_sidecar(self, tmp_path, keep):
        written = write_acquisition(
            tmp_path, scan_shape=(3, 8), frame_shape=FRAME, sidecar={"Scan - Size X": "many"}
        )
        with pytest.raises(SidecarError, match="many"):
            read(written.movie, keep)
        dataset = read(written.movie, keep, navigation_shape=(8, 3))
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written))
