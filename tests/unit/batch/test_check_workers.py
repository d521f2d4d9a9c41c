"""The check on a worker compares file versions in the same way as a read."""

from __future__ import annotations

import pickle
from pathlib import Path

import dask
import numpy as np
import pytest

import mrcdist
from mrcdist.batch.check_workers import probe_file
from tests.support.mrc_files import counting, mrc_bytes


@pytest.mark.parametrize(
    ("consistency", "frames", "changed"),
    [("strict", 6, True), ("size", 6, False), ("size", 7, True), ("off", 7, False)],
)
def test_version_is_checked_as_configured_for_reads(
    tmp_path: Path, consistency: str, frames: int, changed: bool
) -> None:
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc_bytes(counting((6, 4, 5), "uint16")))
    source = mrcdist.plan_mrc(path).source
    path.unlink()
    path.write_bytes(mrc_bytes(np.zeros((frames, 4, 5), "uint16")))
    payload = pickle.dumps((source, {"tcp://1": (slice(0, 6),)}))
    with dask.config.set({"mrcdist.consistency": consistency}):
        report = probe_file(payload, "tcp://1")
    assert ("problem" in report) == changed
    if changed:
        assert f"{path} on this worker is" in report["problem"]
        assert "another copy" in report["cause"]
        assert "make all workers see the same file" in report["remedy"]
    else:
        assert report["bytes_read"] == 6 * 4 * 5 * 2
