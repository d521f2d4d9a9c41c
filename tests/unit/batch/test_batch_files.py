"""What the batch program reads and writes on the client: settings, pictures, reports."""

from __future__ import annotations

import importlib.util
import json
import signal
import sys
from typing import ClassVar

import numpy as np
import pytest
from click.testing import CliRunner

from mrcdist.batch.check_workers import CheckReport, WorkerReport
from mrcdist.batch.clusters import Cluster, ClusterOptions
from mrcdist.batch.jobqueue import JobQueue, parse_job_queue, start_jobs
from mrcdist.batch.output import deflection
from mrcdist.cli import main
from mrcdist.errors import ArgumentError, MrcdistError
from mrcdist.plotting import symmetric_limits


class TestPicture:
    def test_positions_are_shown_by_their_distance_from_the_median_to_either_side(self):
        image = np.array([7.0, 7, 7, 9, 4, np.nan])
        shown, middle = deflection(image)
        assert middle == 7
        np.testing.assert_array_equal(shown, image - 7)
        low, high = symmetric_limits(shown)
        assert low == -high
        assert 2 < high <= 3

    @pytest.mark.parametrize("image", [np.zeros(4), np.full(4, np.nan)])
    def test_no_deflection_at_all_has_a_range_too(self, image):
        assert symmetric_limits(deflection(image)[0]) == (-1, 1)


QUEUES = """
jobqueue:
  slurm: {cores: 16, memory: 64 GiB, job-extra-directives: [--exclusive], name: dask}
  pbs: {cores: 8}
"""


class TestJobQueue:
    @pytest.mark.parametrize(("command", "system"), [("sbatch", "slurm"), ("qsub", "pbs")])
    def test_the_installed_batch_system_is_taken(self, command, system):
        queue = parse_job_queue(QUEUES, installed=command.__eq__)
        assert (queue.system, queue.minimum, queue.maximum) == (system, 0, 10)

    def test_settings_become_arguments(self):
        queue = parse_job_queue(
            QUEUES + "system: slurm\njobs: {minimum: 2, maximum: 40}", installed=lambda _: False
        )
        assert queue.settings == {
            "cores": 16,
            "memory": "64 GiB",
            "job_extra_directives": ["--exclusive"],
            "job_name": "dask",
        }
        assert (queue.minimum, queue.maximum) == (2, 40)

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("a: [", "not valid YAML"),
            ("- 1", "no section jobqueue"),
            ("jobqueue: {slrum: {}}", "unknown batch system 'slrum'"),
            (QUEUES + "job: {}", "unknown section 'job'"),
            (QUEUES + "system: lsf", "system: lsf"),
            (QUEUES + "jobs: {minimum: 5, maximum: 4}", "jobs:"),
            (QUEUES + "jobs: {maximum: many}", "jobs:"),
            (QUEUES + "jobs: 7", "jobs: 7"),
            (QUEUES + "jobs: {max: 7}", "jobs:"),
            (QUEUES, "no batch system of slurm, pbs is here"),
            ("jobqueue: {slurm: 3}\nsystem: slurm", "system: slurm"),
        ],
    )
    def test_a_wrong_setting_is_named(self, text, problem):
        with pytest.raises(ArgumentError, match=problem):
            parse_job_queue(text, installed=lambda _: False)


def test_ctrl_c_is_left_as_it_is(monkeypatch):
    """dask-jobqueue sets a handler of its own when it is imported."""
    if importlib.util.find_spec("dask_jobqueue") is None:
        pytest.skip("dask-jobqueue is not installed")
    for name in [name for name in sys.modules if name.partition(".")[0] == "dask_jobqueue"]:
        monkeypatch.delitem(sys.modules, name)
    before = signal.getsignal(signal.SIGINT)
    with (
        pytest.raises(ArgumentError, match=r"jobqueue\.slurm"),
        start_jobs(JobQueue("slurm", {"cores": 1}, 0, 1)),
    ):
        pass
    assert "dask_jobqueue" in sys.modules
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    "given",
    [
        {"scheduler": "tcp://a:1", "scheduler_file": "f"},
        {"jobqueue": "f", "workers": 2},
        {"scheduler": "tcp://a:1", "memory_limit": "1 GiB"},
        {"workers": 0},
        {"threads": -1},
        {"memory_limit": "much"},
    ],
)
def test_a_job_runs_in_one_place(given):
    name = next(iter(given))
    with pytest.raises(ArgumentError, match=f"^{name}") as refused:
        ClusterOptions(**given)
    assert refused.value.argument == name


class TestCluster:
    class Client:
        def __init__(self, workers):
            self.workers = workers

        def nthreads(self):
            return self.workers

    def test_a_job_without_workers_says_that_it_waits(self):
        said = []
        Cluster(self.Client({"tcp://1": 1}), said.append, interval=0).check()
        assert said == []
        Cluster(self.Client({}), said.append, interval=0).check()
        assert said == ["there are no workers: tasks wait for some to come"]

    def test_a_job_without_workers_says_so_now_and_then(self):
        said = []
        cluster = Cluster(self.Client({}), said.append, interval=600)
        for _ in range(9):
            cluster.check()
        assert said == []

    def test_workers_that_cannot_come_end_the_wait(self):
        failures = []
        cluster = Cluster(self.Client({}), print, failures)
        cluster.check()
        failures.append(MrcdistError("refused"))
        with pytest.raises(MrcdistError, match="refused"):
            cluster.check()


class TestCheckReport:
    VERSIONS: ClassVar = {"python": "3.11.7", "dask": "2026.8"}
    GOOD = WorkerReport(
        "tcp://1", "w-1", "node1", 7, 4, 2**33, VERSIONS, bytes_read=2**26, seconds=0.25
    )

    def report(self, *workers):
        return CheckReport("s3://b/k", "10 bytes, etag x", self.VERSIONS, workers)

    def test_a_report_of_good_workers_is_ok(self):
        report = self.report(self.GOOD)
        assert report.ok
        assert report.as_dict()["workers"][0]["bytes_per_second"] == 2**28
        row = str(report).splitlines()[5]
        assert row.split() == ["w-1", "node1", "4", "8.00", "GiB", "256.00", "MiB/s", "yes", "-"]
        assert "1 of 1 workers can read the file: 64.00 MiB each, all at once" in str(report)

    def test_workers_that_cannot_read_are_reported_with_the_reason(self):
        problem = {"problem": "it is not there", "cause": "no mount", "remedy": "mount it"}
        bad = [WorkerReport(f"tcp://{n}", f"w-{n}", "node2", **problem) for n in (2, 3)]
        report = self.report(self.GOOD, *bad)
        assert not report.ok
        assert [worker["ok"] for worker in report.as_dict()["workers"]] == [True, False, False]
        told = str(report)
        assert "1 of 3 workers" in told
        assert "cannot: w-2, w-3\n  it is not there\n  cause: no mount\n  remedy: mount it" in told

    def test_other_versions_of_packages_are_reported_and_no_error(self):
        other = WorkerReport(
            "tcp://2", "w-2", "node2", versions={"python": "3.12.1"}, bytes_read=1, seconds=1
        )
        report = self.report(self.GOOD, other)
        assert report.ok
        assert report.differences(self.GOOD) == []
        assert report.differences(other) == ["python 3.12.1", "dask missing"]
        assert "python 3.12.1, dask missing" in str(report)

    def test_no_workers_are_not_enough(self):
        assert not self.report().ok
        json.dumps(self.report().as_dict())


@pytest.mark.parametrize("command", list(main.commands))
def test_every_command_has_help_with_an_example(command):
    shown = CliRunner().invoke(main, [command, "--help"])
    assert shown.exit_code == 0
    assert f"\n    mrcdist {command} " in shown.output
