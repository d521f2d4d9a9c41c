"""The notebook that submits a batch job, run with a real Slurm."""

from __future__ import annotations

from pathlib import Path

from notebooks.execute import HERE, execute, faults
from tests.support.slurm import slurm_cluster


def test_notebook_submits_watches_and_collects_a_batch_job(tmp_path: Path) -> None:
    with slurm_cluster(tmp_path / "slurm") as slurm:
        done = execute(HERE / "slurm_batch_job.ipynb", tmp_path / "run", slurm.environment)
        assert faults(done) == []
        # Job, scheduler and workers have ended.
        assert slurm.states() == {}
