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


def read(path, store, **options):
    [dataset] = read_mrc(url_of(path, store), **options)
    return dataset


@st.composite
def block_lengths(draw, sizes):
    """Draw a block length for each axis; frames may be split, too."""
    return tuple(draw(st.integers(1, size)) for size in sizes)


class TestOrder:
    @examples(30)
    @given(
        sizes=st.tuples(*(st.integers(1, maximum) for maximum in (3, 4, 4, 3))),
        lengths=block_lengths((3, 4, 4, 3, *FRAME)),
        dtype=st.sampled_from(["uint8", "uint16", "float32"]),
        server=st.sampled_from(["2.7", "new"]),
    )
    def test_frames_are_ordered_by_repeat_row_column_and_point_repeat(
        self, tmp_path_factory, store, sizes, lengths, dtype, server
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
        has_axis = [size > 1 for size in sizes]
        chunks = (
            *(length for length, kept in zip(lengths, has_axis, strict=False) if kept),
            *lengths[4:],
        )
        dataset = read(written.movie, store, chunks=chunks)
        names = [
            name
            for name, kept in zip(["repeat", "y", "x", "point_repeat"], has_axis, strict=True)
            if kept
        ]
        assert axis_names(dataset) == names + FRAME_AXES
        assert dataset["data"].chunksize == tuple(
            min(length, size) for length, size in zip(chunks, dataset["data"].shape, strict=True)
        )
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written, dtype))

    @pytest.mark.parametrize(
        "spelling",
        ["Scan - Point Repeats", "Scan - Point Repeat", "Scan - Camera Frames Per Point"],
    )
    def test_every_spelling_of_point_repeats_is_read(self, tmp_path, store, spelling):
        written = write_acquisition(
            tmp_path,
            scan_shape=(2, 4),
            point_repeats=3,
            frame_shape=FRAME,
            sidecar={"Scan - Camera Frames Per Point": None, spelling: "3"},
        )
        dataset = read(written.movie, store)
        assert axis_names(dataset) == ["y", "x", "point_repeat", *FRAME_AXES]
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written))

    def test_region_of_interest_determines_the_scan_shape(self, tmp_path, store):
        written = write_acquisition(
            tmp_path, scan_shape=(16, 9), roi=(2, 3), repeats=2, frame_shape=FRAME
        )
        dataset = read(written.movie, store)
        assert dataset["data"].shape == (2, 2, 3, *FRAME)
        assert axis_names(dataset) == ["repeat", "y", "x", *FRAME_AXES]
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written))

    def test_sizes_of_a_disabled_region_of_interest_are_ignored(self, tmp_path, store):
        written = write_acquisition(
            tmp_path,
            scan_shape=(2, 3),
            frame_shape=FRAME,
            sidecar={"Scan - ROI Size X": "7", "Scan - ROI Size Y": "7"},
        )
        assert read(written.movie, store)["data"].shape == (2, 3, *FRAME)

    @pytest.mark.parametrize(
        ("scan_shape", "names"), [((1, 6), ["x"]), ((6, 1), ["y"]), ((1, 1), [])]
    )
    def test_scan_axes_of_length_1_are_dropped(self, tmp_path, store, scan_shape, names):
        written = write_acquisition(tmp_path, scan_shape=scan_shape, frame_shape=FRAME)
        for lazy in (True, False):
            dataset = read(written.movie, store, lazy=lazy, distributed=lazy)
            assert axis_names(dataset) == names + FRAME_AXES
            np.testing.assert_array_equal(np.asarray(dataset["data"]), all_frames(written))

    def test_frames_of_one_row_keep_their_ky_axis(self, tmp_path, store):
        written = write_acquisition(tmp_path, scan_shape=(2, 3), frame_shape=(1, 7))
        dataset = read(written.movie, store)
        assert axis_names(dataset) == ["y", "x", *FRAME_AXES]
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written))

    def test_movie_without_a_scan_has_a_time_axis(self, tmp_path, store):
        written = write_acquisition(tmp_path, scan_shape=(2, 4), frame_shape=FRAME, scan=False)
        dataset = read(written.movie, store)
        assert axis_names(dataset) == ["time", *FRAME_AXES]
        np.testing.assert_array_equal(
            dataset["data"].compute(), all_frames(written).reshape(8, *FRAME)
        )

    def test_scan_in_tem_mode_is_read_as_a_scan(self, tmp_path, store):
        written = write_acquisition(
            tmp_path,
            scan_shape=(2, 4),
            frame_shape=FRAME,
            sidecar={"Instrument Project TEMorSTEM Mode": "0"},
        )
        assert axis_names(read(written.movie, store)) == ["y", "x", *FRAME_AXES]


class TestFrameCount:
    def test_more_frames_than_points_are_an_error_with_a_remedy(self, tmp_path, store):
        written = write_acquisition(tmp_path, scan_shape=(2, 4), frame_shape=FRAME, present=10)
        for allow in (False, True):
            with pytest.raises(SidecarError, match=r"8 points.* 10 frames") as caught:
                read(written.movie, store, allow_truncated=allow)
            assert "navigation_shape" in caught.value.remedy
            assert "metadata_file=None" in caught.value.remedy
        stack = read(written.movie, store, navigation_shape=(10,))["data"]
        np.testing.assert_array_equal(stack.compute(), frames_of(range(10), written))
        plain = read(written.movie, store, metadata_file=None)["data"]
        np.testing.assert_array_equal(plain.compute(), frames_of(range(10), written))

    def test_fewer_frames_than_points_are_an_error_with_a_remedy(self, tmp_path, store):
        written = write_acquisition(tmp_path, scan_shape=(2, 4), frame_shape=FRAME, present=5)
        with pytest.raises(SidecarError, match=r"8 points.* 5 frames") as caught:
            read(written.movie, store)
        assert "allow_truncated=True" in caught.value.remedy

    @pytest.mark.parametrize("chunks", ["auto", (1, 3, -1, -1), (2, 2, 2, 3)])
    def test_missing_frames_of_a_partial_scan_read_as_0(self, tmp_path, store, chunks):
        written = write_acquisition(tmp_path, scan_shape=(2, 4), frame_shape=FRAME, present=5)
        with pytest.warns(MrcdistWarning, match="3 of 8 frames are missing"):
            dataset = read(written.movie, store, allow_truncated=True, chunks=chunks)
        assert axis_names(dataset) == ["y", "x", *FRAME_AXES]
        expected = all_frames(written)
        assert not expected[1, 1:].any()
        np.testing.assert_array_equal(dataset["data"].compute(), expected)

    def test_frames_missing_from_the_file_are_an_error_unless_allowed(self, tmp_path, store):
        written = write_acquisition(
            tmp_path, scan_shape=(2, 4), frame_shape=FRAME, present=5, announced=8
        )
        with pytest.raises(TruncatedFileError, match="5 of 8 frames"):
            read(written.movie, store)
        with pytest.warns(MrcdistWarning) as caught:
            dataset = read(written.movie, store, allow_truncated=True)
        assert any("3 of 8 frames are missing" in str(warning.message) for warning in caught)
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written))

    def test_incomplete_last_frame_counts_as_missing(self, tmp_path, store):
        written = write_acquisition(tmp_path, scan_shape=(2, 4), frame_shape=FRAME)
        complete = written.movie.read_bytes()
        written.movie.write_bytes(complete[:-1])
        with pytest.raises(TruncatedFileError, match="7 of 8 frames"):
            read(written.movie, store)
        with pytest.warns(MrcdistWarning) as caught:
            data = read(written.movie, store, allow_truncated=True)["data"].compute()
        assert any("1 of 8 frames are missing" in str(warning.message) for warning in caught)
        expected = all_frames(written)
        expected[1, 3] = 0
        np.testing.assert_array_equal(data, expected)


class TestNavigationShape:
    """`navigation_shape` is in HyperSpy's order, fastest axis first; the array's is reversed."""

    @pytest.mark.parametrize(
        ("navigation_shape", "array_order"),
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
        self, tmp_path, store, navigation_shape, array_order, sidecar
    ):
        written = write_acquisition(tmp_path, scan_shape=(3, 8), frame_shape=FRAME)
        dataset = read(
            written.movie, store, navigation_shape=navigation_shape, metadata_file=sidecar
        )
        names = axis_names(dataset)
        assert len(set(names)) == len(names) == len(array_order) + 2
        expected = frames_of(np.arange(24).reshape(array_order), written)
        np.testing.assert_array_equal(dataset["data"].compute(), expected)

    @pytest.mark.parametrize(
        ("navigation_shape", "message"),
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
    def test_invalid_navigation_shape_is_an_error_that_states_the_reason(
        self, tmp_path, store, navigation_shape, message
    ):
        written = write_acquisition(tmp_path, scan_shape=(3, 8), frame_shape=FRAME)
        with pytest.raises(ArgumentError) as caught:
            read(written.movie, store, navigation_shape=navigation_shape)
        assert message in str(caught.value)
        assert "navigation_shape" in caught.value.problem

    def test_scan_far_longer_than_the_file_is_an_error_even_if_truncation_is_allowed(
        self, tmp_path, store
    ):
        sizes = {"Scan - Size X": str(10**17), "Scan - Size Y": "1"}
        written = write_acquisition(tmp_path, scan_shape=(3, 8), frame_shape=FRAME, sidecar=sizes)
        with pytest.raises(SidecarError, match=str(10**17)):
            read(written.movie, store, allow_truncated=True)
        for size in (10**9, 10**30):
            with pytest.raises(ArgumentError, match=str(size)):
                read(written.movie, store, navigation_shape=(size,), allow_truncated=True)

    def test_longer_navigation_shape_is_a_partial_scan_if_allowed(self, tmp_path, store):
        written = write_acquisition(tmp_path, scan_shape=(3, 8), frame_shape=FRAME)
        with pytest.warns(MrcdistWarning, match="1 of 25 frames are missing"):
            dataset = read(written.movie, store, navigation_shape=(5, 5), allow_truncated=True)
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
    def test_navigation_shape_equal_to_the_scan_keeps_the_axes(self, tmp_path, store, options):
        options = {"scan_shape": (3, 8), "frame_shape": FRAME, **options}
        written = write_acquisition(tmp_path, **options)
        scan = read(written.movie, store)
        scan_shape = list(reversed(scan["data"].shape[:-2]))
        for shape in (scan_shape, [*scan_shape, 1], [1, *scan_shape]):
            assert read(written.movie, store, navigation_shape=shape)["axes"] == scan["axes"]

    def test_navigation_shape_keeps_the_fast_axes_that_it_shares_with_the_scan(
        self, tmp_path, store
    ):
        """Frames are in the order of the scan, so 8 consecutive ones are always a line."""
        written = write_acquisition(tmp_path, scan_shape=(6, 8), repeats=6, frame_shape=FRAME)
        y, x = read(written.movie, store, navigation_shape=(8, 36))["axes"][:2]
        assert (x["name"], x["scale"], x["units"]) == ("x", 0.4, "nm")
        assert (y["name"], y["scale"], y["units"]) == ("scan_y", 1.0, None)
        first, *others = read(written.movie, store, navigation_shape=(4, 12, 6))["axes"][:3]
        assert [axis["name"] for axis in (first, *others)] == ["scan_3", "scan_y", "scan_x"]
        assert {axis["units"] for axis in (first, *others)} == {None}

    def test_navigation_shape_in_reversed_order_causes_a_warning(self, tmp_path):
        written = write_acquisition(tmp_path, scan_shape=(3, 8), frame_shape=FRAME)
        with pytest.warns(MrcdistWarning, match=r"\(3, 8\)` is used as given.* scan is \(8, 3\)"):
            [dataset] = read_mrc(written.movie, navigation_shape=(3, 8))
        assert dataset["data"].shape == (8, 3, *FRAME)

    def test_axes_of_equal_length_are_not_mistaken_for_x_and_y_of_the_scan(self, tmp_path, store):
        """The lengths are those of x and y, but the fastest axis is that of the repeats."""
        written = write_acquisition(tmp_path, scan_shape=(4, 4), point_repeats=3, frame_shape=FRAME)
        with pytest.warns(MrcdistWarning, match="the shape of the scan is"):
            axes = read(written.movie, store, navigation_shape=(4, 4, 3))["axes"][:3]
        assert [(axis["name"], axis["units"]) for axis in axes] == [
            ("scan_3", None),
            ("scan_y", None),
            ("scan_x", None),
        ]

    def test_navigation_shape_with_flyback_frames_keeps_the_calibration(self, tmp_path, store):
        """The camera also records during flyback: `[:, :8]` is the scan."""
        written = write_acquisition(tmp_path, scan_shape=(2, 8), frame_shape=FRAME, present=20)
        scan_axes = read(written.movie, store, skip_frames=(0, 2))["axes"]
        y, x, *signal = read(written.movie, store, navigation_shape=(10, 2))["axes"]
        assert [y, x | {"size": 8}, *signal] == scan_axes
        assert x["units"] == "nm"

    def test_axes_have_generic_names_if_the_number_of_points_differs(self, tmp_path, store):
        written = write_acquisition(tmp_path, scan_shape=(2, 8), frame_shape=FRAME, present=24)
        axes = read(written.movie, store, navigation_shape=(8, 3))["axes"][:2]
        assert [(axis["name"], axis["units"]) for axis in axes] == [
            ("scan_y", None),
            ("scan_x", None),
        ]

    @pytest.mark.parametrize(("navigation_shape", "is_time"), [((24,), True), ((6, 4), False)])
    def test_navigation_axes_of_a_movie_are_not_named_like_its_signal_axes(
        self, tmp_path, store, navigation_shape, is_time
    ):
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
        dataset = read(written.movie, store, navigation_shape=navigation_shape)
        names = axis_names(dataset)
        assert names[-2:] == ["y", "x"]
        assert len(set(names)) == len(names)
        assert (dataset["axes"][0] == read(written.movie, store)["axes"][0]) == is_time

    def test_navigation_shape_replaces_an_invalid_sidecar(self, tmp_path, store):
        written = write_acquisition(
            tmp_path, scan_shape=(3, 8), frame_shape=FRAME, sidecar={"Scan - Size X": "many"}
        )
        with pytest.raises(SidecarError, match="many"):
            read(written.movie, store)
        dataset = read(written.movie, store, navigation_shape=(8, 3))
        np.testing.assert_array_equal(dataset["data"].compute(), all_frames(written))
