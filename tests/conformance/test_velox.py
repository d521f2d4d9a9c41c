"""Velox 4D-STEM: a plain stack whose FEI2 records describe the scan.

The scan is used only if its points match the number of sections.
"""

from __future__ import annotations

import logging
import struct

import numpy as np
import pytest

from mrcdist import MrcdistWarning, read_mrc
from tests.support.acquisitions import axis_names, url_of
from tests.support.mrc_files import counting, mrc_bytes

# Fields of an FEI2 record in the EPU manual: offset, struct format, offset of the mask, its bit.
FIELDS = {
    "volts": (84, "d", 8, 5),
    "alpha": (100, "d", 8, 7),
    "beta": (108, "d", 8, 8),
    "pixel_x": (156, "d", 8, 14),
    "pixel_y": (164, "d", 8, 15),
    "mode": (244, "i", 8, 25),
    "magnification": (289, "d", 8, 31),
    "camera_length": (301, "d", 297, 0),
    "convergence": (329, "d", 297, 4),
    "dwell": (571, "d", 490, 15),
    "left": (587, "i", 490, 17),
    "top": (591, "i", 490, 18),
    "right": (595, "i", 490, 19),
    "bottom": (599, "i", 490, 20),
    "width": (603, "d", 490, 21),
    "height": (611, "d", 490, 22),
    "scan_mode": (792, "i", 748, 5),
}
# A scan of 3 × 4 points, 2 nm apart in y and 1.5 nm in x.
SCAN = {"top": 5, "bottom": 8, "left": 10, "right": 14, "height": 6e-9, "width": 6e-9}
FRAMES = counting((12, 5, 7), "uint16")


def record(**values):
    raw = bytearray(888)
    struct.pack_into("<ii", raw, 0, 888, 2)
    masks = dict.fromkeys((8, 297, 490, 748), 0)
    for name, value in values.items():
        at, kind, mask, bit = FIELDS[name]
        struct.pack_into("<" + kind, raw, at, value)
        masks[mask] |= 1 << bit
    for at, mask in masks.items():
        struct.pack_into("<I", raw, at, mask)
    return bytes(raw)


def read(folder, store, frames=FRAMES, records=None, **options):
    movie = folder / "velox.mrc"
    records = [record(**SCAN)] * len(frames) if records is None else records
    movie.write_bytes(mrc_bytes(frames, extended=b"".join(records), exttyp=b"FEI2"))
    [dataset] = read_mrc(url_of(movie, store), **options)
    return dataset


def calibration(dataset):
    return [(axis["name"], axis["scale"], axis["units"]) for axis in dataset["axes"]]


class TestShape:
    @pytest.mark.parametrize("chunks", ["auto", (2, 3, 2, -1)])
    def test_scan_that_matches_the_sections_sets_the_shape(self, tmp_path, store, chunks):
        dataset = read(tmp_path, store, chunks=chunks)
        assert axis_names(dataset) == ["y", "x", "ky", "kx"]
        np.testing.assert_array_equal(dataset["data"].compute(), FRAMES.reshape(3, 4, 5, 7))

    @pytest.mark.parametrize(
        ("frames", "records"),
        [
            (FRAMES[:11], [record(**SCAN)] * 11),
            (FRAMES, [record(**SCAN, scan_mode=2)] * 12),  # serpentine: its order is not documented
        ],
        ids=["another number of frames", "serpentine"],
    )
    def test_stack_stays_3d_with_a_log_message_if_the_scan_does_not_match(
        self, tmp_path, store, frames, records, caplog
    ):
        with caplog.at_level(logging.INFO, logger="mrcdist"):
            dataset = read(tmp_path, store, frames, records)
        assert dataset["data"].shape == frames.shape
        axis_names(dataset)
        np.testing.assert_array_equal(dataset["data"].compute(), frames)
        [logged] = [message for message in caplog.messages if "scan" in message]
        assert "navigation_shape" in logged

    def test_navigation_shape_overrides_the_scan_without_a_log_message(
        self, tmp_path, store, caplog
    ):
        with caplog.at_level(logging.INFO, logger="mrcdist"):
            dataset = read(tmp_path, store, navigation_shape=(6, 2))
        np.testing.assert_array_equal(dataset["data"].compute(), FRAMES.reshape(2, 6, 5, 7))
        assert axis_names(dataset)[2:] == ["ky", "kx"]
        assert not caplog.messages

    def test_missing_frames_of_a_truncated_scan_read_as_0(self, tmp_path, store):
        movie = tmp_path / "velox.mrc"
        raw = mrc_bytes(FRAMES, extended=record(**SCAN) * 12, exttyp=b"FEI2")
        movie.write_bytes(raw[: -3 * FRAMES[0].nbytes])
        with pytest.warns(MrcdistWarning) as caught:
            [dataset] = read_mrc(url_of(movie, store), allow_truncated=True)
        assert any("3 of 12 frames are missing" in str(warning.message) for warning in caught)
        assert axis_names(dataset) == ["y", "x", "ky", "kx"]
        expected = FRAMES.copy()
        expected[9:] = 0
        np.testing.assert_array_equal(dataset["data"].compute(), expected.reshape(3, 4, 5, 7))

    def test_stack_stays_3d_if_the_records_have_no_scan(self, tmp_path, store):
        dataset = read(tmp_path, store, records=[record(volts=200e3)] * 12)
        assert dataset["data"].shape == FRAMES.shape


class TestCalibration:
    def test_scan_step_is_the_field_of_view_divided_by_the_points(self, tmp_path, store):
        assert calibration(read(tmp_path, store)) == [
            ("y", pytest.approx(2.0), "nm"),
            ("x", pytest.approx(1.5), "nm"),
            ("ky", 1.0, None),
            ("kx", 1.0, None),
        ]

    def test_navigation_shape_equal_to_the_scan_keeps_the_calibration(self, tmp_path, store):
        scan_axes = read(tmp_path, store)["axes"]
        assert read(tmp_path, store, navigation_shape=(4, 3))["axes"] == scan_axes
        other = calibration(read(tmp_path, store, navigation_shape=(6, 2)))
        assert other[:2] == [("scan_y", 1.0, None), ("scan_x", 1.0, None)]

    def test_scan_step_is_not_used_as_pixel_size_of_the_camera(self, tmp_path, store):
        """Velox states the step as pixel size, which is wrong for patterns even without a scan."""
        step = {"pixel_y": 2e-9, "pixel_x": 1.5e-9}
        for fov in (SCAN, {key: SCAN[key] for key in ("top", "bottom", "left", "right")}):
            dataset = read(tmp_path, store, FRAMES[:11], [record(**fov, **step)] * 11)
            assert [axis["units"] for axis in dataset["axes"]] == [None, None, None]

    def test_scan_step_is_the_pixel_size_of_scanned_images(self, tmp_path, store):
        frames = counting((5, 3, 4), "uint16")
        step = {"pixel_y": 2e-9, "pixel_x": 1.5e-9}
        dataset = read(tmp_path, store, frames, [record(**SCAN, **step)] * 5)
        assert calibration(dataset)[1:] == [
            ("y", pytest.approx(2.0), "nm"),
            ("x", pytest.approx(1.5), "nm"),
        ]

    def test_pixel_size_of_images_without_a_scan_is_in_nm(self, tmp_path, store):
        records = [record(pixel_y=3e-9, pixel_x=2e-9)] * 12
        assert calibration(read(tmp_path, store, records=records))[1:] == [
            ("y", pytest.approx(3.0), "nm"),
            ("x", pytest.approx(2.0), "nm"),
        ]

    def test_microscope_settings_are_read_into_the_metadata(self, tmp_path, store):
        stored = {
            "volts": 300e3,
            "camera_length": 0.115,
            "magnification": 12500.0,
            "dwell": 2e-3,
            "convergence": 0.0213,
            "mode": 2,
            "alpha": 1.5,
            "beta": -2.5,
        }
        dataset = read(tmp_path, store, records=[record(**SCAN, **stored)] * 12)
        tem = dataset["metadata"]["Acquisition_instrument"]["TEM"]
        assert tem.pop("Stage") == pytest.approx({"tilt_alpha": 1.5, "tilt_beta": -2.5})
        assert tem.pop("acquisition_mode") == "STEM"
        assert tem == pytest.approx(
            {
                "beam_energy": 300.0,
                "camera_length": 115.0,
                "magnification": 12500.0,
                "dwell_time": 2e-3,
                "convergence_angle": 21.3,
            }
        )

    def test_image_of_a_real_microscope_is_read_and_calibrated(self, real_data):
        [dataset] = read_mrc(real_data / "HAADFscan.mrc")
        assert axis_names(dataset) == ["y", "x"]
        raw = (real_data / "HAADFscan.mrc").read_bytes()
        np.testing.assert_array_equal(
            dataset["data"].compute(), np.frombuffer(raw[-512:], "<u2").reshape(16, 16)
        )
        for axis in dataset["axes"]:
            assert axis["scale"] == pytest.approx(5.67913129)
            assert axis["units"] == "nm"
