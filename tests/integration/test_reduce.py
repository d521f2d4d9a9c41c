"""Several results in one pass on a cluster of processes."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from distributed import Client, Future, get_worker

import mrcdist
from mrcdist import CenterOfMass, FrameReduction, MeanPattern, VirtualImage, reduce_frames
from mrcdist.compute.detectors import ArrayFile
from mrcdist.compute.one_pass import InMemory, OnePass
from mrcdist.compute.results import Dataset
from mrcdist.compute.submit import compute_parts
from mrcdist.errors import ArgumentError
from tests.support.cluster import dask_cluster
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


def test_workers_reduce_data_from_s3(cluster: Client, s3_bucket: Bucket) -> None:
    s3_bucket.put("stack.mrc", mrc_bytes(NUMBERS))
    found = reduce_frames(
        s3_bucket.url("stack.mrc"),
        RESULTS,
        chunks=(8, -1, -1),
        storage_options=s3_bucket.storage_options(),
        progress=False,
    )
    check(found)


def test_masks_are_read_from_the_store_of_the_data(cluster: Client, s3_bucket: Bucket) -> None:
    inside = np.zeros(NUMBERS.shape[1:], bool)
    inside[3:9, 20:30] = True
    chosen = np.arange(len(NUMBERS)) % 5 == 0
    masks = {"stack.mrc": mrc_bytes(NUMBERS)}
    for name, mask in (("inside.npy", inside), ("chosen.npy", chosen)):
        np.save(content := io.BytesIO(), mask)
        masks[name] = content.getvalue()
    for name, raw in masks.items():
        s3_bucket.put(name, raw)
    plan = mrcdist.plan_mrc(s3_bucket.url("stack.mrc"), storage_options=s3_bucket.storage_options())
    found = reduce_frames(
        plan,
        {"inside": VirtualImage(s3_bucket.url("inside.npy"))},
        region=ArrayFile(s3_bucket.url("chosen.npy")),
        progress=False,
    )
    np.testing.assert_array_equal(found["inside"], NUMBERS[chosen][:, inside].sum(axis=1))
    with pytest.raises(ArgumentError) as caught:
        reduce_frames(plan, {"bf": VirtualImage(s3_bucket.url("none.npy"))}, progress=False)
    assert (caught.value.code, caught.value.argument) == ("detector-invalid", "detector")
    assert s3_bucket.url("none.npy") in caught.value.problem
    assert "it does not exist" in caught.value.cause


def test_pass_runs_on_the_client_that_is_passed(cluster: Client, tmp_path: Any) -> None:
    path = tmp_path / "stack.mrc"
    path.write_bytes(mrc_bytes(NUMBERS))

    def process_ids(frames: Any) -> Any:
        return np.full(len(frames), os.getpid())

    results = {**RESULTS, "pid": FrameReduction(process_ids, shape=(), dtype=int)}
    with ThreadPoolExecutor(1) as pool:  # it is not the current client of other threads
        found = pool.submit(reduce_frames, path, results, client=cluster, progress=False).result()
    check(found)
    assert set(found["pid"].values) <= set(cluster.run(os.getpid).values())


def test_exception_of_a_function_is_raised_on_the_client(cluster: Client, tmp_path: Any) -> None:
    path = tmp_path / "stack.mrc"
    path.write_bytes(mrc_bytes(NUMBERS))

    def failing(frames: Any) -> Any:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        reduce_frames(path, {"mine": FrameReduction(failing)}, progress=False)


def test_mean_on_a_cluster_equals_that_of_dask_threads(cluster: Client, tmp_path: Any) -> None:
    path = tmp_path / "stack.mrc"
    path.write_bytes(mrc_bytes(NUMBERS.astype("float32") / 7))
    plan = mrcdist.plan_mrc(path, chunks=(8, -1, -1))
    found = reduce_frames(plan, {"mean": MeanPattern()}, client=cluster, progress=False)
    with dask.config.set(scheduler="threads"):
        expected = plan.to_dask().mean(axis=0, dtype="float64").compute()
    np.testing.assert_allclose(found["mean"], expected, rtol=1e-12)


@pytest.mark.parametrize(
    "numbers", [pytest.param(2**16, id="sent with each task"), pytest.param(2**20, id="sent once")]
)
def test_large_functions_of_concurrent_passes_give_their_own_results(
    cluster: Client, tmp_path: Any, numbers: int
) -> None:
    """Two passes run concurrently, each with its own table."""
    path = tmp_path / "stack.mrc"
    path.write_bytes(mrc_bytes(NUMBERS))

    def reduce_with_table(times: int) -> Any:
        table = times * np.arange(numbers, dtype=float)  # sent with the function

        def looked_up(frames: Any) -> Any:
            return table[frames[:, 0, 0]]

        results = {**RESULTS, "looked up": FrameReduction(looked_up, shape=(), dtype=float)}
        return reduce_frames(path, results, chunks=(8, -1, -1), client=cluster, progress=False)

    with ThreadPoolExecutor(2) as pool:
        for times, results in enumerate(pool.map(reduce_with_table, range(2))):
            check(results)
            np.testing.assert_array_equal(results["looked up"], times * NUMBERS[:, 0, 0])


def test_pass_with_few_tasks_uses_all_workers(cluster: Client, tmp_path: Any) -> None:
    path = tmp_path / "stack.mrc"
    path.write_bytes(mrc_bytes(NUMBERS))

    def port(frames: Any) -> Any:
        time.sleep(0.02)
        return np.full(len(frames), int(get_worker().address.rsplit(":", 1)[1]))

    ports = FrameReduction(port, shape=(), dtype=int)
    # With more than two tasks per thread, the scheduler would use all workers anyway.
    n_tasks = sum(cluster.nthreads().values())
    found = reduce_frames(path, {"port": ports}, chunks=(64 // n_tasks, -1, -1), progress=False)
    assert len(set(found["port"].values)) == len(cluster.nthreads())


def eight_parts(folder: Path, results: Mapping[str, Any]) -> OnePass:
    """Return a pass over the stack in eight parts."""
    path = folder / "stack.mrc"
    path.write_bytes(mrc_bytes(NUMBERS))
    plan = mrcdist.plan_mrc(path, chunks=(8, -1, -1))
    return OnePass(Dataset(plan.source, plan.axes, plan.chunks), results)


def gathering(client: Client) -> Callable[[], Any]:
    """Return a function that connects to a client; it gathers results once all are finished."""
    return lambda: nullcontext(partial(compute_parts, client, gather_delay=60.0))


def test_results_that_are_finished_together_are_gathered_with_one_message(
    cluster: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message through the scheduler takes as long as summing about 50 MiB."""
    calls: list[str] = []

    def counted(name: str, function: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            calls.append(name)
            return function(*args, **options)

        return call

    for kind, name in ((Client, "gather"), (Future, "result")):
        monkeypatch.setattr(kind, name, counted(name, getattr(kind, name)))
    check(eight_parts(tmp_path, RESULTS).run(gathering(cluster), InMemory()).results)
    assert calls == ["gather"] * 2  # the first result, and then the other seven


def test_parts_that_are_finished_when_another_fails_are_kept_for_resume(
    cluster: Client, tmp_path: Path
) -> None:
    fails, all_others = tmp_path / "fails", tmp_path / "all_others"
    fails.touch()
    last = int(NUMBERS[-1, 0, 0])

    def failing(frames: Any) -> Any:
        if frames[-1, 0, 0] == last and fails.exists():
            while not all_others.exists():
                time.sleep(0.01)
            raise ZeroDivisionError("mine")
        return frames[:, 0, 0]

    def wait_for_others() -> None:
        while sum(state.status == "finished" for state in list(cluster.futures.values())) < 7:
            time.sleep(0.01)
        all_others.touch()

    one_pass = eight_parts(tmp_path, {"first": FrameReduction(failing, shape=(), dtype=int)})
    kept = InMemory()
    threading.Thread(target=wait_for_others, daemon=True).start()
    with pytest.raises(ZeroDivisionError, match="mine"):
        one_pass.run(gathering(cluster), kept)
    fails.unlink()
    found = one_pass.run(gathering(cluster), kept, finished=range(7)).results["first"]
    np.testing.assert_array_equal(found, NUMBERS[:, 0, 0])


def test_pass_is_resumed_with_the_chunks_of_a_smaller_cluster(
    cluster: Client, tmp_path: Any
) -> None:
    path, fails, resume = tmp_path / "stack.mrc", tmp_path / "fails", tmp_path / "parts"
    path.write_bytes(mrc_bytes(np.arange(4, dtype="int16").repeat(2**20).reshape(4, 1024, 1024)))
    os.utime(path, (1e9, 1e9))  # long ago, so that the modification time identifies the version
    fails.touch()

    def failing(frames: Any) -> Any:
        while frames[-1, 0, 0] == 3 and fails.exists():
            time.sleep(0.01)
            if list(resume.glob("part-*.npz")):
                raise ZeroDivisionError("mine")
        return frames[:, 0, 0]

    wanted = {"first": FrameReduction(failing, shape=(), dtype=int)}
    off = {f"distributed.worker.memory.{what}": False for what in ("pause", "spill", "target")}
    small = {"n_workers": 1, "threads_per_worker": 2, "memory_limit": "200 MiB"}
    with (
        dask.config.set({**off, "distributed.worker.memory.terminate": False}),
        Client(processes=False, protocol="tcp", dashboard_address=None, **small) as small_cluster,
        pytest.raises(ZeroDivisionError, match="mine"),
    ):
        reduce_frames(path, wanted, client=small_cluster, resume=resume, progress=False)
    fails.unlink()
    # By default, the other cluster would read all frames as one chunk.
    with pytest.raises(ArgumentError) as error:
        reduce_frames(path, wanted, client=cluster, resume=resume, progress=False, chunks=-1)
    assert "chunks: up to 1 × 1024 × 1024 then, up to 4 × 1024 × 1024 now" in error.value.cause
    found = reduce_frames(path, wanted, client=cluster, resume=resume, progress=False)
    np.testing.assert_array_equal(found["first"], range(4))


def test_function_is_released_if_submitting_the_tasks_is_interrupted(cluster: Client) -> None:
    class Interrupted(dict[int, Any]):
        def items(self) -> Any:
            raise KeyboardInterrupt

    sent_once: Any = bytes(2**22)
    with pytest.raises(KeyboardInterrupt) as interrupt:
        compute_parts(cluster, sent_once, Interrupted({0: (None, None)}), print)
    deadline = time.monotonic() + 10
    while any("work-" in str(key) for key in cluster.futures):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert interrupt.tb  # refers to the future


def test_results_are_exact_although_the_worker_that_holds_the_function_is_killed(
    tmp_path: Any,
) -> None:
    path = tmp_path / "stack.mrc"
    path.write_bytes(mrc_bytes(NUMBERS))
    table = np.arange(2**20, dtype=float)  # sent with the function, once for all tasks

    def looked_up(frames: Any) -> Any:
        time.sleep(0.1)
        return table[frames[:, 0, 0]]

    results = {**RESULTS, "looked up": FrameReduction(looked_up, shape=(), dtype=float)}
    with dask_cluster(tmp_path) as client, ThreadPoolExecutor(1) as pool:
        pids = client.run(os.getpid)
        options: Any = {"chunks": (4, -1, -1), "client": client, "progress": False}
        several = pool.submit(reduce_frames, path, results, **options)
        holders: list[str] = []
        while not holders:
            time.sleep(0.02)
            assert not several.done()
            held = client.has_what()
            holders = [each for each in held if any("work-" in str(key) for key in held[each])]
        os.kill(pids[holders[0]], signal.SIGKILL)
        found = several.result(timeout=60)
    check(found)
    np.testing.assert_array_equal(found["looked up"], NUMBERS[:, 0, 0])
