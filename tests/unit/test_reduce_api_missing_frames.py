"""Missing frames are left out of every kind of result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcdist.errors import ArgumentError, MrcdistWarning
from mrcdist.reduce_api import (
    CenterOfMass,
    FrameReduction,
    MaximumPattern,
    MeanPattern,
    RadialProfile,
    StandardDeviation,
    VirtualImage,
    reduce_frames,
)
from mrcdist.testing.acquisition import write_acquisition
from tests.support.mrc_files import mrc_bytes

FRAMES = np.random.default_rng(5).integers(1, 9, (50, 128, 128), np.uint8).astype("int16")


@pytest.fixture(scope="module")
def few_frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Only 50 frames of a 32 × 32 scan: one tile has some of them, most have none."""
    path = tmp_path_factory.mktemp("few") / "few.mrc"
    path.write_bytes(mrc_bytes(FRAMES))
    return path


def test_tiles_without_frames_are_skipped(few_frames: Path) -> None:
    results = {
        "mean": MeanPattern(),
        "std": StandardDeviation(),
        "max": MaximumPattern(),
        "all": VirtualImage(),
        "com": CenterOfMass(),
        "radial": RadialProfile(),
    }
    with pytest.warns(MrcdistWarning):
        found = reduce_frames(
            few_frames, results, navigation_shape=(32, 32), allow_truncated=True, progress=False
        )
    np.testing.assert_array_equal(found["mean"], FRAMES.mean(axis=0))
    np.testing.assert_allclose(found["std"], FRAMES.std(axis=0))
    np.testing.assert_array_equal(found["max"], FRAMES.max(axis=0))
    sums = found["all"].values.ravel()
    np.testing.assert_array_equal(sums[:50], FRAMES.sum(axis=(1, 2)))
    assert not sums[50:].any()
    undefined = np.isnan(found["com"].values.reshape(2, -1)).all(axis=0)
    assert np.flatnonzero(~undefined).tolist() == list(range(50))
    assert not found["radial"].values.reshape(32 * 32, -1)[50:, 1:].any()  # ring 0 has no pixel


def test_functions_are_not_called_with_missing_frames(few_frames: Path) -> None:
    with pytest.warns(MrcdistWarning):
        found = reduce_frames(
            few_frames,
            {"small": lambda frames: (frames < 3).sum(axis=(1, 2))},
            navigation_shape=(32, 32),
            allow_truncated=True,
            progress=False,
        )
    values = found["small"].values.ravel()
    np.testing.assert_array_equal(values[:50], (FRAMES < 3).sum(axis=(1, 2)))
    assert not values[50:].any()


def test_bright_disk_is_located_in_a_sparse_scan(tmp_path: Path) -> None:
    y, x = np.indices((24, 32))
    pattern = np.where((y - 11) ** 2 + (x - 15) ** 2 <= 16, 900, 3).astype("uint16")
    points = np.array([(1, 0), (5, 2), (2, 7)])  # x, y
    movie = write_acquisition(
        tmp_path,
        scan_shape=(8, 8),
        frame_shape=(24, 32),
        frames=lambda number: pattern,
        custom_points=points,
    ).movie
    with pytest.warns(MrcdistWarning):
        found = reduce_frames(movie, {"bf": VirtualImage("bf")}, progress=False)
    assert np.argwhere(found["bf"].values.T).tolist() == sorted(points.tolist())
    assert found["bf"].values.max() >= 900 * 45  # the disk without its corners


@pytest.mark.filterwarnings("ignore::mrcdist.errors.MrcdistWarning")
@pytest.mark.parametrize(
    "quantity",
    [
        MeanPattern(),
        StandardDeviation(),
        FrameReduction(lambda frames: frames.sum(axis=0), np.add),
        VirtualImage("bf"),
    ],
    ids=["mean", "std", "function", "bright field"],
)
def test_results_of_no_frames_are_errors(few_frames: Path, quantity: Any) -> None:
    with pytest.raises(ArgumentError, match="no frames to reduce") as caught:
        reduce_frames(
            few_frames,
            {"result": quantity},
            navigation_shape=(32, 32),
            frames=slice(900, 1000),
            allow_truncated=True,
            progress=False,
        )
    assert (caught.value.code, caught.value.argument) == ("data-not-reducible", "data")
