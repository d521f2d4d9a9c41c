"""`skip_frames`: scans with frames missing or extra at the start, or extra after each line."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import mrcdist
from mrcdist.cli import main
from mrcdist.testing.acquisition import write_acquisition
from tests.support.mrc_files import write_mrc

ROWS, COLUMNS, FRAME = 4, 5, (6, 8)
CALIBRATED = {
    "Specimen Pixel Size X (nanometers)": "2",
    "Specimen Pixel Size Y (nanometers)": "3",
}


def numbered_frames(n: int) -> np.ndarray:
    return np.arange(n, dtype="uint16")[:, None, None] * np.ones(FRAME, "uint16")


def acquisition(folder: Path, frames: int) -> Path:
    """Write a scan of 4 × 5 points, with `frames` frames that contain their number."""
    written = write_acquisition(
        folder,
        scan_shape=(1, frames),
        frame_shape=FRAME,
        frames=lambda number: numbered_frames(frames)[number],
        sidecar={**CALIBRATED, "Scan - Size X": str(COLUMNS), "Scan - Size Y": str(ROWS)},
    )
    return written.movie


def read(path: object, **options: object) -> dict:
    [dataset] = mrcdist.read_mrc(path, **options)
    return dataset


def numbers(dataset: dict) -> np.ndarray:
    return np.asarray(dataset["data"][..., 0, 0])


def test_frames_before_the_scan_are_skipped_and_the_scan_stays_calibrated(tmp_path):
    path = acquisition(tmp_path, 20 + 7)
    with pytest.raises(mrcdist.SidecarError, match="20 points, but the file has 27"):
        read(path)
    dataset = read(path, skip_frames=7)
    np.testing.assert_array_equal(numbers(dataset), np.arange(7, 27).reshape(ROWS, COLUMNS))
    axes = [(axis["name"], axis["scale"], axis["units"]) for axis in dataset["axes"][:2]]
    assert axes == [("y", 3.0, "nm"), ("x", 2.0, "nm")]


def test_flyback_frames_after_each_line_are_skipped(tmp_path):
    path = acquisition(tmp_path, 3 + ROWS * (COLUMNS + 2))
    expected = 3 + np.arange(ROWS * (COLUMNS + 2)).reshape(ROWS, -1)[:, :COLUMNS]
    np.testing.assert_array_equal(numbers(read(path, skip_frames=(3, 2))), expected)
    np.testing.assert_array_equal(
        numbers(read(path, skip_frames=(3, 2), navigation_shape=(COLUMNS, ROWS))), expected
    )


def test_points_before_the_first_frame_read_as_0_with_a_warning(tmp_path):
    path = acquisition(tmp_path, 20 - 3)
    with pytest.warns(mrcdist.MrcdistWarning, match="the first 3 points have no frame"):
        dataset = read(path, skip_frames=-3)
    expected = np.maximum(np.arange(20) - 3, 0).reshape(ROWS, COLUMNS)
    np.testing.assert_array_equal(numbers(dataset), expected)


def test_frames_after_the_scan_are_left_out_with_a_warning(tmp_path):
    path = acquisition(tmp_path, 20 + 4)
    with pytest.warns(mrcdist.MrcdistWarning, match="3 frames after the scan are left out"):
        dataset = read(path, skip_frames=1)
    np.testing.assert_array_equal(numbers(dataset), np.arange(1, 21).reshape(ROWS, COLUMNS))


def test_frames_missing_at_the_end_are_an_error_unless_allowed(tmp_path):
    path = acquisition(tmp_path, 20)
    with pytest.raises(mrcdist.SidecarError) as caught:
        read(path, skip_frames=2)
    assert caught.value.code == "scan-incomplete"
    with pytest.warns(mrcdist.MrcdistWarning, match="2 of 20 frames are missing"):
        dataset = read(path, skip_frames=2, allow_truncated=True)
    assert numbers(dataset).ravel().tolist() == [*range(2, 20), 0, 0]


def test_skip_frames_of_a_stack_drops_its_first_frames(tmp_path):
    path = write_mrc(tmp_path / "stack.mrc", numbered_frames(9))
    np.testing.assert_array_equal(read(path, skip_frames=4)["data"], numbered_frames(9)[4:])
    with pytest.raises(mrcdist.ArgumentError, match="no scan whose lines"):
        read(path, skip_frames=(0, 1))
    with pytest.raises(mrcdist.ArgumentError, match="needs a scan"):
        read(path, skip_frames=-1)
    with pytest.raises(mrcdist.ArgumentError, match="none of the 9 frames is left"):
        read(path, skip_frames=9)


@pytest.mark.filterwarnings("ignore::mrcdist.MrcdistWarning")
def test_frames_of_a_compressed_stream_are_skipped(tmp_path):
    plain = write_mrc(tmp_path / "stack.mrc", numbered_frames(23))
    compressed = tmp_path / "stack.mrc.gz"
    compressed.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
    for path in (plain, compressed):
        dataset = read(path, skip_frames=3, navigation_shape=(COLUMNS, ROWS))
        np.testing.assert_array_equal(numbers(dataset), np.arange(3, 23).reshape(ROWS, COLUMNS))


def test_command_line_accepts_one_or_two_numbers_of_frames_to_skip(tmp_path):
    path = acquisition(tmp_path, 3 + ROWS * (COLUMNS + 2))
    for value, status in (("3,2", 0), ("-3", 0), ("1,2,3", 2), ("x", 2)):
        result = CliRunner().invoke(main, ["info", str(path), f"--skip-frames={value}"])
        assert result.exit_code == status, result.output
