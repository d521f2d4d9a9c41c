"""Settings of batch jobs."""

from __future__ import annotations

import importlib.util
import signal
import sys

import pytest

from mrcdist.batch.jobqueue import JobQueue, parse_job_queue, start_jobs
from mrcdist.errors import ArgumentError

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
