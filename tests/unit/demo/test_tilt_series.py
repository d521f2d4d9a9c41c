"""Synthetic tilt series with the extended headers of FEI and SerialEM."""

from __future__ import annotations

import io
import math
import struct
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest

from demo.tilt_series import Microscope, write_tilt_series
from demo.tilt_specimen import demo_tilts
from mrcdist.errors import ArgumentError


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
