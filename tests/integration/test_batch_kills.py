"""Batch jobs that are killed or lose their scheduler: messages and finished parts."""

from __future__ import annotations

import errno
import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
from distributed import Client

from mrcdist.batch.clusters import ClusterOptions, connect, require_mrcdist
from mrcdist.batch.lost_scheduler import scheduler_watched
from mrcdist.batch.run_job import computing
from mrcdist.errors import MrcdistError, ReadError, WriteError
from tests.support.gate import Gate, gate
from tests.support.jobs import (
    DATA,
    FRAME,
    MOVIE,
    RADIUS,
    SHAPE,
    address,
    failing_after,
    mrcdist_fails,
    parts_in,
    ring,
    start_command,
    virtual,
)
from tests.support.mrc_files import write_mrc
from tests.support.processes import Processes, free_port
from tests.support.serving import file_server
from tests.support.warm import WarmCommands, warm_commands

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
JOBS = {
    "virtual": (["virtual", "--detector", "bf"], virtual(ring(0, RADIUS))),
    "mean": (["mean"], DATA.mean(axis=(0, 1))),
}

# Calls of a job to its cluster.
CALLS: dict[str, Callable[[Client], object]] = {
    "nthreads": Client.nthreads,
    "run": lambda client: client.run(os.getpid),
    "run_on_scheduler": lambda client: client.run_on_scheduler(os.getpid),
    "submit": lambda client: client.submit(os.getpid).result(),
    "gather": lambda client: client.gather(client.map(str, range(3))),
    "require_mrcdist": require_mrcdist,
}


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    return write_mrc(tmp_path / "movie.mrc", DATA.reshape(-1, *FRAME))


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmCommands]:
    with warm_commands(tmp_path_factory.mktemp("warm")) as running:
        yield running


@pytest.fixture
def held() -> Iterator[tuple[Gate, str]]:
    """A gate that lets only 40 % of a movie through, and the URL of the movie."""
    with (
        file_server(MOVIE) as url,
        gate(("127.0.0.1", int(urlsplit(url).port or 0))) as door,
    ):
        door.shut_after(int(0.4 * len(MOVIE)))
        yield door, "http://{}:{}/movie.mrc".format(*door.address)


def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():  # until the timeout of pytest
        time.sleep(0.02)


@contextmanager
def scheduler(commands: WarmCommands, folder: Path) -> Iterator[tuple[int, ClusterOptions]]:
    """A scheduler without workers: its pid and the options to connect to it."""
    port = str(free_port())
    arguments = ["scheduler", "--port", port, "--host", "127.0.0.1", "--no-dashboard"]
    with commands.started(arguments, folder / "log", "dask") as pid:
        yield pid, ClusterOptions(scheduler=f"tcp://127.0.0.1:{port}")


class TestKilled:
    """A job killed at any time can be resumed or restarted, or has finished."""

    @pytest.mark.parametrize("kind", JOBS)
    @pytest.mark.parametrize("seed", range(2))
    def test_job_killed_at_random_times_is_resumed(
        self, cluster: Client, commands: WarmCommands, movie: Path, kind: str, seed: int
    ) -> None:
        self.kill_and_resume(cluster, commands, movie, kind, random.Random(f"{kind} {seed}"))

    @pytest.mark.slow
    @pytest.mark.timeout(3000)
    @pytest.mark.parametrize("kind", JOBS)
    def test_job_killed_at_random_times_is_resumed_a_hundred_times(
        self, cluster: Client, commands: WarmCommands, movie: Path, kind: str
    ) -> None:
        for seed in range(100):
            chosen = random.Random(f"{kind} {seed}, slow")
            self.kill_and_resume(cluster, commands, movie, kind, chosen)
            movie.with_name("out.npy").unlink()

    def kill_and_resume(
        self,
        cluster: Client,
        commands: WarmCommands,
        movie: Path,
        kind: str,
        chosen: random.Random,
    ) -> None:
        (command, expected), out, log = JOBS[kind], movie.with_name("out.npy"), movie.parent / "log"
        job = [*command, movie, *SHAPE, "--scheduler", address(cluster), "--out"]
        began = time.monotonic()
        assert commands.wait(commands.start([*job, movie.with_name("whole.npy")], log)) == 0
        movie.with_name("whole.npy").unlink()
        takes = time.monotonic() - began

        for kill in range(4):
            before = parts_in(out)
            pid = commands.start([*job, out, *["--resume"] * (kill > 0)], log)
            number = chosen.choice(SIGNALS)
            time.sleep(chosen.uniform(0, 1.1) * takes)
            os.kill(pid, number)
            status, output = commands.wait(pid), log.read_text()
            assert "Traceback" not in output, output
            parts = parts_in(out)
            if status == 0 or (status == 1 and "exists" in output):
                break  # the job had finished
            assert status in (-number, 128 + number), (number, status, output)
            kept = re.search(r"(\d+) of 24 parts are finished and kept in .*; continue", output)
            if kept or (number != signal.SIGKILL and parts > before):
                assert int(kept[1] if kept else 0) == len(parts), output
        status = commands.wait(commands.start([*job, out, "--resume"], log))
        assert status == 0 or (status == 1 and "exists" in log.read_text()), log.read_text()
        np.testing.assert_array_equal(np.load(out), expected)
        names = {path.name for path in movie.parent.iterdir()}
        assert names <= {"movie.mrc", "log", "out.npy", ".out.npy.lock"}


class TestLostScheduler:
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_job_that_loses_its_scheduler_ends_with_one_error(
        self,
        commands: WarmCommands,
        held: tuple[Gate, str],
        tmp_path: Path,
        number: signal.Signals,
    ) -> None:
        door, url = held
        out, log = tmp_path / "mean.npy", tmp_path / "log"
        scheduler = f"tcp://127.0.0.1:{free_port()}"
        place = ["--host", "127.0.0.1", "--no-dashboard"]
        programs = {
            "scheduler": ["scheduler", "--port", scheduler.rpartition(":")[2], *place],
            "worker": ["worker", scheduler, *place, "--no-nanny", "--nthreads", "2"],
        }
        with ExitStack() as stack:
            pids = {
                name: stack.enter_context(commands.started(program, tmp_path / name, "dask"))
                for name, program in programs.items()
            }
            pid = commands.start(["mean", url, *SHAPE, "--out", out, "--scheduler", scheduler], log)
            wait_until(lambda: bool(door.is_shut and parts_in(out)))
            os.kill(pids["scheduler"], number)
            status, output = commands.wait(pid), log.read_text()
        assert status == 1, output
        assert "Traceback" not in output
        assert "CommClosedError" not in output
        error = output[output.index("error: ") :]
        assert error.startswith("error: the scheduler is gone, and the job with it\n  cause: ")
        assert output.count("error: ") == 1
        assert f"{len(parts_in(out))} of 24 parts are finished and kept in {out}.partial" in error

    @pytest.mark.parametrize("call", CALLS)
    def test_error_of_any_call_says_that_the_scheduler_is_lost(
        self, commands: WarmCommands, tmp_path: Path, call: str
    ) -> None:
        def work(pid: int, where: ClusterOptions) -> None:
            with connect(where, log=print, min_workers=0) as cluster:
                os.kill(pid, signal.SIGKILL)
                CALLS[call](cluster.client)

        with scheduler(commands, tmp_path) as running, pytest.raises(MrcdistError) as error:
            work(*running)
        assert error.value.code == "scheduler-dropped-job"

    def test_loss_of_the_scheduler_while_waiting_for_workers_is_reported(
        self, commands: WarmCommands, tmp_path: Path
    ) -> None:
        def wait(pid: int, where: ClusterOptions) -> None:
            with connect(where, log=lambda _: os.kill(pid, signal.SIGKILL)):
                pass

        with scheduler(commands, tmp_path) as running, pytest.raises(MrcdistError) as error:
            wait(*running)
        assert error.value.code == "scheduler-dropped-job"

    def test_os_error_unrelated_to_the_scheduler_is_unchanged(
        self, commands: WarmCommands, tmp_path: Path
    ) -> None:
        def read(where: ClusterOptions) -> None:
            with connect(where, log=print, min_workers=0):
                (tmp_path / "nowhere").read_bytes()

        with scheduler(commands, tmp_path) as (_, where), pytest.raises(FileNotFoundError):
            read(where)

    @pytest.mark.parametrize(
        ("busy", "error"),
        [
            (True, WriteError("mean.npy cannot be written", code="disk-full")),
            (True, ReadError("movie.mrc cannot be read")),
            (True, TimeoutError(errno.ETIMEDOUT, "Connection timed out", "/nfs/mean.npy")),
            (False, TimeoutError(errno.ETIMEDOUT, "Connection timed out")),
        ],
        ids=["disk full", "unreadable", "NFS", "NFS, open file"],
    )
    def test_busy_scheduler_is_not_considered_lost(
        self, commands: WarmCommands, tmp_path: Path, busy: bool, error: Exception
    ) -> None:
        """Another error occurs while it does not respond, for example because of a large graph."""
        with scheduler(commands, tmp_path) as (pid, where), Client(where.scheduler) as client:
            os.kill(pid, signal.SIGSTOP if busy else signal.SIGCONT)
            try:
                with pytest.raises(type(error)) as raised, scheduler_watched(client, "try again"):
                    raise error
            finally:
                os.kill(pid, signal.SIGCONT)
        assert raised.value is error

    def test_remedy_for_a_lost_scheduler_has_the_resume_hint(
        self, commands: WarmCommands, tmp_path: Path
    ) -> None:
        def check(pid: int, where: ClusterOptions) -> None:
            with connect(where, log=print, min_workers=0, resume_hint="start it") as cluster:
                os.kill(pid, signal.SIGKILL)
                cluster.client.nthreads()

        def compute(pid: int, where: ClusterOptions) -> None:
            def killed(_: str) -> None:
                os.kill(pid, signal.SIGKILL)

            with computing(where, killed, "call again, with `resume=True`"):
                pass

        for call, remedy in ((check, "then start it"), (compute, "then call again, with `resume=")):
            with scheduler(commands, tmp_path) as running, pytest.raises(MrcdistError) as error:
                call(*running)
            assert remedy in error.value.remedy


class TestInterruptFromTheTerminal:
    """Ctrl-C reaches all processes of the group, the program and its workers."""

    def test_last_line_after_ctrl_c_states_how_many_parts_are_kept(
        self, commands: WarmCommands, held: tuple[Gate, str], tmp_path: Path
    ) -> None:
        door, url = held
        out, log = tmp_path / "mean.npy", tmp_path / "log"
        job = ["mean", url, *SHAPE, "--out", out, "--workers", "2", "--threads", "1"]
        pid = commands.start(job, log)
        wait_until(lambda: bool(door.is_shut and parts_in(out)))
        os.killpg(pid, signal.SIGINT)
        status, output = commands.wait(pid), log.read_text()
        assert status == 128 + signal.SIGINT
        assert "Traceback" not in output
        assert output.count("KeyboardInterrupt") == 0
        *_, last = output.splitlines()
        kept = len(parts_in(out))
        assert kept > 0
        assert last == (
            f"interrupted; {kept} of 24 parts are finished and kept in {out}.partial; "
            "continue with `--resume`"
        )

    def test_workers_that_are_starting_end_with_the_interrupted_program(
        self, held: tuple[Gate, str], tmp_path: Path
    ) -> None:
        _, url = held  # the job must not finish before it is interrupted
        with Processes(tmp_path / "logs") as processes:
            job = ["mean", url, *SHAPE, "--out", tmp_path / "mean.npy", "--workers", "1"]
            ended = start_command(processes, *job)
            [(_, process)] = processes.running.items()
            family = psutil.Process(process.pid)
            # The first child is a helper process of Python's multiprocessing.
            wait_until(lambda: len(family.children()) > 1)
            workers = family.children()
            process.send_signal(signal.SIGINT)
            assert ended() == (128 + signal.SIGINT, "\ninterrupted; nothing is kept\n")
        _, alive = psutil.wait_procs(workers, timeout=10)
        assert not alive

    def test_ctrl_c_before_the_first_part_does_not_suggest_resuming(
        self, cluster: Client, commands: WarmCommands, tmp_path: Path
    ) -> None:
        with (
            file_server(MOVIE) as url,
            gate(("127.0.0.1", int(urlsplit(url).port or 0))) as door,
        ):
            door.shut_after(4096)
            out, log = tmp_path / "mean.npy", tmp_path / "log"
            job = ["mean", "http://{}:{}/movie.mrc".format(*door.address), *SHAPE, "--out", out]
            pid = commands.start([*job, "--scheduler", address(cluster)], log)
            wait_until(lambda: door.is_shut)
            os.kill(pid, signal.SIGINT)
            assert commands.wait(pid) == 128 + signal.SIGINT
        assert log.read_text().splitlines()[-1] == "interrupted; nothing is kept"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["log"]


def test_error_of_a_failed_job_is_followed_by_the_number_of_kept_parts(
    cluster: Client, movie: Path
) -> None:
    out = movie.with_name("mean.npy")
    with failing_after(2, out, MrcdistError("something is wrong")):
        output = mrcdist_fails("mean", movie, *SHAPE, "--out", out, "--scheduler", address(cluster))
    assert output.endswith(
        "error: something is wrong\n  code: failed\n"
        f"2 of 24 parts are finished and kept in {out}.partial; continue with `--resume`\n"
    )
