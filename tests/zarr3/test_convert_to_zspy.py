""".zspy files written with zarr 3 equal those of zarr 2, and HyperSpy opens them with zarr 2."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from mrcdist import convert, read_mrc
from run import VENV, python_of
from tests.unit.interop.test_zarr_writer import (  # noqa: F401  the same, with zarr 3
    movie,
    stored_in,
    test_every_dtype_is_written_unchanged_to_zspy,
    test_existing_signal_is_replaced_only_with_overwrite,
    test_stored_bytes_depend_only_on_the_input,
)

SCRIPT = """
import sys, warnings
import hyperspy.api as hs, numpy as np
warnings.simplefilter("ignore")
signal = hs.load(sys.argv[1], lazy=True)
np.save(sys.argv[2], signal.data.compute())
print([(axis.name, axis.scale, axis.units) for axis in signal.axes_manager._axes])
"""


def test_hyperspy_with_zarr_2_opens_zspy_written_with_zarr_3(acquisition, tmp_path):
    python = str(python_of(VENV))
    probe = [python, "-c", "import hyperspy"]
    if not python_of(VENV).exists() or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip(f"needs HyperSpy in {VENV.name}")
    convert(acquisition.movie, tmp_path / "a.zspy", verify=True)
    command = [python, "-c", SCRIPT, str(tmp_path / "a.zspy"), str(tmp_path / "a.npy")]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    [ds] = read_mrc(acquisition.movie, lazy=False)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), ds["data"])
    axes = [(axis["name"], axis["scale"], axis["units"]) for axis in ds["axes"]]
    assert process.stdout.strip() == str(axes)
