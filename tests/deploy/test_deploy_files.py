"""Checks of the files in `deploy/` that need no cluster.

tests/integration/test_slurm.py and test_isolated_hosts.py run them.
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


def load_one(name: str) -> dict[str, Any]:
    """Return the only document of a file."""
    [document] = load_manifests(KUBERNETES / name)
    return document


# Kubernetes


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_kubernetes_manifest_is_valid(manifest: dict[str, Any]) -> None:
    assert manifests.problems(manifest) == []


def test_objects_that_the_operator_creates_for_the_cluster_are_valid() -> None:
    objects = operator_objects(load_one("cluster.yaml"))
    kinds = [each["kind"] for each in objects]
    assert kinds == ["Deployment", "Service", "Deployment", "Deployment"]
    assert [manifests.problems(each) for each in objects] == [[]] * 4


WORKER = ("spec", "worker", "spec", "containers", 0)
SCHEDULER = ("spec", "scheduler", "spec", "containers", 0)
MISTAKES = {
    "typo in a key": ((*WORKER, "imagePullPolice"), "Always", "imagePullPolice"),
    "typo in a nested key": ((*WORKER, "readinessProbe", "periodSecond"), 3, "periodSecond"),
    "typo in a top-level key": (("spec", "workers"), {}, "workers"),
    "wrong type": (("spec", "worker", "replicas"), "2", "integer"),
    "command as one string": ((*WORKER, "args"), "dask worker", "array"),
    "number instead of a string": ((*SCHEDULER, "env", 0, "value"), 60, "string"),
    "CPUs as a number": ((*WORKER, "resources", "requests", "cpu"), 4, "string"),
    "no image": ((*WORKER, "image"), ..., "no image"),
    "image tagged latest": ((*WORKER, "image"), "example.org/mrcdist:latest", "version"),
    "image without a tag": ((*SCHEDULER, "image"), "example.org/mrcdist", "version"),
    "envFrom with a string as source": (
        (*WORKER, "envFrom", 0),
        {"secretRef": "mrcdist-s3"},
        "object",
    ),
    "envFrom without a source": ((*WORKER, "envFrom", 0), {"prefix": "AWS_"}, "exactly one"),
    "envFrom with an unknown source": (
        (*WORKER, "envFrom", 0),
        {"secret": {"name": "a"}},
        "secret",
    ),
    "envFrom without a name": ((*WORKER, "envFrom", 0, "secretRef", "name"), ..., "no name"),
    "memory of 8 GB": ((*WORKER, "resources", "limits", "memory"), "8 GB", "quantity"),
    "memory of 8GB": ((*WORKER, "resources", "limits", "memory"), "8GB", "quantity"),
    "request above the limit": (
        (*WORKER, "resources", "requests", "memory"),
        "9Gi",
        "above the limit",
    ),
    "probe of an undefined port": (
        (*WORKER, "readinessProbe", "httpGet", "port"),
        "http",
        "no port",
    ),
    "mount of an undefined volume": ((*WORKER, "volumeMounts", 0, "name"), "scrtch", "no volume"),
    "service that selects no pod": (
        ("spec", "scheduler", "service", "selector", "dask.org/cluster-name"),
        "mrcdst",
        "does not match the scheduler",
    ),
    "service to an undefined port": (
        ("spec", "scheduler", "service", "ports", 0, "targetPort"),
        "comm",
        "no port named",
    ),
    "no scheduler": (("spec", "scheduler"), ..., "scheduler"),
    "unknown kind": (("kind",), "DaskClusters", "DaskClusters"),
}


@pytest.mark.parametrize(("path", "value", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistake_in_the_cluster_manifest_is_found(path: Any, value: Any, message: str) -> None:
    problems = manifests.problems(changed(load_one("cluster.yaml"), path, value))
    assert any(message in problem for problem in problems), problems


def test_mistakes_in_the_other_manifests_are_found() -> None:
    scaler, secret = load_one("autoscaler.yaml"), load_one("secret.yaml")
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
def test_kubernetes_quantity_is_parsed(text: str, number: float) -> None:
    assert bytes_of(text) == number


@pytest.mark.parametrize("text", ["8 GB", "8GB", "8gb", "GiB", "", "1,5Gi", "8KB"])
def test_invalid_kubernetes_quantity_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="not a valid quantity"):
        bytes_of(text)


def test_kubernetes_manifests_refer_to_each_other_by_the_right_names() -> None:
    cluster, account = load_one("cluster.yaml"), load_one("service-account.yaml")
    _, job = load_manifests(KUBERNETES / "job.yaml")
    name = cluster["metadata"]["name"]
    specs = [*manifests.pod_specs(cluster), *manifests.pod_specs(job)]
    containers = [*manifests.containers(cluster), *manifests.containers(job)]
    secrets = {
        source["secretRef"]["name"]
        for container in containers
        for source in container.get("envFrom", [])
    }
    policy = load_one("network-policy.yaml")["spec"]

    assert load_one("autoscaler.yaml")["spec"]["cluster"] == name
    assert f"tcp://{name}-scheduler:8786" in containers[-1]["args"]
    assert len({container["image"] for container in containers}) == 1, "one version for all"
    assert {spec["serviceAccountName"] for spec in specs} == {account["metadata"]["name"]}
    assert secrets == {load_one("secret.yaml")["metadata"]["name"]}
    assert policy["podSelector"]["matchLabels"] == {"dask.org/cluster-name": name}
    assert job["spec"]["template"]["metadata"]["labels"] in [
        source["podSelector"]["matchLabels"]
        for source in policy["ingress"][0]["from"]
        if "podSelector" in source
    ]


def test_memory_limit_of_a_worker_is_below_that_of_its_container() -> None:
    [worker] = [c for c in manifests.containers(load_one("cluster.yaml")) if c["name"] == "worker"]
    arguments = worker["args"]
    memory = arguments[arguments.index("--memory-limit") + 1].removesuffix("B")
    assert bytes_of(memory) < bytes_of(worker["resources"]["limits"]["memory"])
    assert arguments[arguments.index("--nthreads") + 1] == worker["resources"]["requests"]["cpu"]


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_containers_do_not_run_as_root_and_write_only_to_their_volumes(
    manifest: dict[str, Any],
) -> None:
    for spec in manifests.pod_specs(manifest):
        assert spec["securityContext"]["runAsNonRoot"]
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"]
            assert not context["allowPrivilegeEscalation"]
            writable = {v["value"] for v in container["env"] if v["name"] in ("HOME", "TMPDIR")}
            assert writable == {mount["mountPath"] for mount in container["volumeMounts"]}


def test_secret_manifest_contains_only_placeholders() -> None:
    secrets = load_one("secret.yaml")["stringData"]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert re.fullmatch(r"PUT-YOUR-[A-Z-]+-HERE", secrets[name])


# Helm. The templates of the chart are not available: these are the keys that they read, and
# `deployment_of` does what they do.
CHART_KEYS = {
    "scheduler": {"image", "resources", "env", "extraArgs", "serviceAccountName", "livenessProbe"}
    | {"readinessProbe", "tolerations", "nodeSelector", "serviceType", "securityContext"},
    "worker": {"image", "resources", "env", "extraArgs", "serviceAccountName", "livenessProbe"}
    | {"readinessProbe", "tolerations", "nodeSelector", "replicas", "mounts", "annotations"}
    | {"threads_per_worker", "securityContext"},
    "jupyter": {"enabled"},
}


def deployment_of(role: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return the Deployment that the chart creates for a role with these values."""
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


def test_helm_values_have_keys_of_the_chart_and_give_valid_deployments() -> None:
    values = yaml.safe_load((KUBERNETES / "helm-values.yaml").read_text("utf-8"))
    assert set(values) == set(CHART_KEYS)
    for role, role_values in values.items():
        assert set(role_values) <= CHART_KEYS[role]
    deployments = [deployment_of(role, values[role]) for role in ("scheduler", "worker")]
    assert [manifests.problems(deployment) for deployment in deployments] == [[], []]
    images = {manifests.containers(deployment)[0]["image"] for deployment in deployments}
    assert images == {manifests.containers(load_one("cluster.yaml"))[0]["image"]}
    secret = load_one("secret.yaml")
    for variable in values["worker"]["env"]:
        reference = variable["valueFrom"]["secretKeyRef"]
        assert reference["name"] == secret["metadata"]["name"]
        assert reference["key"] == variable["name"]
        assert reference["key"] in secret["stringData"]


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
def test_jobqueue_file_gives_job_scripts_for_slurm_and_pbs(
    command: str, system: str, lines: tuple[str, ...], tmp_path: Path, monkeypatch: Any
) -> None:
    dask_jobqueue = pytest.importorskip("dask_jobqueue")
    text = (DEPLOY / "slurm" / "jobqueue.yaml").read_text("utf-8")
    queue = parse_job_queue(text, installed=lambda program: program == command)
    monkeypatch.chdir(tmp_path)  # log-directory is created here
    job = {"slurm": dask_jobqueue.slurm.SLURMJob, "pbs": dask_jobqueue.pbs.PBSJob}[queue.system]
    script = job(scheduler="tcp://10.0.0.1:8786", name="w", **queue.settings).job_script()

    assert queue.system == system
    assert (queue.minimum, queue.maximum) == (1, 8)
    assert [line for line in lines if line not in script] == []
    assert "--nthreads 8 --memory-limit 28.00GiB" in script
    assert "--nworkers 2" in script
    assert "--lifetime 50m" in script
    assert 28 * 2**30 * queue.settings["processes"] < 64 * 2**30, "leaves memory for the system"


# Scripts


SCRIPTS = [
    path
    for path in sorted(DEPLOY.rglob("*"))
    if path.is_file() and path.read_bytes()[:3] == b"#!/" and path.suffix != ".py"
]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_script_passes_shellcheck(path: Path) -> None:
    assert shellcheck(path.read_text("utf-8")) == ""


def test_shellcheck_finds_an_unquoted_variable() -> None:
    assert "SC2086" in shellcheck("#!/bin/sh\nrm $1\n")


@pytest.mark.parametrize(
    "path", sorted(DEPLOY.rglob("*.py")), ids=lambda path: path.relative_to(DEPLOY).as_posix()
)
def test_python_file_is_parsed_without_errors(path: Path) -> None:
    ast.parse(path.read_text("utf-8"), str(path))


@pytest.mark.parametrize(
    "path", sorted(DEPLOY.rglob("*.md")), ids=lambda path: path.relative_to(DEPLOY).as_posix()
)
def test_files_mentioned_in_a_page_exist(path: Path) -> None:
    text = path.read_text("utf-8")
    names = re.findall(r"\]\((?!http)([^)]+)\)", text)
    names += re.findall(r"`((?:\.\./|tests/)?[\w./-]+\.(?:ya?ml|sbatch|py|md|def))`", text)
    assert names
    folders = (path.parent, ROOT)
    assert [name for name in names if not any((folder / name).exists() for folder in folders)] == []
