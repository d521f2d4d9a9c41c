"""Synthetic acquisitions and tilt series: headers, order of frames, sidecars, and images."""

from __future__ import annotations

import io
import math
import struct
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.field import demo_detectors, demo_frames
from demo.magnetism import magnetic_deflection
from demo.panels import direction_colours, draw_tasks
from demo.tilt_specimen import demo_tilts
from mrcdist.errors import ArgumentError
from mrcdist.testing.acquisition import Acquisition, write_acquisition
from mrcdist.testing.movie import MODES, frame_index, indexed_frame, movie_header
from mrcdist.testing.specimen import crystal_frames
from mrcdist.testing.tilt_series import Microscope, write_tilt_series

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


def sidecar_of(acquisition: Acquisition) -> dict[str, str]:
    lines = acquisition.sidecar.read_text("latin-1").splitlines()
    return {key.rstrip(): value for key, value in (line.split("= ", 1) for line in lines)}


class TestHeader:
    @pytest.mark.parametrize("byteorder", ["<", ">"])
    @pytest.mark.parametrize("dtype", MODES)
    def test_mrcfile_reads_the_pixels_that_were_written(
        self, tmp_path: Path, dtype: str, byteorder: Any
    ) -> None:
        written = write_acquisition(
            tmp_path, scan_shape=(2, 3), frame_shape=FRAME, dtype=dtype, byteorder=byteorder
        )
        expected = np.stack([indexed_frame(index, FRAME, dtype) for index in range(6)])
        with mrcfile.open(written.movie) as movie:
            assert movie.header.mode == MODES[dtype]
            np.testing.assert_array_equal(movie.data, expected)

    @pytest.mark.parametrize(("byteorder", "stamp"), [("<", b"DD\0\0"), (">", b"\x11\x11\0\0")])
    def test_header_fields_are_at_the_offsets_of_mrc2014(
        self, byteorder: Any, stamp: bytes
    ) -> None:
        header = movie_header(7, (4, 8), "uint16", byteorder)

        def words(kind: str, offset: int, count: int) -> tuple[Any, ...]:
            return struct.unpack_from(f"{byteorder}{count}{kind}", header, offset)

        assert len(header) == 1024
        assert words("i", 0, 10) == (8, 4, 7, 6, 0, 0, 0, 8, 4, 7)  # N, mode, NSTART, M
        assert words("f", 40, 6) == (-80, -40, 0, 90, 90, 90)  # cell
        assert words("i", 64, 3) == (1, 2, 3)  # MAPC, MAPR, MAPS
        assert words("f", 76, 3) == (2, 1, 0)  # statistics: undefined
        assert words("i", 88, 2) == (1, 0)  # ISPG, NSYMBT
        assert words("i", 108, 1) == (20140,)
        assert header[208:216] == b"MAP " + stamp
        assert words("f", 216, 1) == (-1,)
        assert not any(header[220:])

    def test_synthetic_header_equals_that_of_a_real_camera(self, real_data: Path) -> None:
        real = (real_data / "20241021_00405_movie.mrc").read_bytes()[:1024]
        assert movie_header(32, (4, 8), "uint16") == real


class TestIndexedFrames:
    @pytest.mark.parametrize("dtype", MODES)
    @pytest.mark.parametrize("index", [0, 1, 99, 100, 255, 256, 65536, 12_345_678, 99_999_999])
    def test_index_is_encoded_in_frames_of_every_pixel_type(self, index: int, dtype: str) -> None:
        assert frame_index(indexed_frame(index, FRAME, dtype)) == index

    def test_indexed_frame_differs_if_shifted_or_transposed(self) -> None:
        frame = indexed_frame(5, (8, 8))
        assert not np.array_equal(frame, frame.T)
        assert not np.array_equal(frame, np.roll(frame, 1, axis=0))
        assert not np.array_equal(frame, np.roll(frame, 1, axis=1))

    def test_index_too_large_for_the_frame_is_an_error(self) -> None:
        assert frame_index(indexed_frame(9999, (1, 2))) == 9999
        with pytest.raises(ArgumentError, match="10000") as raised:
            indexed_frame(10000, (1, 2))
        assert raised.value.argument == "index"


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
        values = sidecar_of(written)
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
        values = sidecar_of(written)
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
        assert sidecar_of(written)["Scan - Type"] == "XY File"

    def test_sidecar_of_a_movie_without_a_scan_disables_it(self, tmp_path: Path) -> None:
        written = write_acquisition(tmp_path, scan_shape=(1, 7), frame_shape=FRAME, scan=False)
        assert sidecar_of(written)["Scan - Enable"] == "Disable"
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
        assert sidecar_of(written)["Autosave Maximum Images Per File"] == "4"

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
        values = sidecar_of(written)
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


class TestSidecar:
    @pytest.mark.parametrize(("server", "newline"), [("new", b"\n"), ("2.7", b"\r\n")])
    def test_sidecar_lines_have_the_layout_of_real_files(
        self, tmp_path: Path, server: Any, newline: bytes
    ) -> None:
        raw = write_acquisition(tmp_path, frame_shape=FRAME, server=server).sidecar.read_bytes()
        assert raw.count(b"\n") == raw.count(newline)
        lines = raw.decode("latin-1").splitlines()
        assert lines[0].startswith("Server Software Version")
        assert {line.index("=") for line in lines} == {64}

    def test_sidecar_keys_occur_in_real_files(self, tmp_path: Path, real_data: Path) -> None:
        names = real_data.parent / "de-info-keys.tsv"
        if not names.exists():
            pytest.skip(f"the list of keys in real files, {names}, does not exist")
        known = {line.split("\t")[0] for line in names.read_text().splitlines()}
        for server in ("new", "2.7"):
            written = write_acquisition(tmp_path, frame_shape=FRAME, server=server)
            assert set(sidecar_of(written)) <= known

    @pytest.mark.parametrize(
        ("server", "present", "absent"),
        [
            ("2.7", "Scan - Point Repeat", "Scan - Camera Frames Per Point"),
            ("new", "Scan - Camera Frames Per Point", "Scan - Point Repeat"),
            ("2.7", "ADUs Per Electron Bin1x", "ADUs Per Electron"),
            ("new", "ADUs Per Electron", "ADUs Per Electron Bin1x"),
        ],
    )
    def test_spelling_of_sidecar_keys_depends_on_the_server_version(
        self, tmp_path: Path, server: Any, present: str, absent: str
    ) -> None:
        written = write_acquisition(tmp_path, frame_shape=FRAME, point_repeats=3, server=server)
        values = sidecar_of(written)
        assert present in values
        assert absent not in values

    def test_sidecar_describes_the_frames_and_calibrates_x_and_y_differently(
        self, tmp_path: Path
    ) -> None:
        values = sidecar_of(
            write_acquisition(tmp_path, name="20260203_00042_ice", frame_shape=FRAME)
        )
        assert (values["Image Size Y (pixels)"], values["Image Size X (pixels)"]) == ("3", "5")
        assert values["Dataset Name"] == "20260203_00042_ice"
        assert values["Autosave Filename Suffix"] == "ice"
        assert values["Autosave Movie Frames File Path"].endswith("\\20260203_00042_ice_movie.mrc")
        for key in ("Specimen Pixel Size {} (nanometers)", "Diffraction Pixel Size {}"):
            assert float(values[key.format("X")]) != float(values[key.format("Y")])

    @pytest.mark.parametrize(
        ("dtype", "mode", "counted", "integrated"),
        [
            ("uint8", "Counting", "uint8", "uint16"),
            ("float32", "Integrating", "uint8", "float32"),
            ("uint16", "Integrating", "uint8", "uint16"),
        ],
    )
    def test_sidecar_contains_the_pixel_type(
        self, tmp_path: Path, dtype: str, mode: str, counted: str, integrated: str
    ) -> None:
        values = sidecar_of(write_acquisition(tmp_path, frame_shape=FRAME, dtype=dtype))
        assert values["Image Processing - Mode"] == mode
        assert values["Autosave Counted Movie Pixel Format"] == counted
        assert values["Autosave Integrated Movie Pixel Format"] == integrated

    def test_sidecar_values_can_be_replaced_added_and_omitted(self, tmp_path: Path) -> None:
        changes = {"Scan - Repeats": "-1", "Note": "a = b", "Scan - Size X": None}
        values = sidecar_of(write_acquisition(tmp_path, frame_shape=FRAME, sidecar=changes))
        assert values["Scan - Repeats"] == "-1"
        assert values["Note"] == "a = b"
        assert "Scan - Size X" not in values


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
        values = sidecar_of(written)
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


class TestDemoFrames:
    SCAN, SIZE = (12, 16), (48, 64)

    def test_frame_of_the_demo_depends_only_on_its_index(self) -> None:
        first, second = demo_frames(self.SCAN, self.SIZE), demo_frames(self.SCAN, self.SIZE)
        forwards = [first(index) for index in range(8)]
        backwards = [second(index) for index in reversed(range(8))]
        np.testing.assert_array_equal(forwards, backwards[::-1])
        assert forwards[0].shape == self.SIZE
        assert forwards[0].dtype == "uint16"

    def test_corner_of_the_demo_field_is_vacuum_and_its_film_diffracts(self) -> None:
        frame, detectors = demo_frames(self.SCAN, self.SIZE), demo_detectors(self.SIZE)
        assert not np.any(detectors.bright & detectors.dark)
        vacuum, film = frame(self.SCAN[1] - 1), frame(self.SCAN[1] * (self.SCAN[0] - 1))
        assert vacuum[detectors.bright].sum() > film[detectors.bright].sum()
        assert vacuum[detectors.dark].sum() < film[detectors.dark].sum() / 10

    def test_deflection_shifts_the_whole_diffraction_pattern(self) -> None:
        undeflected = demo_frames(self.SCAN, self.SIZE, deflection=np.zeros((*self.SCAN, 2)))
        deflected = demo_frames(self.SCAN, self.SIZE, deflection=np.full((*self.SCAN, 2), (3, -2)))
        vacuum = self.SCAN[1] - 1
        # Disks move by whole pixels; the faint background does not move.
        disk = undeflected(vacuum).astype(int)
        shifted = np.roll(disk > 5, (3, -2), axis=(0, 1))
        np.testing.assert_array_equal(deflected(vacuum) > 5, shifted)

    def test_deflection_with_the_wrong_shape_is_an_error(self) -> None:
        with pytest.raises(ArgumentError, match=r"\(16, 12, 2\)") as raised:
            demo_frames(self.SCAN, self.SIZE, deflection=np.zeros((16, 12, 2)))
        assert raised.value.argument == "deflection"

    def test_beam_is_deflected_only_in_the_magnetic_film(self) -> None:
        shift = np.hypot(*np.moveaxis(magnetic_deflection((48, 48), pixels=0.6), -1, 0))
        assert not shift[:8, -8:].any()
        assert shift.max() == pytest.approx(0.6, abs=1e-3)
        # The magnetisation has no in-plane component in the core of a vortex.
        assert shift[31, 14] < 0.3


class TestCrystalFrames:
    SCAN, SIZE = (12, 16), (64, 48)

    def test_frame_of_a_crystal_depends_only_on_its_index(self) -> None:
        first, second = crystal_frames(self.SCAN, self.SIZE), crystal_frames(self.SCAN, self.SIZE)
        backwards = [second(index) for index in (100, 3)]
        np.testing.assert_array_equal(first(3), backwards[1])
        np.testing.assert_array_equal(first(100), backwards[0])
        assert first(3).dtype == np.uint16
        assert first(3).shape == self.SIZE

    def test_crystal_film_diffracts_and_its_hole_does_not(self) -> None:
        frame = crystal_frames(self.SCAN, self.SIZE)
        y, x = np.indices(self.SIZE)
        direct = np.hypot(y - self.SIZE[0] // 2, x - self.SIZE[1] // 2) < 0.08 * min(self.SIZE)
        hole, film = frame(15), frame(11 * 16)
        assert hole[~direct].sum() == 0
        assert film[~direct].sum() > 0
        assert hole[direct].sum() > film[direct].sum() > 0


class TestTiltSeries:
    """Records are checked without mrcdist: of FEI with mrcfile, of SerialEM as shorts."""

    ANGLES = np.array([-60.0, 0.5, 60.0])
    SHAPE = (48, 64)
    MICROSCOPE = Microscope(high_tension=200e3, pixel_size=0.8, dose=50.3, stage=(7.0, -8.0, 9.0))

    def write(self, folder: Path, kind: Any) -> Path:
        write_tilt_series(
            folder / "tilts.mrc",
            self.ANGLES,
            demo_tilts(self.SHAPE, self.ANGLES),
            shape=self.SHAPE,
            kind=kind,
            microscope=self.MICROSCOPE,
        )
        return folder / "tilts.mrc"

    @pytest.mark.parametrize(("kind", "dtype"), [("FEI2", "uint16"), ("SERI", "int16")])
    def test_mrcfile_reads_images_and_pixel_size_of_a_tilt_series(
        self, tmp_path: Path, kind: str, dtype: str
    ) -> None:
        image = demo_tilts(self.SHAPE, self.ANGLES)
        path = self.write(tmp_path, kind)
        assert mrcfile.validate(path, print_file=io.StringIO())
        with mrcfile.open(path) as file:
            assert file.data.dtype == dtype
            np.testing.assert_array_equal(file.data, [image(i) for i in range(3)])
            assert file.voxel_size.x == pytest.approx(8.0)
            assert file.is_image_stack()

    def test_fei_records_contain_the_parameters_of_the_microscope(self, tmp_path: Path) -> None:
        with mrcfile.open(self.write(tmp_path, "FEI2")) as file:
            records = file.indexed_extended_header
        assert records["Metadata size"].tolist() == [888] * 3
        assert records["Alpha tilt"].tolist() == self.ANGLES.tolist()
        first = records[0]
        assert first["HT"] == 200e3
        assert first["Dose"] == pytest.approx(50.3e20)
        assert first["Pixel size X"] == first["Pixel size Y"] == pytest.approx(0.8e-9)
        assert [first[f"{axis}-Stage"] for axis in "XYZ"] == pytest.approx([7e-6, -8e-6, 9e-6])
        assert first["STEM Detector name"] == b"HAADF"

    def test_serialem_records_contain_the_parameters_of_the_microscope(
        self, tmp_path: Path
    ) -> None:
        raw = self.write(tmp_path, "SERI").read_bytes()
        assert struct.unpack_from("<2h", raw, 128) == (14, 61)
        records = [struct.unpack_from("<7h", raw, 1024 + 14 * index) for index in range(3)]
        assert [record[0] for record in records] == [-6000, 50, 6000]
        assert {record[1:5] for record in records} == {(175, -200, 1150, 12500)}
        one, two = records[0][5:]
        dose = (256 * abs(one) + abs(two) % 256) * 2.0 ** math.copysign(abs(two) // 256, two)
        assert dose == pytest.approx(50.3, rel=1e-6)

    def test_tilt_image_with_wrong_shape_or_values_is_an_error(self, tmp_path: Path) -> None:
        for image in (np.zeros((4, 5)), np.full((5, 4), 40_000)):
            with pytest.raises(ArgumentError, match="frame 0 is") as raised:
                write_tilt_series(
                    tmp_path / "t.mrc", self.ANGLES, lambda _, i=image: i, shape=(5, 4), kind="SERI"
                )
            assert raised.value.argument == "image"

    def test_features_of_tilt_images_move_only_perpendicular_to_the_tilt_axis(self) -> None:
        image = demo_tilts((96, 96), self.ANGLES)
        left, middle, right = (image(index).astype(float) for index in range(3))
        # Sums of rows do not depend on the tilt, since nothing moves along the axis.
        rows = [part.sum(axis=1) - 96 * np.median(part[:, :3]) for part in (left, right)]
        assert np.corrcoef(*rows)[0, 1] > 0.99
        assert np.corrcoef(left.ravel(), right.ravel())[0, 1] < 0.9
        assert not np.array_equal(left, middle)


class TestPanels:
    @pytest.mark.parametrize(
        ("y", "x", "strongest", "weakest"),
        [(0, 1, "r", "gb"), (-1, 0, "g", "b"), (0, -1, "gb", "r"), (1, 0, "b", "g")],
    )
    def test_direction_determines_the_colour(
        self, y: int, x: int, strongest: str, weakest: str
    ) -> None:
        colour = dict(zip("rgb", direction_colours(np.array(y), np.array(x), 1.0), strict=True))
        assert {name for name in "rgb" if colour[name] == pytest.approx(1)} == set(strongest)
        assert {name for name in "rgb" if colour[name] == pytest.approx(0.1)} == set(weakest)

    def test_length_determines_the_brightness(self) -> None:
        lengths = np.array([0.0, 0.5, 1.0, 7.0])
        brightest = direction_colours(np.zeros(4), lengths, 1.0).max(axis=-1)
        np.testing.assert_allclose(brightest, [0, 0.5, 1, 1])

    def test_tasks_are_drawn_as_bars_in_the_row_of_their_worker(self) -> None:
        from matplotlib.figure import Figure

        def task(key: Any, worker: str, *parts: tuple[str, float, float]) -> dict[str, Any]:
            times = [{"action": a, "start": s, "stop": e} for a, s, e in parts]
            return {"key": key, "worker": worker, "thread": 1, "startstops": times}

        panel = Figure().subplots()
        seconds = draw_tasks(
            panel,
            [
                task(("read-mrc-1", 0), "a", ("compute", 10, 12)),
                task(("read-mrc-1", 1), "b", ("compute", 10.5, 11.5)),
                task(("sum-1", 0), "b", ("transfer", 12, 12.5), ("compute", 12.5, 13)),
                task("odd", "a", ("compute", 13, 13.25)),
            ],
            {"read": ("read", "blue"), "sum": ("sum", "green")},
        )
        assert seconds == {
            "read": 3.0, "sum": 0.5, "other tasks": 0.25, "transfer between workers": 0.5
        }  # fmt: skip
        bars = {(round(bar.get_y() + 0.4), bar.get_x(), bar.get_width()) for bar in panel.patches}
        assert bars == {
            (0, 0, 2), (1, 0.5, 1), (1, 2, 0.5), (1, 2.5, 0.5), (0, 3, 0.25)
        }  # fmt: skip
        assert [label.get_text() for label in panel.get_yticklabels()] == ["worker 1", "worker 2"]
