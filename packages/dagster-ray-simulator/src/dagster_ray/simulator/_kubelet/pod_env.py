"""What a container of a simulated pod is started with: its environment and its `ray start` parameters. Pure."""

import base64
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import at, mapping, mappings, quantity
from dagster_ray.simulator._operator.names import name_of, namespace_of
from dagster_ray.simulator._operator.quantities import pod_resources

FindObject = Callable[[str, str], Mapping[str, Any] | None]
_START_COMMAND = "KUBERAY_GEN_RAY_START_CMD"


class MissingConfigError(LookupError):
    """A Secret or ConfigMap that a container needs is not there; the text is the kubelet's."""


def container_env(pod: Mapping[str, Any], find: FindObject) -> dict[str, str]:
    """The environment of the pod's first container.

    Args:
        pod: The pod.
        find: Returns the object of a plural ("secrets" or "configmaps") and a name in the pod's namespace.

    Raises:
        MissingConfigError: A reference leads nowhere and is not optional.
    """
    container = mappings(at(pod, "spec", "containers"))[0]
    env: dict[str, str] = {}
    for source in mappings(container.get("envFrom")):
        prefix = str(source.get("prefix") or "")
        for plural, field in (("secrets", "secretRef"), ("configmaps", "configMapRef")):
            if field in source:
                found = _data(plural, mapping(source[field]), find)
                env |= {f"{prefix}{key}": value for key, value in found.items()}
    for item in mappings(container.get("env")):
        value = item.get("value") if "valueFrom" not in item else _referenced(mapping(item["valueFrom"]), pod, find)
        if value is not None:
            env[str(item.get("name"))] = str(value)
    return env


def _data(plural: str, reference: Mapping[str, Any], find: FindObject) -> dict[str, str]:
    name = str(reference.get("name"))
    found = find(plural, name)
    if found is None:
        if reference.get("optional") is True:
            return {}
        raise MissingConfigError(f'{plural.removesuffix("s").replace("map", "map")} "{name}" not found')
    values = mapping(found.get("data"))
    if plural == "configmaps":
        return {str(key): str(value) for key, value in values.items()}
    return {str(key): base64.b64decode(str(value)).decode() for key, value in values.items()}


def _referenced(source: Mapping[str, Any], pod: Mapping[str, Any], find: FindObject) -> str | None:
    for plural, field in (("secrets", "secretKeyRef"), ("configmaps", "configMapKeyRef")):
        if field in source:
            reference = mapping(source[field])
            values = _data(plural, reference, find)
            key = str(reference.get("key"))
            if key not in values and reference.get("optional") is not True:
                kind = "Secret" if plural == "secrets" else "ConfigMap"
                raise MissingConfigError(
                    f"couldn't find key {key} in {kind} {namespace_of(pod)}/{reference.get('name')}"
                )
            return values.get(key)
    path = str(at(source, "fieldRef", "fieldPath") or "")
    if path.startswith("metadata.labels['"):
        return str(mapping(at(pod, "metadata", "labels")).get(path[len("metadata.labels['") : -2], ""))
    own = {"metadata.name": name_of(pod), "metadata.namespace": namespace_of(pod), "spec.nodeName": "simulated-node"}
    return own.get(path)


def start_params(env: Mapping[str, str]) -> dict[str, str]:
    """The parameters of the `ray start` that the operator generated."""
    words = shlex.split(env.get(_START_COMMAND, ""))
    params: dict[str, str] = {}
    for word in words:
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            params[name] = value
    return params


def insufficient(
    pod: Mapping[str, Any], others: Iterable[Mapping[str, Any]], capacity: Mapping[str, str]
) -> tuple[str, ...]:
    """The resources that the node has too little of for this pod next to the others."""
    used = [pod_resources(mapping(other.get("spec"))) for other in others]
    lacking: list[str] = []
    for name, asked in sorted(pod_resources(mapping(pod.get("spec"))).items()):
        taken = sum(item.get(name, quantity(0)) for item in used)
        if asked > 0 and asked + taken > quantity(capacity.get(name, "0")):
            lacking.append(name)
    return tuple(lacking)


def unschedulable_text(lacking: tuple[str, ...]) -> str:
    """The scheduler's text on a cluster of one node."""
    why = ", ".join(f"1 Insufficient {name}" for name in lacking)
    return (
        f"0/1 nodes are available: {why}. no new claims to deallocate, preemption: 0/1 nodes are available:"
        " 1 Preemption is not helpful for scheduling."
    )
