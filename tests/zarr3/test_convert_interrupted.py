"""Resuming `convert` after it was killed, in a bucket and between the levels of OME-Zarr."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from mrcdist import ArgumentError, convert, plan_mrc
from tests.support.mrc_files import mrc_bytes, write_mrc
from tests.support.processes import ROOT
from tests.zarr3.test_convert_to_zarr import files_in, keys_in

zarr = pytest.importorskip("zarr", minversion="3", reason="shards need zarr 3")

pytestmark = pytest.mark.filterwarnings("ignore::mrcdist.MrcdistWarning")

SCRIPT = """
import json, os, signal, sys
import dask, mrcdist
from dask.callbacks import Callback

url, target, chunks, options, blocks = map(json.loads, sys.argv[1:])
written = []

def count(key, *_):
    written.extend([key] * str(key).startswith("write-zarr-"))
    if len(written) == blocks:
        os.kill(os.getpid(), signal.SIGKILL)

with dask.config.set(scheduler="synchronous"), Callback(posttask=count):
    plan = mrcdist.plan_mrc(url, chunks=chunks, storage_options=options)
    mrcdist.convert(plan, target, storage_options=options, resume=True)
"""


def kill_after(blocks, url, target, chunks, options=None):
    """Convert in another process, which kills itself after a number of blocks."""
    arguments = map(json.dumps, (url, target, chunks, options, blocks))
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert process.returncode == -signal.SIGKILL


def test_killed_conversion_to_a_bucket_is_resumed(moto):
    numbers = np.random.default_rng(0).integers(0, 1000, (12, 64, 128), "uint16")
    options, chunks = moto.storage_options(), (4, -1, -1)
    with moto.bucket() as bucket:
        url, target = bucket.put("in.mrc", mrc_bytes(numbers)), bucket.url("out.zarr")
        plan = plan_mrc(url, chunks=chunks, storage_options=options)
        kill_after(1, url, target, chunks, options)
        with pytest.raises(FileNotFoundError):
            zarr.open_group(target, mode="r", storage_options=options)
        with pytest.raises(ArgumentError, match="an earlier call was interrupted"):
            convert(plan, target, storage_options=options)
        report = convert(plan, target, storage_options=options, resume=True, verify=True)
        assert (report.blocks_kept, report.blocks) == (1, 3)
        found = zarr.open_group(target, mode="r", storage_options=options)["data"]
        np.testing.assert_array_equal(found[...], numbers)
        assert not [key for key in keys_in(bucket) if "mrcdist-write" in key]


def test_conversion_killed_in_the_second_ome_zarr_level_is_resumed(tmp_path):
    numbers = np.random.default_rng(0).integers(0, 1000, (64, 300, 280), "uint16")
    path = write_mrc(tmp_path / "in.mrc", numbers, cell=(2800.0, 3000.0, 640.0), ispg=1)
    plan = plan_mrc(path, chunks="2 MiB")
    once, target = tmp_path / "b.ome.zarr", tmp_path / "a.ome.zarr"
    whole = convert(plan, once)
    expected = {name: (once / name).read_bytes() for name in files_in(once)}
    first = sum(name.startswith("0/c/") for name in expected)
    kill_after(first + 1, str(path), str(target), "2 MiB")
    assert not target.exists()
    report = convert(plan, target, resume=True, verify=True)
    assert first < report.blocks == whole.blocks
    assert report.blocks_kept == first + 1
    assert {name: (target / name).read_bytes() for name in files_in(target)} == expected
