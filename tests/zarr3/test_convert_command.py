"""`mrcdist convert` to Zarr on each kind of cluster, whose workers run all tasks."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from distributed import get_task_stream

from tests.support.cluster import dask_cluster
from tests.support.jobs import mrcdist_fails, mrcdist_json
from tests.support.mrc_files import counting, write_mrc
from tests.support.processes import ROOT

zarr = pytest.importorskip("zarr", minversion="3", reason="shards need zarr 3")

pytestmark = pytest.mark.filterwarnings("ignore::mrcdist.MrcdistWarning")

NUMBERS = counting((12, 64, 128), "uint16")


@pytest.fixture
def arguments(tmp_path):
    source = write_mrc(tmp_path / "in.mrc", NUMBERS)
    return ("convert", source, tmp_path / "a.zarr", "--chunks", "4,-1,-1", "--verify")


def check(report, target):
    assert (report["shape"], report["blocks"], report["verified"]) == ([12, 64, 128], 3, True)
    np.testing.assert_array_equal(zarr.open_array(target / "data", mode="r")[...], NUMBERS)
    assert json.loads((target / "zarr.json").read_text())["node_type"] == "group"


def test_convert_runs_on_local_processes(arguments):
    check(mrcdist_json(*arguments, "--workers", 1, "--threads", 2), arguments[2])


def test_convert_runs_on_an_existing_cluster(arguments, tmp_path):
    with (
        dask_cluster(tmp_path, workers=1, default=False) as client,
        get_task_stream(client) as tasks,
    ):
        check(mrcdist_json(*arguments, "--scheduler", client.scheduler.address), arguments[2])
    keys = [task["key"] for task in tasks.data if task["key"].startswith("write-zarr-")]
    assert len(keys) == 6  # three blocks, each written and verified


class TestJobs:
    """Jobs of a batch system that starts them as processes on this machine."""

    @pytest.fixture
    def settings(self, tmp_path, monkeypatch):
        pytest.importorskip("dask_jobqueue")
        path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))

        def write_settings(**changes):
            folder = {"local-directory": str(tmp_path / "scratch")}
            local = {"cores": 1, "memory": "1 GiB", "interface": "lo", **folder, **changes}
            file = tmp_path / "jobs.yaml"
            file.write_text(json.dumps({"jobqueue": {"local": local}, "jobs": {"maximum": 1}}))
            return file

        return write_settings

    def test_batch_jobs_convert_and_stop(self, arguments, settings, tmp_path):
        check(mrcdist_json(*arguments, "--jobqueue", settings()), arguments[2])
        assert (tmp_path / "scratch").exists()  # created by the worker in the job

    def test_rejected_batch_jobs_are_an_error(self, arguments, settings, tmp_path):
        job = settings(**{"worker-extra-args": ["--no-such-option"]})
        stderr = mrcdist_fails(*arguments, "--jobqueue", job)
        assert "local refused the job of a worker" in stderr
        assert "No such option" in stderr
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mrc", "jobs.yaml"]
