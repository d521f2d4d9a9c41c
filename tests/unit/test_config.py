"""Settings in the configuration of dask."""

from __future__ import annotations

import math

import dask
import numpy as np
import pytest

from mrcdist import plan_mrc
from mrcdist.byte_size import parse_size
from mrcdist.config import read_settings
from mrcdist.errors import ArgumentError
from tests.support.mrc_files import mrc_bytes


def test_configured_gap_overrides_the_measured_one(memory_file):
    numbers = np.arange(8 * 64 * 64, dtype=np.uint16).reshape(8, 64, 64)
    plan = plan_mrc(memory_file(mrc_bytes(numbers)), chunks=(8, 16, -1))
    assert plan.explain().requests == 1
    for setting in ({"mrcdist.max-gap": 6143}, {"mrcdist.amplification": 3.9}):
        with dask.config.set(setting):
            assert plan.explain().requests == 8


@pytest.mark.parametrize(("key", "field"), [("max-gap", "max_gap"), ("sub-range", "sub_range")])
def test_settings_in_bytes_accept_sizes(key, field):
    with dask.config.set({f"mrcdist.{key}": "64 KiB"}):
        assert getattr(read_settings(), field) == 65536


@pytest.mark.parametrize("value", [-1, "some", "-1 MiB", None, 1.5, True])
def test_invalid_gaps_are_refused(value):
    with (
        dask.config.set({"mrcdist.max-gap": value}),
        pytest.raises(ArgumentError, match=r"mrcdist\.max-gap") as caught,
    ):
        read_settings()
    assert caught.value.argument == "mrcdist.max-gap"


@pytest.mark.parametrize("key", ["amplification", "deadline", "stall"])
def test_inf_from_an_environment_variable_means_no_limit(key):
    with dask.config.set({f"mrcdist.{key}": "inf"}):
        assert getattr(read_settings(), key) == math.inf


def test_invalid_setting_is_reported_when_a_url_is_opened():
    with (
        dask.config.set({"mrcdist.stall": "long"}),
        pytest.raises(ArgumentError, match=r"^dask configuration mrcdist\.stall = 'long'"),
    ):
        plan_mrc("http://127.0.0.1:9/a.mrc")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("8 MiB", 2**23), ("1.5kB", 1500), ("7", 7), ("-1 B", -1)),
        *(("", None), (" ", None), ("8 µB", None), ("some", None), ("1e999", None)),
    ],
)
def test_size_in_bytes_is_parsed(text, size):
    assert parse_size(text) == size
