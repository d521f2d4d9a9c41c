"""Synthetic acquisitions: order of frames, parts, images, and contradictory arguments."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcdist.errors import ArgumentError
from mrcdist.testing.acquisition import Acquisition, write_acquisition
from mrcdist.testing.movie import frame_index
from tests.support.acquisitions import sidecar_values

FRAME = (3, 5)


def stored_frames(path: Path, acquisition: Acquisition, dtype: str = "<u2") -> np.ndarray:
    """Return all frames of one movie, without using a reader."""
    pixels = np.frombuffer(path.read_bytes()[1024:], dtype)
    return pixels.reshape(-1, *acquisition.frame_shape)


def stored_order(acquisition: Acquisition) -> list[int]:
    """Return the index encoded in each frame, in file order."""
    return [
        frame_index(frame)
        for path in acquisition.movies
        for frame in stored_frames(path, acquisition)
    ]


class TestFrameOrder:
    @given(
        repeats=st.integers(1, 3),
        y=st.integers(1, 4),
        x=st.integers(1, 4),
        points=st.integers(1, 3),
    )
    def test_repeats_vary_slowest_and_point_repeats_fastest(
        self, tmp_path_factory: pytest.TempPathFactory, repeats: int, y: int, x: int, points: int
    ) -> None:
        written = write_acquisition(
            tmp_path_factory.mktemp("order"),
            scan_shape=(y, x),
            frame_shape=FRAME,
            repeats=repeats,
            point_repeats=points,
        )
        stored = stored_frames(written.movie, written).reshape(repeats, y, x, points, *FRAME)
        for r, row, column, p in np.ndindex(repeats, y, x, points):
            index = ((r * y + row) * x + column) * points + p
            assert frame_index(stored[r, row, column, p]) == index
        assert written.navigation_shape == tuple(n for n in (repeats, y, x, points) if n > 1)
        values = sidecar_values(written)
        assert values["Scan - Repeats"] == str(repeats)
        assert values["Scan - Camera Frames Per Point"] == str(points)
        assert values["Scan - Points"] == str(y * x)

    def test_each_frame_is_computed_once_in_order(self, tmp_path: Path) -> None:
        indices = []

        def frame(index: int) -> np.ndarray:
            indices.append(index)
            return np.full(FRAME, 10 * index)

        written = write_acquisition(tmp_path, scan_shape=(2, 2), frame_shape=FRAME, frames=frame)
        assert indices == [0, 1, 2, 3]
        assert stored_frames(written.movie, written)[:, 0, 0].tolist() == [0, 10, 20, 30]

    def test_only_the_region_of_interest_of_a_scan_is_written(self, tmp_path: Path) -> None:
        written = write_acquisition(tmp_path, scan_shape=(8, 6), frame_shape=FRAME, roi=(2, 3))
        values = sidecar_values(written)
        assert stored_order(written) == list(range(6))
        assert written.navigation_shape == (2, 3)
        assert (values["Scan - Size X"], values["Scan - Size Y"]) == ("6", "8")
        assert (values["Scan - ROI Size X"], values["Scan - ROI Size Y"]) == ("3", "2")
        assert values["Scan - ROI Enable"] == "Enable"

    def test_custom_points_are_written_one_row_per_frame(self, tmp_path: Path) -> None:
        points = np.array([[2, 0], [0, 1], [2, 0], [1, 1], [0, 0]])
        written = write_acquisition(
            tmp_path, scan_shape=(2, 3), frame_shape=FRAME, custom_points=points
        )
        assert written.scan_points is not None
        assert written.scan_points.name == "20260101_00001_scan_coordinates.csv"
        assert written.scan_points.read_text().split() == ["2,0", "0,1", "2,0", "1,1", "0,0"]
        assert stored_order(written) == [0, 1, 2, 3, 4]
        assert written.navigation_shape == (5,)
        assert sidecar_values(written)["Scan - Type"] == "XY File"

    def test_sidecar_of_a_movie_without_a_scan_disables_it(self, tmp_path: Path) -> None:
        written = write_acquisition(tmp_path, scan_shape=(1, 7), frame_shape=FRAME, scan=False)
        assert sidecar_values(written)["Scan - Enable"] == "Disable"
        assert stored_order(written) == list(range(7))
        assert written.navigation_shape == (7,)


class TestPartsAndAbortedAcquisitions:
    def test_parts_of_a_movie_are_numbered_and_consecutive(self, tmp_path: Path) -> None:
        written = write_acquisition(tmp_path, scan_shape=(2, 5), frame_shape=FRAME, parts=3)
        assert [path.name for path in written.movies] == [
            f"20260101_00001_{part}_movie.mrc" for part in range(3)
        ]
        counts = [len(stored_frames(path, written)) for path in written.movies]
        announced = [struct.unpack_from("<i", path.read_bytes(), 8)[0] for path in written.movies]
        assert counts == announced == [4, 4, 2]
        assert stored_order(written) == list(range(10))
        assert sidecar_values(written)["Autosave Maximum Images Per File"] == "4"

    @pytest.mark.parametrize(
        ("present", "counts"), [(0, [0]), (3, [3]), (4, [4]), (9, [4, 4, 1]), (13, [4, 4, 5])]
    )
    def test_aborted_acquisition_has_only_the_parts_with_frames(
        self, tmp_path: Path, present: int, counts: list[int]
    ) -> None:
        written = write_acquisition(
            tmp_path, scan_shape=(3, 4), frame_shape=FRAME, parts=3, present=present
        )
        assert [len(stored_frames(path, written)) for path in written.movies] == counts
        assert stored_order(written) == list(range(present))

    def test_sidecar_of_an_aborted_acquisition_has_the_planned_scan(self, tmp_path: Path) -> None:
        written = write_acquisition(tmp_path, scan_shape=(3, 4), frame_shape=FRAME, present=5)
        values = sidecar_values(written)
        assert stored_order(written) == list(range(5))
        assert struct.unpack_from("<i", written.movie.read_bytes(), 8) == (5,)
        assert values["Scan - Points"] == "12"
        assert values["Autosave Movie Frames Written"] == "5"
        assert written.frames == 5
        assert math.prod(written.navigation_shape) == 12

    def test_header_can_announce_missing_frames(self, tmp_path: Path) -> None:
        written = write_acquisition(
            tmp_path, scan_shape=(3, 4), frame_shape=FRAME, present=5, announced=12
        )
        assert struct.unpack_from("<i", written.movie.read_bytes(), 8) == (12,)
        assert written.movie.stat().st_size == 1024 + 5 * 3 * 5 * 2


class TestCompanions:
    @pytest.mark.parametrize(
        ("server", "names"),
        [
            ("2.7", ["_0_Virt 0_sum.mrc", "_1_halo_sum.mrc", "_ext1_Ext 1.mrc"]),
            ("new", ["_virt0_Virt 0_sum.mrc", "_virt1_halo_sum.mrc", "_ext1_Ext 1.mrc"]),
        ],
    )
    def test_companion_images_are_named_and_numbered_like_real_ones(
        self, tmp_path: Path, server: Any, names: list[str]
    ) -> None:
        images = [np.arange(32.0).reshape(4, 8) + 100 * n for n in range(3)]
        written = write_acquisition(
            tmp_path,
            frame_shape=FRAME,
            virtual_images={"Virt #0": images[0], "halo": images[1]},
            external_images={"Ext #1": images[2]},
            server=server,
        )
        assert [path.name for path in written.companions] == [
            f"20260101_00001{name}" for name in names
        ]
        for path, image in zip(written.companions, images, strict=True):
            np.testing.assert_array_equal(mrcfile.read(path).reshape(4, 8), image)
        values = sidecar_values(written)
        assert values["Scan - Virtual Detector 1 Name"] == "halo"
        assert values["Autosave Virtual Image 1 File Path"].endswith(written.companions[1].name)
        assert values["Autosave Virtual Image 2"] == "Discard"
        assert values["Autosave External Image 1"] == "Save"
        assert set(written.files) == set(tmp_path.iterdir())


class TestContradictions:
    @pytest.mark.parametrize(
        ("arguments", "value", "argument"),
        [
            ({"dtype": "int32"}, "int32", "dtype"),
            ({"byteorder": "="}, "'='", "byteorder"),
            ({"roi": (5, 2)}, r"\(5, 2\)", "roi"),
            ({"parts": 0}, "parts=0", "parts"),
            ({"parts": 2, "announced": 3}, "announced=3", "announced"),
            ({"scan": False, "repeats": 2}, "repeats=2", "repeats"),
            (
                {"scan": False, "custom_points": np.zeros((1, 2))},
                "scan=False",
                "custom_points",
            ),
            (
                {"custom_points": np.zeros((1, 2)), "point_repeats": 3},
                "point_repeats=3",
                "point_repeats",
            ),
            ({"custom_points": np.zeros((1, 2)), "roi": (1, 1)}, r"roi=\(1, 1\)", "roi"),
            ({"frames": lambda _: np.zeros((5, 3))}, r"shape \(5, 3\)", "frames"),
            ({"frames": lambda _: np.full(FRAME, 70_000)}, "int64", "frames"),
            ({"frames": lambda _: np.full(FRAME, -1.0)}, "float64", "frames"),
        ],
    )
    def test_error_for_contradictory_arguments_has_value_and_argument(
        self, tmp_path: Path, arguments: dict[str, Any], value: str, argument: str
    ) -> None:
        with pytest.raises(ArgumentError, match=value) as raised:
            write_acquisition(tmp_path, **{"frame_shape": FRAME, **arguments})
        assert raised.value.argument == argument
        assert raised.value.cause
        assert raised.value.remedy
