"""`zarr_store` if zarr 3 is not installed, as in an environment with HyperSpy."""

from __future__ import annotations

import pytest

from mrcdist import MissingExtraError, zarr_store
from tests.support.mrc_files import counting, write_mrc


def test_zarr_store_requires_zarr_3(tmp_path):
    zarr = pytest.importorskip("zarr")
    if int(zarr.__version__.partition(".")[0]) >= 3:
        pytest.skip("zarr 3 is installed")
    path = write_mrc(tmp_path / "a.mrc", counting((3, 4, 5), "int16"))
    with pytest.raises(MissingExtraError, match=r"zarr 2.*: zarr_store needs version 3"):
        zarr_store(path)
