"""What `deploy/` promises, as far as it can be seen without a cluster: the files are valid.

That they work is shown by tests/integration/test_slurm.py and test_isolated_hosts.py.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mrcdist.batch.jobqueue import parse_job_queue
from tests.support import manifests
from tests.support.manifests import bytes_of, changed, load_manifests, operator_objects
from tests.support.processes import ROOT
from tests.support.scripts import shellcheck

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"

MANIFESTS = [
    pytest.param(document, id=f"{path.name}:{document['kind']}")
    for path in sorted(KUBERNETES.glob("*.yaml"))
    if path.name != "helm-values.yaml"
    for document in load_manifests(path)
]


def one(name: str) -> dict[str, Any]:
    """The only document of a file."""
    [document] = load_manifests(KUBERNETES / name)
    return document


# Kubernetes


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_manifest_is_valid(manifest: dict[str, Any]) -> None:
    assert manifests.problems(manifest) == []


def test_what_the_operator_makes_of_the_cluster_is_valid() -> None:
    made = operator_objects(one("cluster.yaml"))
    assert [each["kind"] for each in made] == ["Deployment", "Service", "Deployment", "Deployment"]
    assert [manifests.problems(each) for each in made] == [[]] * 4


WORKER = ("spec", "worker", "spec", "containers", 0)
SCHEDULER = ("spec", "scheduler", "spec", "containers", 0)
MISTAKES = {
    "a typo in a name": ((*WORKER, "imagePullPolice"), "Always", "imagePullPolice"),
    "a typo further in": ((*WORKER, "readinessProbe", "periodSecond"), 3, "periodSecond"),
    "a typo at the top": (("spec", "workers"), {}, "workers"),
    "a wrong type": (("spec", "worker", "replicas"), "2", "integer"),
    "a command in one string": ((*WORKER, "args"), "dask worker", "array"),
    "a number where a text is needed": ((*SCHEDULER, "env", 0, "value"), 60, "string"),
    "CPUs as a number": ((*WORKER, "resources", "requests", "cpu"), 4, "string"),
    "no image": ((*WORKER, "image"), ..., "no image"),
    "the latest image": ((*WORKER, "image"), "example.org/mrcdist:latest", "version"),
    "an image of no version": ((*SCHEDULER, "image"), "example.org/mrcdist", "version"),
    "envFrom a name": ((*WORKER, "envFrom", 0), {"secretRef": "mrcdist-s3"}, "object"),
    "envFrom of no kind": ((*WORKER, "envFrom", 0), {"prefix": "AWS_"}, "exactly one"),
    "envFrom of another kind": ((*WORKER, "envFrom", 0), {"secret": {"name": "a"}}, "secret"),
    "envFrom without a name": ((*WORKER, "envFrom", 0, "secretRef", "name"), ..., "no name"),
    "8 GB": ((*WORKER, "resources", "limits", "memory"), "8 GB", "quantity"),
    "8GB": ((*WORKER, "resources", "limits", "memory"), "8GB", "quantity"),
    "more requested than allowed": (
        (*WORKER, "resources", "requests", "memory"),
        "9Gi",
        "is the limit",
    ),
    "a probe of no port": ((*WORKER, "readinessProbe", "httpGet", "port"), "http", "no port"),
    "a mount of no volume": ((*WORKER, "volumeMounts", 0, "name"), "scrtch", "no volume"),
    "a service of nobody": (
        ("spec", "scheduler", "service", "selector", "dask.org/cluster-name"),
        "mrcdst",
        "finds no scheduler",
    ),
    "a service to no port": (
        ("spec", "scheduler", "service", "ports", 0, "targetPort"),
        "comm",
        "no port named",
    ),
    "no scheduler": (("spec", "scheduler"), ..., "scheduler"),
    "another kind": (("kind",), "DaskClusters", "DaskClusters"),
}


@pytest.mark.parametrize(("path", "value", "told"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_in_the_cluster_is_found(path: Any, value: Any, told: str) -> None:
    found = manifests.problems(changed(one("cluster.yaml"), path, value))
    assert any(told in each for each in found), found


def test_a_mistake_in_the_other_files_is_found() -> None:
    scaler, secret = one("autoscaler.yaml"), one("secret.yaml")
    claim, job = load_manifests(KUBERNETES / "job.yaml")
    wrong = [
        changed(scaler, ("spec", "maximum"), "20"),
        changed(scaler, ("spec", "minimum"), ...),
        changed(scaler, ("spec", "max"), 20),
        changed(secret, ("stringData", "AWS_DEFAULT_REGION"), 1),
        changed(secret, ("stringdata",), {}),
        changed(claim, ("spec", "resources", "requests", "storage"), "10 GB"),
        changed(job, ("spec", "backofLimit"), 5),
        changed(job, ("spec", "template", "spec", "containers", 0, "image"), ...),
        changed(job, ("apiVersion",), "batch/v2"),
    ]
    assert [bool(manifests.problems(each)) for each in wrong] == [True] * len(wrong)


@pytest.mark.parametrize(
    ("text", "number"),
    [("8Gi", 8 * 2**30), ("500m", 0.5), ("2", 2), ("1.5G", 1.5e9), ("1e3", 1000), ("4k", 4000)],
)
def test_quantities_are_read_as_kubernetes_reads_them(text: str, number: float) -> None:
    assert bytes_of(text) == number


@pytest.mark.parametrize("text", ["8 GB", "8GB", "8gb", "GiB", "", "1,5Gi", "8KB"])
def test_quantities_that_kubernetes_refuses_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        bytes_of(text)


def test_objects_fit_together() -> None:
    cluster, account = one("cluster.yaml"), one("service-account.yaml")
    _, job = load_manifests(KUBERNETES / "job.yaml")
    name = cluster["metadata"]["name"]
    specs = [*manifests.pod_specs(cluster), *manifests.pod_specs(job)]
    everything = [*manifests.containers(cluster), *manifests.containers(job)]
    asked = {e["secretRef"]["name"] for each in everything for e in each.get("envFrom", [])}
    allowed = one("network-policy.yaml")["spec"]

    assert one("autoscaler.yaml")["spec"]["cluster"] == name
    assert f"tcp://{name}-scheduler:8786" in everything[-1]["args"]
    assert len({each["image"] for each in everything}) == 1, "one version for all"
    assert {spec["serviceAccountName"] for spec in specs} == {account["metadata"]["name"]}
    assert asked == {one("secret.yaml")["metadata"]["name"]}
    assert allowed["podSelector"]["matchLabels"] == {"dask.org/cluster-name": name}
    assert job["spec"]["template"]["metadata"]["labels"] in [
        source["podSelector"]["matchLabels"]
        for source in allowed["ingress"][0]["from"]
        if "podSelector" in source
    ]


def test_a_worker_spills_before_its_container_is_killed() -> None:
    [worker] = [c for c in manifests.containers(one("cluster.yaml")) if c["name"] == "worker"]
    words = worker["args"]
    memory = words[words.index("--memory-limit") + 1].removesuffix("B")
    assert bytes_of(memory) < bytes_of(worker["resources"]["limits"]["memory"])
    assert words[words.index("--nthreads") + 1] == worker["resources"]["requests"]["cpu"]


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_containers_are_not_root_and_write_to_their_volumes_only(manifest: dict[str, Any]) -> None:
    for spec in manifests.pod_specs(manifest):
        assert spec["securityContext"]["runAsNonRoot"]
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"]
            assert not context["allowPrivilegeEscalation"]
            written = {v["value"] for v in container["env"] if v["name"] in ("HOME", "TMPDIR")}
            assert written == {mount["mountPath"] for mount in container["volumeMounts"]}


def test_the_secret_is_a_placeholder() -> None:
    secrets = one("secret.yaml")["stringData"]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert re.fullmatch(r"PUT-YOUR-[A-Z-]+-HERE", secrets[name])


# Helm. The chart's templates are not here: these are the keys that it reads, and what it does with
# them.
CHART = {
    "scheduler": {"image", "resources", "env", "extraArgs", "serviceAccountName", "livenessProbe"}
    | {"readinessProbe", "tolerations", "nodeSelector", "serviceType", "securityContext"},
    "worker": {"image", "resources", "env", "extraArgs", "serviceAccountName", "livenessProbe"}
    | {"readinessProbe", "tolerations", "nodeSelector", "replicas", "mounts", "annotations"}
    | {"threads_per_worker", "securityContext"},
    "jupyter": {"enabled"},
}


def rendered(role: str, values: dict[str, Any]) -> dict[str, Any]:
    """The Deployment that the chart makes of a role's values."""
    image = values["image"]
    container = {
        "name": role,
        "image": f"{image['repository']}:{image['tag']}",
        "args": [f"dask-{role}", *values.get("extraArgs", [])],
        **{key: values[key] for key in ("resources", "env", "livenessProbe", "readinessProbe")},
        "volumeMounts": values.get("mounts", {}).get("volumeMounts", []),
    }
    spec = {
        "serviceAccountName": values["serviceAccountName"],
        "containers": [container],
        "volumes": values.get("mounts", {}).get("volumes", []),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": role},
        "spec": {
            "replicas": values.get("replicas", 1),
            "selector": {"matchLabels": {"component": role}},
            "template": {"metadata": {"labels": {"component": role}}, "spec": spec},
        },
    }


def test_helm_values_are_the_charts_and_give_valid_pods() -> None:
    values = yaml.safe_load((KUBERNETES / "helm-values.yaml").read_text("utf-8"))
    assert set(values) == set(CHART)
    for role, given in values.items():
        assert set(given) <= CHART[role]
    pods = [rendered(role, values[role]) for role in ("scheduler", "worker")]
    assert [manifests.problems(pod) for pod in pods] == [[], []]
    images = {manifests.containers(pod)[0]["image"] for pod in pods}
    assert images == {manifests.containers(one("cluster.yaml"))[0]["image"]}
    secret = one("secret.yaml")
    for variable in values["worker"]["env"]:
        wanted = variable["valueFrom"]["secretKeyRef"]
        assert wanted["name"] == secret["metadata"]["name"]
        assert wanted["key"] == variable["name"]
        assert wanted["key"] in secret["stringData"]


# Batch systems


@pytest.mark.parametrize(
    ("command", "system", "lines"),
    [
        (
            "sbatch",
            "slurm",
            ("#SBATCH --cpus-per-task=16", "#SBATCH --mem=64G", "#SBATCH -t 01:00"),
        ),
        (
            "qsub",
            "pbs",
            ("#PBS -l select=1:ncpus=16:mem=64gb", "#PBS -l walltime=01:00", "#PBS -V"),
        ),
    ],
)
def test_one_file_gives_the_jobs_of_slurm_and_of_pbs(
    command: str, system: str, lines: tuple[str, ...], tmp_path: Path, monkeypatch: Any
) -> None:
    dask_jobqueue = pytest.importorskip("dask_jobqueue")
    text = (DEPLOY / "slurm" / "jobqueue.yaml").read_text("utf-8")
    queue = parse_job_queue(text, installed=lambda found: found == command)
    monkeypatch.chdir(tmp_path)  # log-directory is made
    job = {"slurm": dask_jobqueue.slurm.SLURMJob, "pbs": dask_jobqueue.pbs.PBSJob}[queue.system]
    script = job(scheduler="tcp://10.0.0.1:8786", name="w", **queue.settings).job_script()

    assert queue.system == system
    assert (queue.minimum, queue.maximum) == (1, 8)
    assert [line for line in lines if line not in script] == []
    assert "--nthreads 8 --memory-limit 28.00GiB" in script
    assert "--nworkers 2" in script
    assert "--lifetime 50m" in script
    assert 28 * 2**30 * queue.settings["processes"] < 64 * 2**30, "room for what is not dask's"


# Scripts


SCRIPTS = [
    path
    for path in sorted(DEPLOY.rglob("*"))
    if path.is_file() and path.read_bytes()[:3] == b"#!/" and path.suffix != ".py"
]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_passes_shellcheck(path: Path) -> None:
    assert shellcheck(path.read_text("utf-8")) == ""


def test_a_mistake_in_a_script_is_found() -> None:
    assert "SC2086" in shellcheck("#!/bin/sh\nrm $1\n")


@pytest.mark.parametrize(
    "path", sorted(DEPLOY.rglob("*.py")), ids=lambda path: path.relative_to(DEPLOY).as_posix()
)
def test_a_python_file_parses(path: Path) -> None:
    ast.parse(path.read_text("utf-8"), str(path))


@pytest.mark.parametrize(
    "path", sorted(DEPLOY.rglob("*.md")), ids=lambda path: path.relative_to(DEPLOY).as_posix()
)
def test_files_that_a_page_names_are_there(path: Path) -> None:
    text = path.read_text("utf-8")
    named = re.findall(r"\]\((?!http)([^)]+)\)", text)
    named += re.findall(r"`((?:\.\./|tests/)?[\w./-]+\.(?:ya?ml|sbatch|py|md|def))`", text)
    assert named
    places = (path.parent, ROOT)
    assert [name for name in named if not any((place / name).exists() for place in places)] == []
