"""The notebook that submits a batch job, on a real Slurm."""

from __future__ import annotations

from pathlib import Path

from notebooks.execute import HERE, execute, faults
from tests.support.slurm import slurm_cluster


def test_the_batch_job_is_submitted_watched_and_collected(tmp_path: Path) -> None:
    with slurm_cluster(tmp_path / "slurm") as slurm:
        done = execute(HERE / "slurm_batch_job.ipynb", tmp_path / "run", slurm.environment)
        assert faults(done) == []
        # All that it has started is gone: job, scheduler and workers.
        assert slurm.states() == {}
