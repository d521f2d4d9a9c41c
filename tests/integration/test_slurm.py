"""Scripts of `deploy/slurm`, run with a real Slurm of two nodes and a real S3 gateway.

The scripts are unchanged; resources that fit this machine are requested on the command line.
Credentials and endpoint are in the environment, which sbatch passes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import yaml

from tests.support.gate import Gate, gate
from tests.support.jobs import mrcdist_fails
from tests.support.mrc_files import mrc_bytes, write_mrc
from tests.support.processes import ROOT, Processes
from tests.support.s3 import Bucket, S3Server
from tests.support.slurm import NODES, Slurm, slurm_cluster

SCRIPTS = ROOT / "deploy" / "slurm"

SCAN, FRAME = (32, 32), (32, 48)
CIRCLE = (15.5, 20.0, 9.0)
# Each chunk, task and part has two rows of the scan.
COMMAND = ("--navigation-shape", "32,32", "--chunks", "2,-1,-1,-1")
DETECTOR = ("--detector", "circle:15.5,20,9")
SMALL = ("--cpus-per-task=2", "--mem-per-cpu=800M", "--time=30")


def movie_data(seed: int) -> np.ndarray[Any, Any]:
    numbers = np.random.default_rng(seed)
    return numbers.integers(0, 60_000, (*SCAN, *FRAME), dtype="uint16")


def virtual_image(data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the sum over the detector, computed with numpy."""
    y, x = np.ogrid[: FRAME[0], : FRAME[1]]
    inside = (y - CIRCLE[0]) ** 2 + (x - CIRCLE[1]) ** 2 <= CIRCLE[2] ** 2
    return data[..., inside].sum(axis=-1, dtype="uint64")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(autouse=True)
def _empty_queue(slurm: Slurm) -> Iterator[None]:
    yield
    slurm.clear()


@dataclass(frozen=True)
class Movies:
    """Movies on S3 behind a gate, and the environment that a job needs to read them."""

    gate: Gate
    bucket: Bucket
    environment: Mapping[str, str]
    bytes: int

    def put(self, name: str, seed: int) -> str:
        return self.bucket.put(name, mrc_bytes(movie_data(seed).reshape(-1, *FRAME)))


@pytest.fixture
def movies(radosgw: S3Server, tmp_path: Path) -> Iterator[Movies]:
    address = urlsplit(radosgw.endpoint)
    with (
        radosgw.bucket() as bucket,
        gate((str(address.hostname), int(address.port or 0))) as door,
    ):
        reached = radosgw.reached_at("http://{}:{}".format(*door.address))
        variables = {"INTERFACE": "lo", "LOCAL_SCRATCH": str(tmp_path)}
        yield Movies(door, bucket, {**reached.environment(), **variables}, movie_data(0).nbytes)


@contextmanager
def held_back(movies: Movies) -> Iterator[None]:
    """Serve only the first 40 % of the file until the block ends."""
    movies.gate.shut_after(int(0.4 * movies.bytes))
    try:
        yield
    finally:
        movies.gate.open()


def output(folder: Path, job: str) -> str:
    [file] = folder.glob(f"*-{job}.out")
    return file.read_text("utf-8", errors="replace")


def counts_in(printed: str) -> tuple[int, int, int]:
    """Return the numbers of workers that read, of parts, and of parts from an earlier run."""
    workers = re.search(r"on (\d+) workers", printed)
    parts = re.search(r"(\d+) parts(?:, (\d+) of an earlier run)?$", printed, re.MULTILINE)
    assert workers, printed
    assert parts, printed
    return int(workers[1]), int(parts[1]), int(parts[2] or 0)


def submit(slurm: Slurm, movies: Movies, folder: Path, *words: str | Path) -> str:
    return slurm.submit(*SMALL, *words, environment=movies.environment, working_folder=folder)


# mrcdist.sbatch


def test_job_computes_on_two_nodes(slurm: Slurm, movies: Movies, tmp_path: Path) -> None:
    url = movies.put("movie.mrc", seed=1)
    command = ("virtual", url, *DETECTOR, *COMMAND, "--out", "image.npy")
    job = submit(slurm, movies, tmp_path, SCRIPTS / "mrcdist.sbatch", *command)

    assert slurm.wait(job) == ("COMPLETED", 0), output(tmp_path, job)
    assert counts_in(output(tmp_path, job)) == (len(NODES), 16, 0)
    np.testing.assert_array_equal(np.load(tmp_path / "image.npy"), virtual_image(movie_data(1)))
    # The summary is last; closed connections are not mentioned.
    assert "16 parts" in output(tmp_path, job).splitlines()[-1]
    log = (tmp_path / f"dask-{job}.log").read_text("utf-8")
    for trouble in ("CommClosedError", "Traceback", "died", "Killed"):
        assert trouble not in output(tmp_path, job) + log
    # Neither the address of the scheduler nor an unfinished result is left behind.
    names = sorted(path.name for path in tmp_path.glob("*.*"))
    assert names == [f"dask-{job}.log", "image.npy", f"mrcdist-{job}.out"]
    assert movies.bucket.server.secret not in output(tmp_path, job)


def test_job_stops_cleanly_near_its_walltime_and_is_resumed(
    slurm: Slurm, movies: Movies, tmp_path: Path
) -> None:
    url = movies.put("movie.mrc", seed=2)
    command = ("virtual", url, *DETECTOR, *COMMAND, "--out", "image.npy")
    words = (SCRIPTS / "mrcdist.sbatch", *command)
    parts = tmp_path / "image.npy.partial"
    with held_back(movies):
        job = submit(slurm, movies, tmp_path, *words)
        slurm.wait_until(
            lambda: (
                slurm.outcome(job)[0] in ("FAILED", "COMPLETED")
                or (movies.gate.is_shut and any(parts.glob("part-*.npz")))
            ),
            "the pause in the file",
        )
        assert slurm.outcome(job)[0] == "RUNNING", output(tmp_path, job)
        # The signal that the scripts request with --signal=B:TERM@300.
        slurm.run("scancel", "--batch", "--signal=TERM", job)
        slurm.wait_until(
            lambda: "submit the same command again" in output(tmp_path, job), "the advice"
        )
    assert slurm.wait(job) == ("FAILED", 143)
    finished = len(list(parts.glob("part-*.npz")))
    assert 0 < finished < 16
    assert not (tmp_path / "image.npy").exists()

    resumed = submit(slurm, movies, tmp_path, *words)
    assert slurm.wait(resumed) == ("COMPLETED", 0), output(tmp_path, resumed)
    assert counts_in(output(tmp_path, resumed))[1:] == (16, finished)
    np.testing.assert_array_equal(np.load(tmp_path / "image.npy"), virtual_image(movie_data(2)))
    assert not parts.exists()


def test_job_fails_with_the_status_of_the_program(
    slurm: Slurm, movies: Movies, tmp_path: Path
) -> None:
    missing = movies.bucket.url("missing.mrc")
    command = ("mean", missing, "--out", "mean.npy")
    job = submit(slurm, movies, tmp_path, SCRIPTS / "mrcdist.sbatch", *command)
    assert slurm.wait(job) == ("FAILED", 1)
    assert "missing.mrc" in output(tmp_path, job)


def test_job_fails_if_its_workers_cannot_start(
    slurm: Slurm, movies: Movies, tmp_path: Path
) -> None:
    url = movies.put("movie.mrc", seed=3)
    command = ("mean", url, "--out", "mean.npy")
    environment = {**movies.environment, "LOCAL_SCRATCH": "/proc/no-such-disk"}
    job = slurm.submit(
        *SMALL,
        SCRIPTS / "mrcdist.sbatch",
        *command,
        environment=environment,
        working_folder=tmp_path,
    )
    assert slurm.wait(job) == ("FAILED", 1)
    assert "all workers have ended" in output(tmp_path, job)


# mrcdist-array.sbatch


def test_job_array_computes_several_acquisitions(
    slurm: Slurm, movies: Movies, tmp_path: Path
) -> None:
    seeds = (4, 5)
    urls = [movies.put(f"day-{seed}/movie.mrc", seed) for seed in seeds]
    (tmp_path / "movies.txt").write_text("".join(f"{url}\n" for url in urls))
    script = SCRIPTS / "mrcdist-array.sbatch"
    words = ("movies.txt", "results", "virtual", *DETECTOR, *COMMAND)
    # One task more than the list has lines.
    job = submit(slurm, movies, tmp_path, "--array=1-3%2", script, *words)

    assert [slurm.wait(f"{job}_{task}") for task in (1, 2, 3)] == [
        ("COMPLETED", 0),
        ("COMPLETED", 0),
        ("FAILED", 2),
    ], "\n".join(path.read_text() for path in tmp_path.glob("*.out"))
    # Movies with the same name in two folders have separate results.
    for number, seed in enumerate(seeds, start=1):
        image = np.load(tmp_path / "results" / f"{number:04}_movie.npy")
        np.testing.assert_array_equal(image, virtual_image(movie_data(seed)))


# jobqueue.yaml


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Return a copy of jobqueue.yaml with resources that fit this machine."""
    config = yaml.safe_load((SCRIPTS / "jobqueue.yaml").read_text("utf-8"))
    small = {"cores": 1, "processes": 1, "memory": "1 GiB", "job-mem": "1G", "interface": "lo"}
    places = {"local-directory": str(tmp_path), "log-directory": str(tmp_path / "logs")}
    config["jobqueue"]["slurm"].update({**small, **places, "walltime": "00:30:00"})
    config["jobs"] = {"minimum": 1, "maximum": 2}
    file = tmp_path / "jobqueue.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


def test_cancelled_worker_job_is_replaced(
    slurm: Slurm, movies: Movies, settings: Path, tmp_path: Path
) -> None:
    pytest.importorskip("dask_jobqueue")
    url = movies.put("movie.mrc", seed=6)
    command = ["mrcdist", "virtual", url, *DETECTOR, *COMMAND, "--out", "image.npy"]
    environment = {**slurm.environment, **movies.environment}

    def running() -> list[str]:
        states = slurm.states("mrcdist-worker").items()
        return sorted(job for job, state in states if state == "RUNNING")

    with Processes(tmp_path, grace=10) as processes:
        with held_back(movies):
            processes.start("client", [*command, "--jobqueue", settings], environment=environment)
            processes.wait_until(lambda: movies.gate.is_shut, "the pause in the file")
            cancelled = running()[0]
            slurm.run("scancel", cancelled)
            slurm.wait_until(lambda: cancelled not in running(), "the job's end")
        client = processes.running["client"]
        assert client.wait(120) == 0, processes.logs()
        printed = processes.logs()

    assert slurm.outcome(cancelled)[0] == "CANCELLED"
    assert counts_in(printed)[1:] == (16, 0)
    np.testing.assert_array_equal(np.load(tmp_path / "image.npy"), virtual_image(movie_data(6)))
    # The program cancels the jobs that it submitted.
    slurm.wait_until(lambda: not slurm.states("mrcdist-worker"), "an empty queue")


@pytest.mark.parametrize(
    ("job", "error", "cause"),
    [
        ({"queue": "nowhere"}, "slurm refused the job of a worker", "invalid partition specified"),
        (
            {"job-extra-directives": ["--hold"]},
            "the jobs of the workers will never start",
            "JobHeldUser",
        ),
        (
            {"job-script-prologue": ["echo no such module >&2; exit 1"]},
            "the jobs of the workers ended before a worker connected",
            "no such module",
        ),
    ],
    ids=["refused", "held", "ended"],
)
def test_error_says_why_jobs_cannot_start_workers(
    slurm: Slurm,
    settings: Path,
    monkeypatch: pytest.MonkeyPatch,
    job: dict[str, Any],
    error: str,
    cause: str,
) -> None:
    pytest.importorskip("dask_jobqueue")
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, slurm.environment[name])
    config = yaml.safe_load(settings.read_text(encoding="utf-8"))
    config["jobqueue"]["slurm"].update(job)
    settings.write_text(yaml.safe_dump(config), encoding="utf-8")
    file = write_mrc(settings.with_name("movie.mrc"), movie_data(8).reshape(-1, *FRAME))
    out = file.with_name("mean.npy")
    output = mrcdist_fails("mean", file, *COMMAND, "--out", out, "--jobqueue", settings)
    assert [line for line in output.splitlines() if line.startswith("error")] == [f"error: {error}"]
    assert cause in output
    assert "Traceback" not in output
    assert not out.with_name("mean.npy.partial").exists()
    slurm.wait_until(lambda: not slurm.states("mrcdist-worker"), "an empty queue")


def test_notebook_script_starts_workers_as_jobs(
    slurm: Slurm, movies: Movies, settings: Path, tmp_path: Path
) -> None:
    pytest.importorskip("dask_jobqueue")
    url = movies.put("movie.mrc", seed=7)
    (tmp_path / "notebook.py").write_text((SCRIPTS / "jobqueue_notebook.py").read_text("utf-8"))
    words = ("python", "notebook.py", url, "mean.npy")
    slurm.run(*words, environment=movies.environment, working_folder=tmp_path)
    # Float sums in another order than numpy's differ by rounding.
    np.testing.assert_allclose(
        np.load(tmp_path / "mean.npy"), movie_data(7).mean(axis=(0, 1)), rtol=1e-12
    )


# All of them


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.sbatch")), ids=lambda path: path.name)
def test_slurm_accepts_the_resources_of_each_script(slurm: Slurm, path: Path) -> None:
    accepted = slurm.attempt("sbatch", "--test-only", path)
    assert accepted.returncode == 0, accepted.stdout
    assert "to start at" in accepted.stdout
    refused = slurm.attempt("sbatch", "--test-only", "--cpus-per-task=17", path)
    assert refused.returncode != 0
