"""Summary of a job."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mrcdist.batch.run_job import Summary
from mrcdist.compute.one_pass import Finished
from mrcdist.compute.quantities import (
    MeanPattern,
)
from mrcdist.compute.results import Result
from mrcdist.stats import ReadStats


@pytest.mark.parametrize(
    ("mapped", "fetched", "lines"),
    [
        (
            2**20,
            0,
            ["1.00 MiB of local files mapped; only pages with these pixels are read"],
        ),
        (0, 2**10, ["1.00 kiB fetched; 3 requests, 1 retries"]),
        (
            2**20,
            2**10,
            [
                "1.00 MiB of local files mapped; only pages with these pixels are read",
                "1.00 kiB fetched; 3 requests, 1 retries",
            ],
        ),
    ],
)
def test_summary_of_a_job_states_mapped_and_fetched_bytes(mapped, fetched, lines):
    read = ReadStats(blocks=1, requests=3, retries=1, bytes_fetched=fetched, bytes_mapped=mapped)
    summary = Summary(
        url="movie.mrc",
        outputs={"mean": (Path("out.npy"),)},
        done=Finished(
            results={"mean": Result("mean", np.zeros((4, 4), "float32"), ())},
            quantities={"mean": MeanPattern()},
            ledger={"worker": (ReadStats(), read)},
            pixel_bytes=2**10,
            seconds=1.0,
        ),
        parts=1,
        parts_kept=0,
        tasks=1,
        notes=(),
    )
    shown = [line[12:] for line in str(summary).splitlines() if line.startswith("  read ")]
    assert shown == lines
