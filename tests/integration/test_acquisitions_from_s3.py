"""Acquisitions of every shape, read from S3 by a cluster of processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcdist
from mrcdist.testing.acquisition import write_acquisition
from mrcdist.testing.movie import frame_index
from tests.support.s3 import Bucket

POINTS = np.array([[3, 0], [0, 2], [1, 1], [3, 2], [2, 0], [0, 0], [2, 1]])


def frame_numbers(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the frame number at each point of the grid, -1 for points without a frame."""
    frames = np.full(shape, -1)
    frames[points[:, 1], points[:, 0]] = np.arange(len(points))
    return frames


@pytest.mark.parametrize(
    ("acquisition", "options", "frames"),
    [
        (
            {"scan_shape": (3, 4), "repeats": 2, "point_repeats": 3},
            {},
            np.arange(72).reshape(2, 3, 4, 3),
        ),
        ({"scan_shape": (6, 8), "roi": (3, 5)}, {}, np.arange(15).reshape(3, 5)),
        ({"scan_shape": (3, 4), "custom_points": POINTS}, {}, frame_numbers(POINTS, (3, 4))),
        (
            {"scan_shape": (3, 4), "present": 7},
            {"allow_truncated": True},
            np.append(np.arange(7), [-1] * 5).reshape(3, 4),
        ),
        ({"scan_shape": (6, 4), "parts": 3}, {}, np.arange(24).reshape(6, 4)),
    ],
    ids=["repeats", "roi", "custom", "partial", "parts"],
)
@pytest.mark.filterwarnings("ignore:.*missing.*:mrcdist.MrcdistWarning")
def test_workers_read_every_frame_to_its_scan_position(
    cluster: Any,
    s3_bucket: Bucket,
    tmp_path: Path,
    acquisition: dict[str, Any],
    options: dict[str, Any],
    frames: np.ndarray,
) -> None:
    written = write_acquisition(tmp_path, frame_shape=(8, 16), **acquisition)
    for path in written.files:
        s3_bucket.put(f"scan/{path.name}", path.read_bytes())
    [ds] = mrcdist.read_mrc(
        s3_bucket.url(f"scan/{written.movies[0].name}"),
        chunks=(*(2 for _ in frames.shape), 5, -1),
        storage_options=s3_bucket.storage_options(),
        **options,
    )
    assert ds["data"].shape == (*frames.shape, 8, 16)
    assert [axis["size"] for axis in ds["axes"]] == [*frames.shape, 8, 16]
    data = ds["data"].compute()
    for index, frame in np.ndenumerate(frames):
        if frame < 0:
            assert not data[index].any()
        else:
            assert frame_index(data[index]) == frame
