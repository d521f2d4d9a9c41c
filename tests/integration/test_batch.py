"""Batch jobs on real clusters: exact results, resuming, workers unable to read the file."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import dask
import matplotlib.image
import numpy as np
import psutil
import pytest
from click.testing import CliRunner
from dask.utils import format_bytes
from distributed import Client
from distributed.scheduler import KilledWorker, WorkerState

import mrcdist
from mrcdist import MeanPattern, VirtualImage
from mrcdist.batch.check_workers import check_workers
from mrcdist.batch.clusters import ClusterOptions, connect
from mrcdist.batch.run_job import run
from mrcdist.cli import main
from mrcdist.compute.detectors import Ring
from mrcdist.errors import FileChangedError, MrcdistError
from tests.support.cluster import dask_cluster
from tests.support.http_log import CountingProxy, Fault, first
from tests.support.jobs import (
    CENTRE,
    DATA,
    FRAME,
    MOVIE,
    N_BLOCKS,
    RADIUS,
    SCAN,
    SHAPE,
    address,
    centre_of_mass,
    failing_after,
    killed_before_parts_are_removed,
    mrcdist_fails,
    mrcdist_json,
    only_data,
    parts_in,
    ring,
    start_command,
    storage_options,
    virtual,
)
from tests.support.mrc_files import write_mrc
from tests.support.processes import ROOT, Processes, free_port
from tests.support.s3 import WRONG_SECRET, Bucket, S3Server

SELECTED = np.arange(120) % 7 == 3


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    return write_mrc(tmp_path / "movie.mrc", DATA.reshape(-1, *FRAME))


class TestResults:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (("virtual", "--detector", "bf"), virtual(ring(0, RADIUS))),
            (("virtual", "--detector", "bf", "--radius", "3"), virtual(ring(0, 3))),
            (("virtual", "--detector", "annulus:17,11,6,9.5"), virtual(ring(6, 9.5))),
            (("virtual", "--detector", "mask.npy"), virtual(ring(2, 4))),
            (("com",), centre_of_mass(ring(0, 99))),
            (("com", "--detector", "circle:17,11,5"), centre_of_mass(ring(0, RADIUS))),
            (("mean",), DATA.sum(axis=(0, 1), dtype="uint64") / 120),
        ],
        ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
    )
    def test_results_are_exact_on_a_running_cluster(
        self,
        cluster: Client,
        movie: Path,
        monkeypatch: pytest.MonkeyPatch,
        arguments: tuple[str, ...],
        expected: np.ndarray,
    ) -> None:
        monkeypatch.chdir(movie.parent)
        np.save("mask.npy", ring(2, 4))
        command, *options = arguments
        summary = mrcdist_json(
            command, movie, *options, *SHAPE, "--out", "out.npy", "--scheduler", address(cluster)
        )
        got = np.load("out.npy")
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
        assert (summary["blocks"], summary["parts_kept"]) == (N_BLOCKS, 0)
        assert summary["tasks"] == N_BLOCKS
        assert sorted(path.name for path in movie.parent.iterdir()) == [
            "mask.npy",
            "movie.mrc",
            "out.npy",
        ]

    @pytest.mark.parametrize(
        ("limit", "where"),
        [(("--frames", "10:100:3"), slice(10, 100, 3)), (("--region", "scan.npy"), SELECTED)],
        ids=["frames", "region"],
    )
    def test_only_selected_frames_are_computed(
        self,
        cluster: Client,
        movie: Path,
        monkeypatch: pytest.MonkeyPatch,
        limit: tuple[str, ...],
        where: Any,
    ) -> None:
        monkeypatch.chdir(movie.parent)
        np.save("scan.npy", SELECTED.reshape(DATA.shape[:2]))
        job = ["reduce", movie, "--mean", "--virtual", "bf=circle:17,11,5", *limit, *SHAPE]
        mrcdist_json(*job, "--out", "{}.npy", "--scheduler", address(cluster))
        frames = DATA.reshape(-1, *FRAME)[where]
        np.testing.assert_array_equal(np.load("mean.npy"), frames.mean(axis=0))
        np.testing.assert_array_equal(np.load("bf.npy"), virtual(ring(0, RADIUS)).ravel()[where])
        output = mrcdist_fails(
            *job, "--region", "scan.npy", "--frames", ":5", "--out", "{}2.npy", "--scheduler",
            address(cluster),
        )  # fmt: skip
        assert "both `--region` and `--frames` are given" in output

    def test_region_is_not_overwritten_by_a_result(
        self, cluster: Client, movie: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(movie.parent)
        np.save("scan.npy", SELECTED.reshape(DATA.shape[:2]))
        output = mrcdist_fails(
            "mean", movie, *SHAPE, "--region", "scan.npy", "--out", "scan.npy", "--overwrite",
            "--scheduler", address(cluster),
        )  # fmt: skip
        assert "is an input" in output

    def test_dark_field_surrounds_the_detected_bright_disk(
        self, cluster: Client, movie: Path
    ) -> None:
        out = movie.with_name("adf.npy")
        output = mrcdist_json(
            "virtual", movie, "--detector", "adf", *SHAPE, "--out", out, "--scheduler",
            address(cluster),
        )  # fmt: skip
        # From 1.2 times the radius of a circle with the area of the disk to the nearest edge.
        inner = 1.2 * (ring(0, RADIUS).sum() / np.pi) ** 0.5
        assert (
            output["detector"]
            == f"the annulus from {inner:.6g} to 11.5 px around row 17, column 11"
        )
        np.testing.assert_array_equal(np.load(out), virtual(ring(inner, 11.5)))

    def test_job_runs_on_local_processes_by_default(self, movie: Path, tmp_path: Path) -> None:
        with Processes(tmp_path) as processes:
            outputs = [word for name in ("a.npy", "a.mrc") for word in ("--out", name)]
            local = ["--workers", "2", "--threads", "1", "--memory-limit", "1 GiB"]
            status, output = start_command(processes, "mean", movie, *SHAPE, *outputs, *local)()
        assert status == 0, output
        np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), DATA.mean(axis=(0, 1)))
        # There is no progress bar in a log.
        assert "mean: 100 %  180.00 kiB of 180.00 kiB" in output
        assert "\r" not in output
        assert f"tasks     {N_BLOCKS} on " in output

    @pytest.mark.parametrize("command", [["virtual", "--detector", "bf"], ["mean"], ["com"]])
    def test_each_command_writes_an_image(
        self, cluster: Client, movie: Path, command: list[str]
    ) -> None:
        out = movie.with_name("out.png")
        mrcdist_json(
            command[0], movie, *command[1:], *SHAPE, "--out", out, "--scheduler", address(cluster)
        )
        pixels = matplotlib.image.imread(out)
        assert pixels.std() > 0.1

    def test_job_waits_for_the_scheduler_file(self, cluster: Client, movie: Path) -> None:
        file, out = movie.with_name("scheduler.json"), movie.with_name("mean.npy")
        later = threading.Timer(1.0, cluster.write_scheduler_file, [str(file)])
        later.start()
        try:
            mrcdist_json("mean", movie, *SHAPE, "--out", out, "--scheduler-file", file)
        finally:
            later.join()
        np.testing.assert_array_equal(np.load(out), DATA.mean(axis=(0, 1)))

    def test_progress_and_summary_count_the_same_pixels(self, cluster: Client, movie: Path) -> None:
        out = movie.with_name("bf.npy")
        done = CliRunner().invoke(
            main,
            [
                "virtual", str(movie), *SHAPE, "--detector", "circle:17,11,2", "--out", str(out),
                "--scheduler", address(cluster),
            ],
            catch_exceptions=False,
        )  # fmt: skip
        [(done_bytes, total)] = re.findall(r"100 %  (\S+ \S+) of (\S+ \S+), ", done.stderr)
        assert done_bytes == total == format_bytes(120 * 5 * 5 * DATA.itemsize)
        assert f"  pixels    {total} in " in done.stdout
        assert re.search(r"  read      \S+ \S+ fetched; \d+ requests, 0 retries", done.stdout)

    def test_job_reading_from_s3_counts_requests_and_retries(
        self, cluster: Client, s3_proxy: CountingProxy, s3_bucket: Bucket, tmp_path: Path
    ) -> None:
        url, out = s3_bucket.put("movie.mrc", MOVIE), tmp_path / "com.npy"
        s3_proxy.respond = only_data(first(3, Fault("status", status=503)))
        done = CliRunner().invoke(
            main,
            [
                "com", url, *SHAPE, "--out", str(out), "--scheduler", address(cluster), "--json",
                *storage_options(s3_proxy.server),
            ],
            catch_exceptions=False,
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        np.testing.assert_array_equal(np.load(out), centre_of_mass(ring(0, 99)))
        summary = json.loads(done.stdout)
        assert (summary["requests"], summary["retries"]) == (N_BLOCKS, 3)
        assert summary["bytes"] == summary["bytes_fetched"] == DATA.nbytes
        assert summary["workers"] == 2
        assert s3_proxy.server.secret not in done.output


class TestResume:
    @pytest.mark.parametrize(
        ("number", "status", "command"),
        [
            pytest.param(
                signal.SIGKILL,
                -signal.SIGKILL,
                ["virtual", "--detector", "circle:17,11,5"],
                id="SIGKILL",
            ),
            # Also in test_batch_kills.
            pytest.param(
                signal.SIGTERM,
                128 + signal.SIGTERM,
                ["mean"],
                marks=pytest.mark.slow,
                id="SIGTERM",
            ),
        ],
    )
    def test_finished_parts_are_not_computed_again(
        self,
        cluster: Client,
        moto: S3Server,
        tmp_path: Path,
        number: int,
        status: int,
        command: list[str],
    ) -> None:
        out = tmp_path / "out.npy"
        with (
            moto.bucket() as bucket,
            CountingProxy(moto) as proxy,
            Processes(tmp_path) as processes,
        ):
            url = bucket.put("movie.mrc", MOVIE)
            job = [command[0], url, *command[1:], *SHAPE, "--out", out, "--resume"]
            job += storage_options(proxy.server)
            # The server holds back everything after the first 8 blocks.
            passed = iter(range(8))
            stall = Fault("stall", seconds=600)
            proxy.respond = only_data(lambda _: stall if next(passed, None) is None else None)
            ended = start_command(processes, *job, "--workers", "1", "--threads", "1")
            processes.wait_until(lambda: len(parts_in(out)) == 8, "the first parts")
            children = ended.process.children(recursive=True)
            ended.process.send_signal(number)
            assert ended()[0] == status
            assert not out.exists()
            if number == signal.SIGTERM:
                assert "continue with `--resume`" in ended()[1]
            assert children
            assert not psutil.wait_procs(children, timeout=60)[1]

            proxy.respond = None
            # On another cluster: parts are the same on every cluster.
            summary = mrcdist_json(*job, "--scheduler", address(cluster))
        assert (summary["parts"], summary["parts_kept"]) == (N_BLOCKS, 8)
        assert summary["blocks"] == N_BLOCKS - 8
        expected = DATA.mean(axis=(0, 1)) if command == ["mean"] else virtual(ring(0, RADIUS))
        np.testing.assert_array_equal(np.load(out), expected)
        assert not parts_in(out)

    @pytest.fixture
    def interrupted(self, cluster: Client, movie: Path) -> list[object]:
        """Arguments of a job that was interrupted by Ctrl-C after three parts."""
        out = movie.with_name("bf.npy")
        job = ["virtual", movie, "--detector", "bf", *SHAPE, "--out", out]
        job += ["--scheduler", address(cluster)]
        with failing_after(3, out, KeyboardInterrupt()):
            assert "continue with `--resume`" in mrcdist_fails(*job, status=130)
        assert len(parts_in(out)) == 3
        return job

    def test_resumed_job_uses_the_detector_found_first(
        self, interrupted: list[object], movie: Path
    ) -> None:
        job = movie.with_name("bf.npy.partial") / "job.json"
        known = json.loads(job.read_text())
        known["found"]["outer"] = 3.0
        job.write_text(json.dumps(known))
        summary = mrcdist_json(*interrupted, "--resume")
        assert summary["detector"] == "the circle of radius 3 px around row 17, column 11"
        assert summary["blocks"] == N_BLOCKS - 3

    def test_finished_parts_are_used_with_resume_only(self, interrupted: list[object]) -> None:
        assert "holds 3 finished parts of an earlier run" in mrcdist_fails(*interrupted)

    def test_finished_parts_are_not_used_with_other_options(
        self, interrupted: list[object]
    ) -> None:
        output = mrcdist_fails(*interrupted, "--radius", "4", "--resume")
        assert "detector: bf then, bf, radius 4.0 now" in output
        output = mrcdist_fails(*interrupted, "--chunks", "2,5,-1,-1", "--resume")
        assert "parts: 24 then, 12 now" in output
        output = mrcdist_fails(
            *interrupted, "--mode0", "int8", "--chunks", "1,-1,-1,-1", "--resume"
        )
        assert "belongs to another job" in output

    def test_finished_parts_of_a_changed_file_are_not_used(
        self, interrupted: list[object], movie: Path
    ) -> None:
        os.utime(movie, ns=(1, 1))
        output = mrcdist_fails(*interrupted, "--resume")
        assert "version: " in output
        assert "mtime_ns 1, ctime_ns" in output

    def test_finished_job_is_not_resumed(self, interrupted: list[object], movie: Path) -> None:
        mrcdist_json(*interrupted, "--resume")
        assert "exists" in mrcdist_fails(*interrupted, "--resume")
        np.testing.assert_array_equal(np.load(movie.with_name("bf.npy")), virtual(ring(0, RADIUS)))

    def test_job_interrupted_while_its_result_was_written_is_resumed_without_a_cluster(
        self, interrupted: list[object], movie: Path
    ) -> None:
        with killed_before_parts_are_removed():
            mrcdist_json(*interrupted, "--resume")
        job = [*interrupted[:-1], "tcp://127.0.0.1:9"]
        assert mrcdist_json(*job, "--resume")["blocks"] == 0
        np.testing.assert_array_equal(np.load(movie.with_name("bf.npy")), virtual(ring(0, RADIUS)))


def scheduled(cluster: Client) -> set[str]:
    """Return the keys of all tasks on the scheduler."""
    return set(
        cluster.run_on_scheduler(lambda dask_scheduler: [str(key) for key in dask_scheduler.tasks])
    )


class TestFailures:
    def test_file_changed_after_planning_stops_the_job(self, cluster: Client, movie: Path) -> None:
        plan = mrcdist.plan_mrc(movie, navigation_shape=SCAN[::-1], chunks=(1, 5, -1, -1))
        os.utime(movie, ns=(1, 1))
        out = movie.with_name("out.npy")
        results = {"bf": VirtualImage(Ring(*CENTRE, 0, RADIUS))}
        with pytest.raises(FileChangedError):
            run(plan, results, {"bf": (out,)}, ClusterOptions(address(cluster)), io.StringIO())
        assert not out.exists()
        assert not parts_in(out)

    def test_failed_job_leaves_no_tasks_on_the_scheduler(
        self, cluster: Client, movie: Path
    ) -> None:
        output = mrcdist_fails(
            "virtual", movie, "--detector", "bf", *SHAPE, "--out", movie.with_name("a.png"),
            "--scheduler", address(cluster), "--chunks", "1,5,16,-1",
        )  # fmt: skip
        assert "whole frames" in output
        plan = mrcdist.plan_mrc(movie, navigation_shape=SCAN[::-1], chunks=(1, 5, -1, -1))
        movie.unlink()
        results, outputs = {"mean": MeanPattern()}, {"mean": (movie.with_name("out.npy"),)}
        before = scheduled(cluster)
        with pytest.raises(MrcdistError):
            run(plan, results, outputs, ClusterOptions(address(cluster)), io.StringIO())
        deadline = time.monotonic() + 30
        while left := scheduled(cluster) - before:
            assert time.monotonic() < deadline, left
            time.sleep(0.05)

    def test_repeatedly_dying_workers_stop_the_job(
        self, cluster: Client, movie: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def gather(*_: object, **__: object) -> None:
            raise KilledWorker("read", WorkerState.__new__(WorkerState), 3)

        monkeypatch.setattr(Client, "gather", gather)
        monkeypatch.setattr(KilledWorker, "__str__", lambda _: "read died 3 times")
        output = mrcdist_fails(
            "mean", movie, *SHAPE, "--out", movie.with_name("a.npy"), "--scheduler",
            address(cluster),
        )  # fmt: skip
        assert "they ran out of memory, or were killed: read died 3 times" in output
        assert "continue with `--resume`" in output

    def test_detector_without_pixels_is_refused_before_connecting(self, movie: Path) -> None:
        output = mrcdist_fails(
            "virtual", movie, "--detector", "circle:100,100,5", *SHAPE, "--out",
            movie.with_name("a.npy"), "--scheduler", "tcp://127.0.0.1:9",
        )  # fmt: skip
        assert "no pixel is inside" in output
        assert not movie.with_name("a.npy.partial").exists()

    def test_missing_scheduler_is_an_error(self, movie: Path) -> None:
        job = ["mean", movie, *SHAPE, "--out", movie.with_name("a.npy")]
        with dask.config.set({"mrcdist.scheduler-timeout": 0.5, "mrcdist.workers-timeout": 0.5}):
            output = mrcdist_fails(*job, "--scheduler", "tcp://127.0.0.1:9")
            assert "no dask scheduler answers at tcp://127.0.0.1:9" in output
            output = mrcdist_fails(*job, "--scheduler-file", movie.with_name("none.json"))
            assert "no scheduler wrote its address to" in output

    def test_waiting_for_the_scheduler_is_announced_with_the_timeout(self) -> None:
        output: list[str] = []
        where = ClusterOptions(scheduler=f"tcp://127.0.0.1:{free_port()}")
        with (
            dask.config.set({"mrcdist.scheduler-timeout": 4}),
            pytest.raises(MrcdistError, match="no dask scheduler answers"),
            connect(where, log=output.append),
        ):
            pass
        assert output == [f"waiting for the scheduler at {where.scheduler}, for up to 4 s"]

    def test_too_few_workers_are_an_error(self, cluster: Client, movie: Path) -> None:
        with dask.config.set({"mrcdist.workers-timeout": 0.5}):
            output = mrcdist_fails(
                "check-workers", movie, "--min-workers", 3, "--scheduler", address(cluster)
            )
        assert "2 of 3 workers connected" in output


@contextmanager
def joined_by(
    client: Client, folder: Path, name: str, environment: dict[str, str]
) -> Iterator[None]:
    """Add a worker in a process with other environment variables."""
    n_workers = len(client.nthreads())
    with Processes(folder / name) as processes:
        options = ["--name", name, "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
        limits = ["--nthreads", "3", "--memory-limit", "1 GiB"]
        processes.start(
            name,
            [sys.executable, "-m", "dask", "worker", address(client), *options, *limits],
            environment=environment,
        )
        processes.wait_until(lambda: len(client.nthreads()) > n_workers, name)
        yield


class TestCheckWorkers:
    def test_workers_able_to_read_the_file_are_reported(self, cluster: Client, movie: Path) -> None:
        found = mrcdist_json(
            "check-workers", movie, "--bytes", "20 KiB", "--scheduler", address(cluster)
        )
        assert found["ok"]
        assert [worker["name"] for worker in found["workers"]] == ["worker-0", "worker-1"]
        assert {worker["pid"] for worker in found["workers"]} == set(
            cluster.run(os.getpid).values()
        )
        for worker in found["workers"]:
            assert 10 * 2**10 < worker["bytes_read"] <= 20 * 2**10
            assert worker["bytes_per_second"] > 0
            assert (worker["threads"], worker["memory_limit"]) == (1, 2 * 2**30)
            assert worker["versions"] == found["versions"]
            assert all(worker["versions"].values())

    def test_workers_unable_to_read_the_file_are_reported_with_the_reason(
        self, tmp_path: Path
    ) -> None:
        hidden, elsewhere = tmp_path / "hidden", tmp_path / "other" / "mrcdist"
        hidden.mkdir()
        movie = write_mrc(hidden / "movie.mrc", DATA.reshape(-1, *FRAME))
        elsewhere.mkdir(parents=True)
        (elsewhere / "__init__.py").write_text("raise ImportError('half an installation')")
        older = tmp_path / "older" / "mrcdist"
        older.mkdir(parents=True)
        (older / "__init__.py").write_text("__version__ = '0.0'")
        with (
            dask_cluster(tmp_path / "cluster", workers=1, hidden=hidden) as client,
            joined_by(client, tmp_path, "sees", {"PYTHONPATH": str(ROOT)}),
            joined_by(client, tmp_path, "lacks", {"PYTHONPATH": str(elsewhere.parent)}),
            joined_by(client, tmp_path, "older", {"PYTHONPATH": str(older.parent)}),
        ):
            check = ["check-workers", movie, "--scheduler", address(client)]
            found = mrcdist_json(*check, status=1)
            done = CliRunner().invoke(main, list(map(str, check)), catch_exceptions=False)
            # Otherwise a job on this cluster would lose one worker after the other.
            job = ["mean", movie, "--out", tmp_path / "a.npy", "--scheduler", address(client)]
            output = mrcdist_fails(*job)
        workers = {worker["name"]: worker for worker in found["workers"]}
        assert not found["ok"]
        assert workers["sees"]["ok"]
        assert (workers["sees"]["threads"], workers["sees"]["memory_limit"]) == (3, 2**30)
        assert workers["worker-0"]["code"] == "file-missing"
        assert workers["worker-0"]["bytes_read"] == 0
        assert workers["lacks"]["code"] == "worker-import-failed"
        assert workers["lacks"]["cause"] == "half an installation"
        assert workers["lacks"]["differences"] == ["mrcdist missing"]
        assert workers["older"]["code"] == "worker-import-failed"
        assert workers["older"]["differences"] == ["mrcdist 0.0"]
        assert done.exit_code == 1
        assert "1 of 4 workers can read the file" in done.stdout
        assert "cannot: worker-0\n" in done.stdout
        assert "2 of scheduler and 4 workers cannot import mrcdist" in output
        assert "half an installation" in output

    def test_worker_with_other_credentials_is_reported(
        self, radosgw: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wrong = radosgw.with_secret(WRONG_SECRET)
        for name, value in radosgw.environment().items():
            monkeypatch.setenv(name, value)
        with (
            radosgw.bucket() as bucket,
            dask_cluster(
                tmp_path / "cluster", workers=1, environment=radosgw.environment()
            ) as client,
            joined_by(client, tmp_path, "wrong", {"PYTHONPATH": str(ROOT), **wrong.environment()}),
        ):
            url = bucket.put("movie.mrc", MOVIE)
            found = mrcdist_json("check-workers", url, "--scheduler", address(client), status=1)
        workers = {worker["name"]: worker for worker in found["workers"]}
        assert workers["worker-0"]["ok"]
        assert workers["worker-0"]["bytes_read"] == DATA.nbytes
        assert workers["wrong"]["code"] == "access-denied"
        assert "credentials" in workers["wrong"]["remedy"]
        assert WRONG_SECRET not in json.dumps(found)

    def test_workers_seeing_another_version_are_reported(
        self, cluster: Client, movie: Path
    ) -> None:
        plan = mrcdist.plan_mrc(movie)
        os.utime(movie, ns=(1, 1))
        report = check_workers(cluster, plan)
        assert not report.ok
        planned = plan.source.parts[0].file.version
        found = dataclasses.replace(planned, value=f"1, ctime_ns {movie.stat().st_ctime_ns}")
        assert {worker.problem for worker in report.workers} == {
            f"{movie} on this worker is {found}, but {planned} was planned"
        }

    def test_worker_whose_storage_does_not_respond_is_reported(
        self, cluster: Client, moto: S3Server
    ) -> None:
        with moto.bucket() as bucket, CountingProxy(moto) as proxy:
            url = bucket.put("movie.mrc", MOVIE)
            plan = mrcdist.plan_mrc(url, storage_options=proxy.server.storage_options())
            proxy.respond = lambda _: Fault("stall", seconds=3)
            report = check_workers(cluster, plan, patience=0.5)
        assert {worker.problem for worker in report.workers} == {
            "no answer from the storage in 0.5 s"
        }


class TestSeveralResults:
    """`mrcdist reduce`: several results in one job."""

    JOB = (
        *("--virtual", "bf=bf", "--virtual", "ring=annulus:17,11,6,9.5", "--com"),
        *("--com-detector", "circle:17,11,5", "--mean", "--max", "--std"),
    )
    EXPECTED: ClassVar = {
        "bf": virtual(ring(0, RADIUS)),
        "ring": virtual(ring(6, 9.5)),
        "com": centre_of_mass(ring(0, RADIUS)),
        "mean": DATA.mean(axis=(0, 1)),
        "max": DATA.max(axis=(0, 1)),
    }

    def check(self, folder: Path) -> None:
        for name, expected in self.EXPECTED.items():
            np.testing.assert_array_equal(np.load(folder / f"{name}.npy"), expected)
        np.testing.assert_allclose(np.load(folder / "std.npy"), DATA.std(axis=(0, 1)), rtol=1e-12)

    def test_interrupted_job_with_several_results_is_resumed(
        self, cluster: Client, movie: Path
    ) -> None:
        out = movie.parent / "results"
        out.mkdir()
        job = ["reduce", movie, *self.JOB, *SHAPE, "--out", out / "{}.npy"]
        job += ["--scheduler", address(cluster)]
        with failing_after(3, out / "bf.npy", KeyboardInterrupt()):
            assert "continue with `--resume`" in mrcdist_fails(*job, status=130)
        output = mrcdist_fails(*job, "--resume", "--sum")
        assert "results: bf VirtualImage, " in output
        summary = mrcdist_json(*job, "--resume")
        self.check(out)
        assert (summary["parts"], summary["parts_kept"]) == (N_BLOCKS, 3)
        # Each byte is read once for all results.
        assert (summary["blocks"], summary["tasks"]) == (N_BLOCKS - 3, N_BLOCKS - 3)
        assert summary["pixel_bytes"] == DATA.nbytes * (N_BLOCKS - 3) // N_BLOCKS
        assert [result["name"] for result in summary["results"]] == [*self.EXPECTED, "std"]
        assert summary["results"][0]["outputs"] == [str(out / "bf.npy")]
        assert sorted(path.name for path in out.iterdir()) == sorted(
            f"{name}.npy" for name in (*self.EXPECTED, "std")
        )

    def test_each_result_has_its_own_files(self, cluster: Client, movie: Path) -> None:
        outputs = ["--out", movie.parent / "{}.npy", "--out", movie.parent / "{}.mrc"]
        done = CliRunner().invoke(
            main,
            [str(word) for word in (
                "reduce", movie, *self.JOB, *SHAPE, *outputs, "--scheduler", address(cluster)
            )],
            catch_exceptions=False,
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        self.check(movie.parent)
        for name in (*self.EXPECTED, "std"):
            assert f"  written   {movie.parent / name}.mrc" in done.stdout
        assert "6 results in one pass" in done.stdout

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((), "no results are requested"),
            (("--virtual", "circle:1,2,3"), "letters, digits"),
            (("--virtual", "../bf=bf"), "letters, digits"),
            (("--virtual", "mean=bf", "--mean"), "two results are called mean"),
            (("--virtual", "a=circle:17,11,5", "--radius", "3"), "--radius 3"),
        ],
    )
    def test_invalid_results_are_refused_before_anything_is_read(
        self, movie: Path, arguments: tuple[str, ...], message: str
    ) -> None:
        out = ["--out", movie.parent / "{}.npy", "--scheduler", "tcp://127.0.0.1:9"]
        assert message in mrcdist_fails("reduce", movie, *arguments, *SHAPE, *out)

    def test_several_results_are_not_written_to_one_file(self, movie: Path) -> None:
        output = mrcdist_fails(
            "reduce", movie, "--mean", "--max", *SHAPE, "--out", movie.parent / "a.npy",
            "--scheduler", "tcp://127.0.0.1:9",
        )  # fmt: skip
        assert "2 results would be written to one file" in output
        assert 'put {} in its name: --out "{}.npy"' in output
