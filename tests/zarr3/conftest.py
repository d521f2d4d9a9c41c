"""Fixtures of the tests that need zarr 3 and xarray, in a separate environment."""

from __future__ import annotations

from typing import Any, NamedTuple

import dask
import numpy as np
import pytest

from mrcdist.testing.acquisition import write_acquisition
from tests.support.http_log import CountingProxy
from tests.support.mrc_files import mrc_bytes

# Frames of 32 KiB. Tests read frames 3 and 90: reading the 86 frames between them would take longer
# than a second request.
FRAMES = np.random.default_rng(0).integers(0, 2**16, (96, 128, 128), np.uint16)
FRAME_BYTES = 2**15


class Counted(NamedTuple):
    """A stack on S3, behind a proxy that counts requests."""

    url: str
    options: dict[str, Any]
    proxy: CountingProxy

    @property
    def ranges(self) -> list[int]:
        """Number of bytes of each request, all of which are GETs."""
        assert {exchange.method for exchange in self.proxy.requests} <= {"GET"}
        return [exchange.body_bytes for exchange in self.proxy.requests]


@pytest.fixture(scope="session")
def stack(moto):
    """A stack of 96 frames on S3."""
    with moto.bucket() as bucket, CountingProxy(moto) as proxy:
        url = bucket.put("stack.mrc", mrc_bytes(FRAMES, cell=(1280.0, 1280.0, 960.0), ispg=1))
        yield Counted(url, proxy.server.storage_options(), proxy)


@pytest.fixture(scope="session")
def acquisition(tmp_path_factory):
    """4D-STEM movie with two images: one with a pixel per scan point, one of another size."""
    return write_acquisition(
        tmp_path_factory.mktemp("acquisition"),
        scan_shape=(4, 8),
        frame_shape=(6, 10),
        virtual_images={"BF": np.arange(32, dtype="float32").reshape(4, 8)},
        external_images={"Survey": np.arange(15, dtype="int16").reshape(3, 5)},
    )


@pytest.fixture(autouse=True)
def _one_thread():
    """Make the counts independent of the number of concurrent tasks."""
    with dask.config.set(scheduler="synchronous"):
        yield
