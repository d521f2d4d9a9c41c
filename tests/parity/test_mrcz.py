"""Signals that HyperSpy saves as .mrcz: this package gives what HyperSpy's own reader gives."""

from __future__ import annotations

import numpy as np
import pytest

import mrcdist
from tests.support.mrc_files import counting

hs = pytest.importorskip("hyperspy.api", reason="HyperSpy is not installed")

# HyperSpy announces what it will rename; that is between it and pyxem.
pytestmark = pytest.mark.filterwarnings("ignore::hyperspy.exceptions.VisibleDeprecationWarning")


def described(signal):
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
def test_round_trip(tmp_path, compressor, dtype, endianness):
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

    mine, own = hs.load(path, file_format=mrcdist), hs.load(path, endianness=endianness)
    np.testing.assert_array_equal(mine.data, own.data)
    assert mine.data.dtype == dtype
    assert described(mine) == described(own)
