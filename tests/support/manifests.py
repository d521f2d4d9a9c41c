"""Linter for Kubernetes manifests that needs no cluster.

The dask operator's own kinds are validated against the definitions that it installs (part of the
dask-kubernetes package), in a strict form in which unknown properties are errors. Other kinds are
validated against the schemas of Kubernetes. Rules in this module check what the schemas leave
open: images, quantities, and references to ports, volumes and secrets.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml
from dask_kubernetes.operator.controller import controller

Manifest = dict[str, Any]

KUBERNETES = "1.30"

_DASK = "kubernetes.dask.org/v1"
_DEFINITIONS = "operator/deployment/helm/dask-kubernetes-operator/crds"
# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
_QUANTITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")
_FACTOR = {
    **{unit: 1000.0**power for power, unit in enumerate(" kMGTPE")},
    **{f"{unit}i": 1024.0**power for power, unit in enumerate("KMGTPE", start=1)},
    "": 1.0,
    "m": 1e-3,
    "u": 1e-6,
    "n": 1e-9,
}


def load_manifests(path: Path) -> list[Manifest]:
    """Return the documents of a file."""
    return [document for document in yaml.safe_load_all(path.read_text("utf-8")) if document]


def problems(manifest: Manifest) -> list[str]:
    """Return the problems of one document."""
    # The rules assume that the document matches its schema.
    return list(_schema_problems(manifest)) or list(_rule_problems(manifest))


def bytes_of(quantity: str) -> float:
    """Return the value of a quantity such as ``8Gi``.

    Raises
    ------
    ValueError
        If Kubernetes would reject it.
    """
    match = _QUANTITY.fullmatch(quantity)
    if match is None:
        raise ValueError(f"{quantity!r} is not a valid quantity; write 8Gi, 500m or 2")
    unit = match[2] or ""
    if unit[:1] in ("e", "E") and unit not in _FACTOR:
        return float(match[0])
    return float(match[1]) * _FACTOR[unit]


def operator_objects(
    cluster: Manifest, *, namespace: str = "default", workers: int = 2
) -> list[Manifest]:
    """Return what the operator creates for a DaskCluster: scheduler, its service, workers."""
    name = cluster["metadata"]["name"]
    scheduler, worker = cluster["spec"]["scheduler"], cluster["spec"]["worker"]
    group = controller.build_default_worker_group_spec(name, worker, {}, {})["metadata"]["name"]
    return [
        controller.build_scheduler_deployment_spec(name, scheduler["spec"], {}, {}),
        controller.build_scheduler_service_spec(name, scheduler["service"], {}, {}),
        *(
            controller.build_worker_deployment_spec(
                group, namespace, name, f"{number:010x}", worker["spec"], {}, {}
            )
            for number in range(workers)
        ),
    ]


def pod_specs(manifest: Manifest) -> Iterator[Manifest]:
    """Yield the pod specs in a document."""
    spec = manifest.get("spec", {})
    if manifest["kind"] == "DaskCluster":
        for role in ("scheduler", "worker"):
            yield spec.get(role, {}).get("spec", {})
    elif "template" in spec:
        yield spec["template"].get("spec", {})


def containers(manifest: Manifest) -> list[Manifest]:
    """Return all containers in a document."""
    return [item for spec in pod_specs(manifest) for item in spec.get("containers", [])]


def command_of(
    container: Manifest, secrets: Mapping[str, Mapping[str, str]]
) -> tuple[list[str], dict[str, str]]:
    """Return the command line of a container and its variables, expanded as the kubelet does.

    Parameters
    ----------
    container : dict
    secrets : mapping of str to mapping
        Name of each existing Secret → its content.

    Raises
    ------
    KeyError
        If the container refers to a Secret that does not exist and is not optional.
    """
    variables: dict[str, str] = {}
    for source in container.get("envFrom", []):
        reference = source["secretRef"]
        if reference["name"] in secrets or not reference.get("optional"):
            variables |= secrets[reference["name"]]
    for entry in container.get("env", []):
        if "value" in entry:
            variables[entry["name"]] = _expand(entry["value"], variables)
            continue
        reference = entry["valueFrom"]["secretKeyRef"]
        if reference["name"] in secrets or not reference.get("optional"):
            variables[entry["name"]] = secrets[reference["name"]][reference["key"]]
    arguments = [*container.get("command", []), *container.get("args", [])]
    return [_expand(argument, variables) for argument in arguments], variables


def _expand(text: str, variables: Mapping[str, str]) -> str:
    return re.sub(r"\$\((\w+)\)", lambda match: variables.get(match[1], match[0]), text)


def _schema_problems(manifest: Manifest) -> Iterator[str]:
    kind, version = manifest.get("kind"), manifest.get("apiVersion")
    if version == _DASK:
        validator = jsonschema.Draft202012Validator(_dask_schema(str(kind)))
        for error in validator.iter_errors(manifest):
            yield f"{error.json_path}: {error.message}"
        return
    try:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{'.'.join(map(str, error.path))}: {error.message}"
    except (kubernetes_validate.SchemaNotFoundError, KeyError) as error:
        yield f"kind {kind}, apiVersion {version}: unknown ({error})"


def _dask_schema(kind: str) -> Mapping[str, Any]:
    return _dask_schemas().get(kind, {"not": {}, "description": f"no kind {kind}"})


@lru_cache
def _dask_schemas() -> dict[str, Mapping[str, Any]]:
    """Read the operator's definitions: kind → strict schema."""
    # They are long: the loader written in Python takes seconds.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    schemas = {}
    for path in files("dask_kubernetes").joinpath(_DEFINITIONS).iterdir():
        definition = yaml.load(path.read_text("utf-8"), Loader=loader)
        kind = definition["spec"]["names"]["kind"]
        schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        # Common to all objects; not included in the definitions.
        schema["properties"] |= {
            "apiVersion": {"const": _DASK},
            "kind": {"const": kind},
            "metadata": {"type": "object", "required": ["name"]},
        }
        schema["required"] = ["metadata", "spec"]
        schemas[kind] = _strict(schema)
    return schemas


def _strict(schema: Any) -> Any:
    """Return the schema with unknown properties forbidden."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    stricter = {key: _strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        stricter["additionalProperties"] = False
    if stricter.pop("x-kubernetes-int-or-string", False):
        stricter["type"] = ["integer", "string"]
    return stricter


def _rule_problems(manifest: Manifest) -> Iterator[str]:
    for container in containers(manifest):
        yield from _image(container)
        yield from _references(container)
        yield from _sizes(container.get("resources", {}))
    for spec in pod_specs(manifest):
        yield from _mounts(spec)
        for volume in spec.get("volumes", []):
            if "sizeLimit" in volume.get("emptyDir", {}):
                yield from _quantity("sizeLimit", volume["emptyDir"]["sizeLimit"])
    if manifest["kind"] == "PersistentVolumeClaim":
        yield from _sizes(manifest["spec"]["resources"])
    if manifest["kind"] == "DaskCluster":
        yield from _service(manifest)


def _image(container: Manifest) -> Iterator[str]:
    image = container.get("image")
    if not image:
        yield f"container {container.get('name')}: no image"
    elif not re.fullmatch(r"\S+:[\w.-]+(@sha256:[0-9a-f]{64})?", image) or ":latest" in image:
        yield f"image {image}: add a tag with a version"


def _references(container: Manifest) -> Iterator[str]:
    for source in container.get("envFrom", []):
        kinds = set(source) & {"secretRef", "configMapRef"}
        if len(kinds) != 1:
            yield f"envFrom {source}: exactly one of secretRef and configMapRef is needed"
        for kind in kinds:
            if not source[kind].get("name"):
                yield f"envFrom {kind}: no name"
    ports = {port.get("name") for port in container.get("ports", [])}
    for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
        port = container.get(probe, {}).get("httpGet", {}).get("port")
        if isinstance(port, str) and port not in ports:
            yield f"{probe}: no port is named {port}"


def _sizes(resources: Manifest) -> Iterator[str]:
    sizes = {
        (part, name): value
        for part in ("requests", "limits")
        for name, value in resources.get(part, {}).items()
    }
    invalid = [text for (part, name), value in sizes.items() for text in _quantity(name, value)]
    yield from invalid
    if invalid:
        return
    for (part, name), value in sizes.items():
        limit = sizes.get(("limits", name))
        if part == "requests" and limit and bytes_of(str(value)) > bytes_of(str(limit)):
            yield f"{name}: the request, {value}, is above the limit, {limit}"


def _quantity(name: str, value: object) -> Iterator[str]:
    try:
        bytes_of(str(value))
    except ValueError as error:
        yield f"{name}: {error}"


def _mounts(spec: Manifest) -> Iterator[str]:
    volumes = {volume.get("name") for volume in spec.get("volumes", [])}
    for container in spec.get("containers", []):
        for mount in container.get("volumeMounts", []):
            if mount.get("name") not in volumes:
                yield f"volumeMounts: no volume is named {mount.get('name')}"


def _service(cluster: Manifest) -> Iterator[str]:
    """Check that the scheduler's service selects the scheduler's pod and ports."""
    name = cluster.get("metadata", {}).get("name", "")
    scheduler = cluster["spec"].get("scheduler", {})
    service = scheduler.get("service", {})
    labels = {"dask.org/cluster-name": name, "dask.org/component": "scheduler"}
    if service.get("selector") != labels:
        selector = service.get("selector")
        yield f"service: the selector {selector} does not match the scheduler, {labels}"
    port_names = [
        port.get("name")
        for container in scheduler.get("spec", {}).get("containers", [])
        for port in container.get("ports", [])
    ]
    for port in service.get("ports", []):
        if port.get("targetPort") not in port_names:
            yield f"service: the scheduler has no port named {port.get('targetPort')}"


def changed(manifest: Manifest, path: Sequence[str | int], value: Any) -> Manifest:
    """Return a copy with one value set, or deleted if `value` is `...`."""
    result = copy.deepcopy(manifest)
    *parents, last = path
    parent: Any = result
    for key in parents:
        parent = parent[key]
    if value is ...:
        del parent[last]
    else:
        parent[last] = value
    return result
