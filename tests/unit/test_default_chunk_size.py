"""The default chunk size without a cluster."""

from __future__ import annotations

import dask
import pytest

from mrcdist.default_chunk_size import default_chunk_size
from mrcdist.errors import ArgumentError
from mrcdist.read_limits import DEFAULT_LIMITS


def test_default_chunk_size_is_that_of_dask():
    with dask.config.set({"array.chunk-size": "16 KiB"}):
        assert default_chunk_size(2, DEFAULT_LIMITS) == 2**14


@pytest.mark.parametrize("size", ["many", "0 B", None])
def test_invalid_chunk_size_in_the_configuration_of_dask_is_refused(size):
    with (
        dask.config.set({"array.chunk-size": size}),
        pytest.raises(ArgumentError, match=r"array\.chunk-size") as caught,
    ):
        default_chunk_size(2, DEFAULT_LIMITS)
    assert caught.value.code == "setting-invalid"
