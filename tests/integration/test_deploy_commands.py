"""Commands of pods and compose services run as processes, on hosts with the names they use.

No container is built and no Kubernetes cluster is used. Command lines and variables are derived
from the manifests as the kubelet and compose do it, with the code of the operator.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import yaml

from mrcdist.testing.acquisition import write_acquisition
from tests.support.gate import gate
from tests.support.hosts import Host, isolated_hosts
from tests.support.processes import ROOT, Processes
from tests.support.programs import install_programs
from tests.support.s3 import S3Server

DEPLOY = ROOT / "deploy"

_FETCH = "import sys, urllib.request as u; sys.stdout.write(u.urlopen(sys.argv[1]).read().decode())"


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """Environment variables of the image, which lead to its programs only."""
    programs = install_programs(tmp_path / "bin")
    return {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path / "logs") as running:
        yield running


def run_client(processes: Processes, command: list[str], environment: Mapping[str, str]) -> str:
    processes.start("client", command, environment=environment)
    status = processes.running["client"].wait(180)
    assert status == 0, processes.logs()
    return (processes.folder / "client.out").read_text("utf-8")


def test_pods_of_the_kubernetes_manifests_compute_an_exact_image(
    radosgw: S3Server, tmp_path: Path, variables: dict[str, str], processes: Processes
) -> None:
    """The operator turns the DaskCluster into deployments and a service; the Job is the client."""
    from tests.support import manifests

    [cluster] = manifests.load_manifests(DEPLOY / "kubernetes" / "cluster.yaml")
    [secret] = manifests.load_manifests(DEPLOY / "kubernetes" / "secret.yaml")
    _, job = manifests.load_manifests(DEPLOY / "kubernetes" / "job.yaml")
    scheduler, service, *workers = manifests.operator_objects(cluster, workers=2)
    name = service["metadata"]["name"]
    pods = {"scheduler": scheduler, "worker0": workers[0], "worker1": workers[1]}
    aliases = {name: "scheduler", f"{name}.default.svc.cluster.local": "scheduler"}
    address = urlsplit(radosgw.endpoint)
    with (
        isolated_hosts(*pods, "client", "s3", aliases=aliases) as hosts,
        gate(
            (str(address.hostname), int(address.port or 0)),
            address=hosts["s3"].address,
            namespace=hosts["s3"].namespace,
        ) as door,
        radosgw.bucket() as bucket,
        processes,
    ):
        acquisition = write_acquisition(tmp_path, scan_shape=(16, 12), frame_shape=(32, 32))
        for path in acquisition.files:
            bucket.put(path.name, path.read_bytes())
        credentials = radosgw.reached_at(f"http://s3:{door.address[1]}").environment()
        assert set(secret["stringData"]) == set(credentials)
        secrets = {secret["metadata"]["name"]: credentials}

        def start(pod: str, manifest: dict[str, Any]) -> list[dict[str, Any]]:
            containers = manifests.containers(manifest)
            for container in containers:
                words, environment = manifests.command_of(container, secrets)
                words, environment = on_this_machine(words, environment, tmp_path / pod)
                command = hosts[pod].command(*words)
                processes.start(pod, command, environment={**variables, **environment})
            return containers

        for pod, manifest in pods.items():
            for container in start(pod, manifest):
                for kind in ("readinessProbe", "livenessProbe"):
                    url = probe_url(hosts[pod], container, kind)
                    processes.wait_until(lambda url=url: responds(hosts["client"], url), url)
        # The service forwards to ports of the scheduler.
        for port in service["spec"]["ports"]:
            number = port_number(manifests.containers(scheduler)[0], port["targetPort"])
            assert number == port["port"], "test hosts cannot translate ports as a service does"

        [container] = manifests.containers(job)
        words, environment = manifests.command_of(container, secrets)
        [movie] = [word for word in words if word.startswith("s3://")]
        stand_ins = {movie: bucket.url(acquisition.movie.name), "bf": "circle:15.5,15.5,6"}
        words = [stand_ins.get(word, word) for word in words]
        words, environment = on_this_machine(words, environment, tmp_path / "client")
        printed = run_client(
            processes, hosts["client"].command(*words), {**variables, **environment}
        )

    frames = np.frombuffer(acquisition.movie.read_bytes()[1024:], "<u2").reshape(16, 12, 32, 32)
    y, x = np.ogrid[:32, :32]
    inside = (y - 15.5) ** 2 + (x - 15.5) ** 2 <= 36
    image = np.load(tmp_path / "client" / "bf.npy")
    np.testing.assert_array_equal(image, frames[..., inside].sum(axis=-1, dtype="uint64"))
    assert credentials["AWS_SECRET_ACCESS_KEY"] not in printed


def on_this_machine(
    words: list[str], environment: dict[str, str], folder: Path
) -> tuple[list[str], dict[str, str]]:
    """Replace the volumes of a pod by a folder of this machine."""
    folder.mkdir(exist_ok=True)

    def moved(text: str) -> str:
        return re.sub(r"^/(scratch|results)\b", str(folder), text)

    return [moved(word) for word in words], {
        key: moved(value) for key, value in environment.items()
    }


def port_number(container: dict[str, Any], name: str) -> int:
    [number] = [port["containerPort"] for port in container["ports"] if port["name"] == name]
    return int(number)


def probe_url(host: Host, container: dict[str, Any], kind: str) -> str:
    probe = container[kind]["httpGet"]
    return f"http://{host.address}:{port_number(container, probe['port'])}{probe['path']}"


def responds(client: Host, url: str) -> bool:
    return succeeds(client, sys.executable, "-c", _FETCH, url)


def succeeds(host: Host, *words: str) -> bool:
    try:
        host.run(*words)
    except subprocess.CalledProcessError:
        return False
    return True


def test_services_of_the_compose_file_compute_an_exact_image(
    tmp_path: Path, variables: dict[str, str], processes: Processes
) -> None:
    """Runs its S3 server, simulated movie, scheduler, two workers and client."""
    services = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text("utf-8"))["services"]
    wanted = ("s3", "movie", "scheduler", "client")
    workers = {"worker1": "worker", "worker2": "worker"}
    with isolated_hosts(*wanted, *workers) as hosts, processes:

        def words(service: str) -> list[str]:
            found = [*services[service].get("entrypoint", []), *services[service]["command"]]
            seed = str(DEPLOY / "compose" / "seed.py")
            return [seed if word == "/seed.py" else word for word in found]

        def start(host: str, service: str) -> None:
            environment = {**variables, **services[service]["environment"]}
            command = hosts[host].command(*words(service))
            own = tmp_path / host
            own.mkdir()
            processes.start(host, command, environment=environment, working_folder=own)

        def healthy(service: str) -> bool:
            _, *test = services[service]["healthcheck"]["test"]
            return succeeds(hosts[service], "env", f"PATH={variables['PATH']}", *test)

        start("s3", "s3")
        start("scheduler", "scheduler")
        processes.wait_until(lambda: healthy("s3"), "s3")
        start("movie", "movie")
        seeding = processes.running.pop("movie")
        processes.wait_until(lambda: healthy("scheduler"), "scheduler")
        for host, service in workers.items():
            start(host, service)
        assert seeding.wait(120) == 0, (processes.folder / "movie.out").read_text("utf-8")

        # The command in the comment at the top of the compose file.
        text = (DEPLOY / "compose" / "compose.yaml").read_text("utf-8")
        comment = re.search(r"run --rm client ((?:.*\\\n)*.*)", text)
        assert comment
        typed = re.sub(r"\\\n#", "", comment[1]).split()
        typed = [str(tmp_path / "bf.npy") if w == "/results/bf.npy" else w for w in typed]
        command = [*services["client"]["entrypoint"], *typed]
        environment = {**variables, **services["client"]["environment"]}
        printed = run_client(processes, hosts["client"].command(*command), environment)
        image = np.load(tmp_path / "bf.npy")

        [url] = [word for word in typed if word.startswith("s3://")]
        fetch = (
            "import sys, s3fs, numpy as np;"
            "raw = s3fs.S3FileSystem().cat_file(sys.argv[1]);"
            "np.save(sys.argv[2], np.frombuffer(raw[1024:], '<u2'))"
        )
        copy = tmp_path / "copy.npy"
        command = hosts["client"].command("python", "-c", fetch, url, str(copy))
        processes.running.pop("client")
        run_client(processes, command, environment)

    # Compare with the sum over the disk that the program reports.
    disk = re.search(r"circle of radius ([\d.]+) px around row ([\d.]+), column ([\d.]+)", printed)
    assert disk, printed
    radius, cy, cx = map(float, disk.groups())
    frames = np.load(copy).reshape(32, 32, 64, 128)
    y, x = np.ogrid[:64, :128]
    inside = (y - cy) ** 2 + (x - cx) ** 2 <= radius**2
    np.testing.assert_array_equal(image, frames[..., inside].sum(axis=-1, dtype="uint64"))


def simulate(variables: dict[str, str], *options: str, timeout: int = 120) -> str:
    """Run the sizing simulation and return its output."""
    done = subprocess.run(
        [sys.executable, str(DEPLOY / "sizing" / "simulate.py"), *options],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_sizing_simulation_prints_a_row_per_number_of_chunks_and_of_milliseconds(
    variables: dict[str, str],
) -> None:
    few = ["--chunks", "20,40", "--milliseconds", "20", "--workers", "1", "--threads", "2"]
    rows = [line.split() for line in simulate(variables, *few, "--seconds", "0.5").splitlines()]
    counts = [row[0] for row in rows if len(row) in (6, 7) and row[0].isdigit()]
    # Chunks of the first table, milliseconds of the second.
    assert counts == ["20", "40", "20"]


def test_simulated_job_completes_despite_failing_requests_and_lost_workers(
    variables: dict[str, str],
) -> None:
    """Retries and lost workers are handled by the code of real workers and schedulers."""
    few = ["--scale", "--chunks", "400", "--workers", "4", "--threads", "2", "--chunk-mib", "16"]
    few += ["--processes", "1"]
    output = simulate(variables, *few, "--failures", "0.2", "--spot", "1.5", timeout=240)
    rows = dict(re.findall(r"^ +(\S.*?)  (\S.*)$", output, re.M))
    assert rows["file"] == "7 GB in 400 chunks of 16 MiB"
    assert rows["workers"] == "4 with 2 threads"
    # Each failed request is retried; blocks of lost workers are read again by others.
    retries, requests = map(int, re.findall(r"\d+", rows["retries"]))
    assert requests >= 400
    assert retries > 20
    assert int(rows["workers lost"]) >= 1


def test_throughput_benchmark_prints_its_table_and_deletes_its_file(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    script = DEPLOY / "sizing" / "throughput.py"
    path = tmp_path / "throughput.mrc"
    few = ["--gib", "0.004", "--passes", "2", "--workers", "1", "--threads", "2"]
    done = subprocess.run(
        [sys.executable, str(script), str(path), *few],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if "|" in line]
    table = {row[0]: row[1:] for row in rows}
    assert [name for name in table if name.startswith(("read", "write"))] == [
        "write",
        "read, pass 1",
        "read, pass 2",
    ]
    assert {"date", "nodes", "workers", "system", "storage", "file", "versions"} <= table.keys()
    assert list(tmp_path.glob("throughput*")) == []
