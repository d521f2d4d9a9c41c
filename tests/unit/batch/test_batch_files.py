"""Files and reports of the batch program: cluster options, job queues, images, worker reports."""

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
    def test_deflection_is_relative_to_the_median_on_a_symmetric_scale(self):
        image = np.array([7.0, 7, 7, 9, 4, np.nan])
        shown, middle = deflection(image)
        assert middle == 7
        np.testing.assert_array_equal(shown, image - 7)
        low, high = symmetric_limits(shown)
        assert low == -high
        assert 2 < high <= 3

    @pytest.mark.parametrize("image", [np.zeros(4), np.full(4, np.nan)])
    def test_zero_deflection_has_a_nonempty_range(self, image):
        assert symmetric_limits(deflection(image)[0]) == (-1, 1)


QUEUES = """
jobqueue:
  slurm: {cores: 16, memory: 64 GiB, job-extra-directives: [--exclusive], name: dask}
  pbs: {cores: 8}
"""


class TestJobQueue:
    @pytest.mark.parametrize(("command", "system"), [("sbatch", "slurm"), ("qsub", "pbs")])
    def test_installed_batch_system_is_selected(self, command, system):
        queue = parse_job_queue(QUEUES, installed=command.__eq__)
        assert (queue.system, queue.minimum, queue.maximum) == (system, 0, 10)

    def test_settings_are_converted_to_arguments(self):
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
            (QUEUES, "none of the batch systems slurm, pbs is installed"),
            ("jobqueue: {slurm: 3}\nsystem: slurm", "system: slurm"),
        ],
    )
    def test_error_names_the_invalid_setting(self, text, problem):
        with pytest.raises(ArgumentError, match=problem):
            parse_job_queue(text, installed=lambda _: False)


def test_handler_of_ctrl_c_is_restored(monkeypatch):
    """dask-jobqueue sets its own handler when it is imported."""
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
    "options",
    [
        {"scheduler": "tcp://a:1", "scheduler_file": "f"},
        {"jobqueue": "f", "workers": 2},
        {"scheduler": "tcp://a:1", "memory_limit": "1 GiB"},
        {"memory_limit": "much"},
    ],
)
def test_conflicting_or_invalid_cluster_options_are_refused(options):
    name = next(iter(options))
    with pytest.raises(ArgumentError, match=f"^{name}") as refused:
        ClusterOptions(**options)
    assert refused.value.argument == name


class TestCluster:
    class Client:
        def __init__(self, workers):
            self.workers = workers

        def nthreads(self):
            return self.workers

    def test_missing_workers_are_reported(self):
        messages = []
        Cluster(self.Client({"tcp://1": 1}), messages.append, interval=0).check()
        assert messages == []
        Cluster(self.Client({}), messages.append, interval=0).check()
        assert messages == ["there are no workers: tasks wait for workers to start"]

    def test_missing_workers_are_reported_once_per_interval(self):
        messages = []
        cluster = Cluster(self.Client({}), messages.append, interval=600)
        for _ in range(9):
            cluster.check()
        assert messages == []

    def test_failure_to_start_workers_is_raised(self):
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

    def test_report_is_ok_if_all_workers_can_read(self):
        report = self.report(self.GOOD)
        assert report.ok
        assert report.as_dict()["workers"][0]["bytes_per_second"] == 2**28
        row = str(report).splitlines()[5]
        assert row.split() == ["w-1", "node1", "4", "8.00", "GiB", "256.00", "MiB/s", "yes", "-"]
        assert "1 of 1 workers can read the file: 64.00 MiB each, in parallel" in str(report)

    def test_workers_with_the_same_problem_are_reported_together(self):
        problem = {"problem": "file not found", "cause": "no mount", "remedy": "mount it"}
        bad = [WorkerReport(f"tcp://{n}", f"w-{n}", "node2", **problem) for n in (2, 3)]
        report = self.report(self.GOOD, *bad)
        assert not report.ok
        assert [worker["ok"] for worker in report.as_dict()["workers"]] == [True, False, False]
        text = str(report)
        assert "1 of 3 workers" in text
        assert "cannot: w-2, w-3\n  file not found\n  cause: no mount\n  remedy: mount it" in text

    def test_different_package_versions_are_reported_but_not_an_error(self):
        other = WorkerReport(
            "tcp://2", "w-2", "node2", versions={"python": "3.12.1"}, bytes_read=1, seconds=1
        )
        report = self.report(self.GOOD, other)
        assert report.ok
        assert report.differences(self.GOOD) == []
        assert report.differences(other) == ["python 3.12.1", "dask missing"]
        assert "python 3.12.1, dask missing" in str(report)

    def test_report_without_workers_is_not_ok(self):
        assert not self.report().ok
        json.dumps(self.report().as_dict())


@pytest.mark.parametrize("command", list(main.commands))
def test_help_of_every_command_has_an_example(command):
    shown = CliRunner().invoke(main, [command, "--help"])
    assert shown.exit_code == 0
    assert f"\n    mrcdist {command} " in shown.output
