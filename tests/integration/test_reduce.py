"""Several results in one pass on a cluster of processes, from S3 as well."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dask
import numpy as np
import pytest
from distributed import Client, get_worker

import mrcdist
from mrcdist import CenterOfMass, FrameReduction, MeanPattern, VirtualImage, reduce_frames
from tests.support.mrc_files import mrc_bytes
from tests.support.s3 import Bucket

NUMBERS = np.random.default_rng(5).integers(0, 2**16, (64, 32, 48), np.uint16)
RESULTS: dict[str, Any] = {
    "disk": VirtualImage("circle:16,20,7"),
    "com": CenterOfMass(),
    "mean": MeanPattern(),
}


def check(found: Any) -> None:
    y, x = np.indices(NUMBERS.shape[1:])
    inside = (y - 16) ** 2 + (x - 20) ** 2 <= 49
    np.testing.assert_array_equal(found["disk"], (NUMBERS * inside).sum(axis=(1, 2)))
    np.testing.assert_array_equal(found["mean"], NUMBERS.mean(axis=0))
    mass = NUMBERS.sum(axis=(1, 2))
    np.testing.assert_array_equal(found["com"].values[0], (NUMBERS * y).sum(axis=(1, 2)) / mass)


def test_workers_reduce_what_they_read_from_s3(cluster: Client, s3_bucket: Bucket) -> None:
    s3_bucket.put("stack.mrc", mrc_bytes(NUMBERS))
    found = reduce_frames(
        s3_bucket.url("stack.mrc"),
        RESULTS,
        chunks=(8, -1, -1),
        storage_options=s3_bucket.storage_options(),
        progress=False,
    )
    check(found)


def test_client_may_be_another_than_the_current_one(cluster: Client, tmp_path: Any) -> None:
    path = tmp_path / "stack.mrc"
    path.write_bytes(mrc_bytes(NUMBERS))
    check(reduce_frames(path, RESULTS, client=cluster, progress=False))


def test_errors_of_functions_come_from_the_workers(cluster: Client, tmp_path: Any) -> None:
    path = tmp_path / "stack.mrc"
    path.write_bytes(mrc_bytes(NUMBERS))

    def failing(frames: Any) -> Any:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        reduce_frames(path, {"mine": FrameReduction(failing)}, progress=False)


def test_threads_and_processes_agree(cluster: Client, tmp_path: Any) -> None:
    path = tmp_path / "stack.mrc"
    path.write_bytes(mrc_bytes(NUMBERS.astype("float32") / 7))
    plan = mrcdist.plan_mrc(path, chunks=(8, -1, -1))
    here = reduce_frames(plan, {"mean": MeanPattern()}, client=cluster, progress=False)
    with dask.config.set(scheduler="threads"):
        there = plan.to_dask().mean(axis=0, dtype="float64").compute()
    np.testing.assert_allclose(here["mean"], there, rtol=1e-12)


@pytest.mark.parametrize(
    "numbers", [pytest.param(2**16, id="goes with each task"), pytest.param(2**20, id="goes once")]
)
def test_large_work_gives_the_same_results(cluster: Client, tmp_path: Any, numbers: int) -> None:
    """Of two passes at once, each has its own."""
    path = tmp_path / "stack.mrc"
    path.write_bytes(mrc_bytes(NUMBERS))

    def found(times: int) -> Any:
        table = times * np.arange(numbers, dtype=float)  # goes with the function

        def looked_up(frames: Any) -> Any:
            return table[frames[:, 0, 0]]

        results = {**RESULTS, "looked up": FrameReduction(looked_up, shape=(), dtype=float)}
        return reduce_frames(path, results, chunks=(8, -1, -1), client=cluster, progress=False)

    with ThreadPoolExecutor(2) as pool:
        for times, several in enumerate(pool.map(found, range(2))):
            check(several)
            np.testing.assert_array_equal(several["looked up"], times * NUMBERS[:, 0, 0])


def test_a_short_pass_is_shared_by_all_workers(cluster: Client, tmp_path: Any) -> None:
    path = tmp_path / "stack.mrc"
    path.write_bytes(mrc_bytes(NUMBERS))

    def port(frames: Any) -> Any:
        time.sleep(0.02)
        return np.full(len(frames), int(get_worker().address.rsplit(":", 1)[1]))

    ports = FrameReduction(port, shape=(), dtype=int)
    # No more tasks than two per thread, which the scheduler would spread anyway.
    n_tasks = sum(cluster.nthreads().values())
    found = reduce_frames(path, {"port": ports}, chunks=(64 // n_tasks, -1, -1), progress=False)
    assert len(set(found["port"].values)) == len(cluster.nthreads())
