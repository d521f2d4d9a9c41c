"""The notebook that needs zarr 3."""

from __future__ import annotations

import pytest

from notebooks.execute import HERE, NEEDS_ZARR3, execute, faults

pytest.importorskip("ome_zarr_models")


def test_zarr_notebook_runs_without_errors_or_warnings(tmp_path):
    assert faults(execute(HERE / f"{NEEDS_ZARR3}.ipynb", tmp_path)) == []
