"""Workers on separate hosts, which share only the network with the client, give exact results.

Client, scheduler, workers and the S3 server each have a network namespace. Workers cannot see the
client's folder. Failures are caused while the server holds back the second part of the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from tests.support.gate import Gate, gate
from tests.support.hosts import Host, isolated_hosts
from tests.support.mrc_files import mrc_bytes
from tests.support.processes import ROOT, Processes
from tests.support.programs import install_programs
from tests.support.s3 import S3Server

WORKERS = ("worker1", "worker2", "worker3")
SCAN, FRAME = (24, 16), (32, 32)
# Lost hosts are noticed sooner than by default. 11 s is the shortest timeout that dask accepts.
SHORT_TIMEOUTS = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "15s",
}


@dataclass(frozen=True)
class Site:
    """Hosts with a running scheduler and workers, and a movie in an S3 server's bucket."""

    hosts: Mapping[str, Host]
    processes: Processes
    gate: Gate
    url: str
    data: np.ndarray[Any, Any]
    folder: Path  # visible to the client only
    environment: Mapping[str, str]

    def start_client(self, *words: str) -> None:
        """Run `mrcdist` on the client's host, in the client's folder."""
        scheduler = f"tcp://{self.hosts['scheduler'].address}:8786"
        command = ["mrcdist", *words, "--scheduler", scheduler]
        self.processes.start(
            "client",
            self.hosts["client"].command(*command),
            environment=self.environment,
            working_folder=self.folder,
        )

    def wait_for_client(self, timeout: float = 180) -> tuple[int, str]:
        """Return the exit status and the output of the program."""
        status = self.processes.running["client"].wait(timeout)
        return status, (self.processes.folder / "client.out").read_text("utf-8")

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Hold back the file after its first 40% until the end of the block."""
        self.gate.shut_after(int(0.4 * self.data.nbytes))
        try:
            yield
        finally:
            self.gate.open()


@pytest.fixture
def timeouts() -> Mapping[str, str]:
    return SHORT_TIMEOUTS


@pytest.fixture
def site(radosgw: S3Server, tmp_path: Path, timeouts: Mapping[str, str]) -> Iterator[Site]:
    folder, logs = tmp_path / "of-the-client", tmp_path / "logs"
    folder.mkdir()
    data = np.random.default_rng(9).integers(0, 60_000, (*SCAN, *FRAME), dtype="uint16")
    address = urlsplit(radosgw.endpoint)
    with (
        isolated_hosts("client", "scheduler", "s3", *WORKERS) as hosts,
        gate(
            (str(address.hostname), int(address.port or 0)),
            address=hosts["s3"].address,
            namespace=hosts["s3"].namespace,
        ) as door,
        radosgw.bucket() as bucket,
        Processes(logs) as processes,
    ):
        movie = mrc_bytes(data.reshape(-1, *FRAME))
        (folder / "movie.mrc").write_bytes(movie)
        url = bucket.put("movie.mrc", movie)
        reached = radosgw.reached_at(f"http://s3:{door.address[1]}")
        programs = install_programs(tmp_path / "bin")
        environment = {
            **reached.environment(),
            **timeouts,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }
        start_cluster(processes, hosts, folder, environment)
        yield Site(hosts, processes, door, url, data, folder, environment)


def start_cluster(
    processes: Processes,
    hosts: Mapping[str, Host],
    hidden: Path,
    environment: Mapping[str, str],
) -> None:
    served = ["--dashboard-address", "0", "--no-dashboard"]
    scheduler = ["dask", "scheduler", "--port", "8786", *served]
    processes.start("scheduler", hosts["scheduler"].command(*scheduler), environment=environment)
    for name in WORKERS:
        own = processes.folder / f"{name}-scratch"
        own.mkdir()
        worker = ["dask", "worker", "tcp://scheduler:8786", "--name", name, *served, "--nthreads"]
        worker += ["1", "--no-nanny", "--death-timeout", "60", "--local-directory", str(own)]
        processes.start(
            name, hosts[name].command(*worker, hidden=[hidden]), environment=environment
        )
    log = processes.folder / "scheduler.out"
    processes.wait_until(
        lambda: len(re.findall("Register worker", log.read_text("utf-8"))) == len(WORKERS),
        "all workers",
    )


CONVERTED = ("--chunks", "12,-1,-1")  # blocks of 1.5 MiB
COMMAND = ("--navigation-shape", "16,24", "--chunks", "1,-1,-1,-1")


def test_error_for_a_file_visible_to_the_client_only_suggests_a_shared_path(
    site: Site,
) -> None:
    """The other tests of this module are meaningless unless the hosts are isolated."""
    worker = site.hosts[WORKERS[0]]
    assert worker.run("ls", "-A", site.folder, hidden=[site.folder]) == ""
    assert site.hosts["client"].run("ls", "-A", site.folder) == "movie.mrc\n"

    site.start_client("mean", "movie.mrc", "--out", "mean.npy")
    status, printed = site.wait_for_client()
    assert status == 1
    assert "movie.mrc was not found by this process" in printed
    assert "that the file is where every worker can read it" in printed
    assert not (site.folder / "mean.npy").exists()


def test_mean_is_exact_although_a_worker_is_killed(site: Site) -> None:
    with site.held_back():
        site.start_client("mean", site.url, *COMMAND, "--out", "mean.npy")
        site.processes.wait_until(lambda: site.gate.is_shut, "the pause in the file")
        killed = site.processes.running.pop(WORKERS[0])
        killed.kill()
        killed.wait()
    assert_exact(site, *site.wait_for_client())


def test_mean_is_exact_although_a_worker_is_disconnected(site: Site) -> None:
    with site.held_back():
        site.start_client("mean", site.url, *COMMAND, "--out", "mean.npy")
        site.processes.wait_until(lambda: site.gate.is_shut, "the pause in the file")
        site.hosts[WORKERS[1]].cut()
    assert_exact(site, *site.wait_for_client())


@pytest.mark.parametrize("timeouts", [{}], ids=["default timeouts"])  # no host is lost
def test_workers_on_several_hosts_write_one_file_in_a_shared_folder(
    site: Site, radosgw: S3Server, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    data = np.random.default_rng(8).integers(0, 60_000, (48, 256, 256), dtype="uint16")
    url = radosgw.put(f"{site.url.split('/')[2]}/large.mrc", mrc_bytes(data))
    site = replace(site, url=url, data=data)
    site.start_client("convert", site.url, str(shared / "copy.mrc"), *CONVERTED)
    status, printed = site.wait_for_client()
    assert status == 0, printed + site.processes.logs()
    assert [each.name for each in shared.iterdir()] == ["copy.mrc"]
    written = np.fromfile(shared / "copy.mrc", "<u2", offset=1024)
    np.testing.assert_array_equal(written, site.data.ravel())
    assert site.environment["AWS_SECRET_ACCESS_KEY"] not in printed


def assert_exact(site: Site, status: int, printed: str) -> None:
    assert status == 0, printed + site.processes.logs()
    # A mean of integers is the nearest float64 to the exact quotient.
    expected = site.data.sum(axis=(0, 1), dtype="uint64") / (SCAN[0] * SCAN[1])
    np.testing.assert_array_equal(np.load(site.folder / "mean.npy"), expected)
    assert site.environment["AWS_SECRET_ACCESS_KEY"] not in printed
