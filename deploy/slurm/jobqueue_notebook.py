"""Compute on a batch system from a notebook or a script, with workers as batch jobs.

    python jobqueue_notebook.py s3://bucket/movie.mrc mean.npy

Works with Slurm or PBS, whichever is installed; settings are in jobqueue.yaml in the same folder.
"""

import sys
from pathlib import Path

import numpy as np
from distributed import Client

from mrcdist import read_mrc
from mrcdist.batch.jobqueue import read_job_queue, start_jobs

SETTINGS = Path(__file__).with_name("jobqueue.yaml")


def main(url: str, out: str, settings: Path = SETTINGS) -> None:
    """Write the mean of all frames."""
    with start_jobs(read_job_queue(Path(settings))) as cluster, Client(cluster):
        [ds] = read_mrc(url, distributed=True, chunks="64 MiB")
        navigation = tuple(range(ds["data"].ndim - 2))
        np.save(out, ds["data"].mean(axis=navigation).compute())


if __name__ == "__main__":
    main(*sys.argv[1:])
