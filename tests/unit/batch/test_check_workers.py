"""The check of workers: file versions, and the report."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import ClassVar

import dask
import numpy as np
import pytest

import mrcdist
from mrcdist.batch.check_workers import CheckReport, WorkerReport, explanation, probe_file
from mrcdist.errors import MissingFileError
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
        assert report["code"] == "file-changed"
    else:
        assert report["bytes_read"] == 6 * 4 * 5 * 2


class TestCheckReport:
    VERSIONS: ClassVar = {"python": "3.11.7", "dask": "2026.8"}
    GOOD = WorkerReport(
        "tcp://1", "w-1", "node1", 7, 4, 2**33, VERSIONS, bytes_read=2**26, seconds=0.25
    )

    def report(self, *workers):
        return CheckReport("s3://b/k", "10 bytes, etag x", self.VERSIONS, workers)

    def test_report_on_workers_is_ok_if_all_can_read(self):
        report = self.report(self.GOOD)
        assert report.ok
        assert report.as_dict()["workers"][0]["bytes_per_second"] == 2**28
        row = str(report).splitlines()[5]
        assert row.split() == ["w-1", "node1", "4", "8.00", "GiB", "256.00", "MiB/s", "yes", "-"]
        assert "1 of 1 workers can read the file: 64.00 MiB each, in parallel" in str(report)

    def test_workers_with_the_same_problem_are_reported_together(self):
        error = MissingFileError("file not found", cause="no mount", remedy="mount it")
        bad = [WorkerReport(f"tcp://{n}", f"w-{n}", "b", **explanation(error)) for n in (2, 3)]
        report = self.report(self.GOOD, *bad)
        assert not report.ok
        assert [worker["ok"] for worker in report.as_dict()["workers"]] == [True, False, False]
        text = str(report)
        assert "1 of 3 workers" in text
        reason = "file not found\n  cause: no mount\n  remedy: mount it\n  code: file-missing"
        assert f"cannot: w-2, w-3\n  {reason}" in text

    def test_different_package_versions_are_reported_but_not_an_error(self):
        other = WorkerReport(
            "tcp://2", "w-2", "node2", versions={"python": "3.12.1"}, bytes_read=1, seconds=1
        )
        report = self.report(self.GOOD, other)
        assert report.ok
        assert report.differences(self.GOOD) == []
        assert report.differences(other) == ["python 3.12.1", "dask missing"]
        assert "python 3.12.1, dask missing" in str(report)

    def test_report_on_workers_is_not_ok_without_any(self):
        assert not self.report().ok
        json.dumps(self.report().as_dict())
