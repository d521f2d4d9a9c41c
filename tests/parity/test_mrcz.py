"""Signals saved by HyperSpy as .mrcz are loaded by mrcdist as by HyperSpy's own reader."""

from __future__ import annotations

import numpy as np
import pytest

import mrcdist
from tests.support.mrc_files import counting

hs = pytest.importorskip("hyperspy.api", reason="HyperSpy is not installed")

# HyperSpy warns about names that it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::hyperspy.exceptions.VisibleDeprecationWarning")


def summary(signal):
    axes = [
        (axis.name, axis.size, pytest.approx(float(axis.scale)), str(axis.units), axis.navigate)
        for axis in signal.axes_manager._axes
    ]
    tree = signal.metadata
    names = ("General.title", "Signal.signal_type", "Acquisition_instrument.TEM.microscope")
    numbers = (
        "Acquisition_instrument.TEM.beam_energy",
        "Signal.Noise_properties.Variance_linear_model.gain_factor",
    )
    return axes, [tree.get_item(name) for name in names], [tree.get_item(name) for name in numbers]


@pytest.mark.parametrize("compressor", [None, "zstd", "lz4"])
@pytest.mark.parametrize("dtype", ["uint16", "float32", "complex64"])
@pytest.mark.parametrize("endianness", "<>")
def test_mrcz_file_saved_by_hyperspy_is_loaded_as_by_its_own_reader(
    tmp_path, compressor, dtype, endianness
):
    signal = hs.signals.Signal2D(counting((3, 6, 8), dtype))
    for axis, (name, scale) in zip(
        signal.axes_manager._axes, (("z", 2.0), ("y", 0.5), ("x", 0.25)), strict=True
    ):
        axis.name, axis.scale, axis.units = name, scale, "nm"
    signal.metadata.set_item("Acquisition_instrument.TEM.beam_energy", 300.0)
    signal.metadata.set_item("Acquisition_instrument.TEM.microscope", "Titan")
    signal.metadata.General.title = "specimen"
    path = tmp_path / "s.mrcz"
    signal.save(path, compressor=compressor, endianness=endianness)

    ours, theirs = hs.load(path, file_format=mrcdist), hs.load(path, endianness=endianness)
    np.testing.assert_array_equal(ours.data, theirs.data)
    assert ours.data.dtype == dtype
    assert summary(ours) == summary(theirs)
