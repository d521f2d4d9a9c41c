"""Results of `reduce_frames` as DataArrays of xarray."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mrcdist import CenterOfMass, MeanPattern, reduce_frames
from mrcdist.testing.acquisition import write_acquisition


def test_results_are_converted_to_data_arrays_with_calibrated_coordinates(tmp_path: Path) -> None:
    movie = write_acquisition(tmp_path, scan_shape=(4, 8), frame_shape=(8, 16)).movie
    found = reduce_frames(movie, {"com": CenterOfMass(), "mean": MeanPattern()}, progress=False)
    centres, mean = found["com"].to_xarray(), found["mean"].to_xarray()
    assert centres.dims == ("component", "y", "x")
    assert list(centres.component.values) == ["y", "x"]
    assert centres.attrs["units"] == "nm^-1, nm^-1"
    assert mean.dims == ("ky", "kx")
    assert mean.coords["kx"].attrs["units"] == "nm^-1"
    np.testing.assert_allclose(mean.coords["kx"], 0.08 * np.arange(16))
    np.testing.assert_array_equal(mean, found["mean"])
