"""What the API says of itself, as far as clients ask. Pure."""

from collections.abc import Mapping
from typing import Any

from dagster_ray.kuberay._operator_rules.crd_fields import KINDS, Field, root
from dagster_ray.simulator._kubelet.resources import EVENTS_V1, RESOURCES, Resource

_VERBS = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]
_STATUS = {"rayjobs", "rayclusters", "pods", "services", "jobs"}
_VERSION = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.1",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}
_REVIEW = Resource("selfsubjectaccessreviews", "SelfSubjectAccessReview", "authorization.k8s.io", namespaced=False)
_SERVED = [*RESOURCES.values(), EVENTS_V1, _REVIEW]
_GROUPS = sorted({resource.group for resource in _SERVED if resource.group})


def discovery(path: str, host: str, version: str, *, without_rays: bool) -> Mapping[str, Any] | None:  # noqa: PLR0911 - one path a line
    """Return what a path of the API's self-description answers; None if it is no such path.

    Args:
        path: The path without query.
        host: The server's address and port.
        version: The version of KubeRay's CRDs.
        without_rays: Whether KubeRay's CRDs are not installed.
    """
    groups = [group for group in _GROUPS if not (without_rays and group == "ray.io")]
    words = [word for word in path.split("/") if word]
    match words:
        case ["version"]:
            return _VERSION
        case ["api"]:
            addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}]
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}
        case ["apis"]:
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name) for name in groups]}
        case ["apis", name] if name in groups:
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(name)}
        case ["api", "v1"]:
            return _resources("")
        case ["apis", name, "v1"] if name in groups:
            return _resources(name)
        case ["openapi", "v3"]:
            paths = ["api/v1", *(f"apis/{name}/v1" for name in groups)]
            return {"paths": {one: {"serverRelativeURL": f"/openapi/v3/{one}"} for one in paths}}
        case ["openapi", "v3", "api", "v1"]:
            return _schema_of("")
        case ["openapi", "v3", "apis", name, "v1"] if name in groups:
            schema = _schema_of(name)
            return schema if name != "ray.io" else {**schema, "components": {"schemas": _custom_schemas(version)}}
        case _:
            return None


def _group(name: str) -> dict[str, Any]:
    version = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [version], "preferredVersion": version}


def _resources(group: str) -> dict[str, Any]:
    served = sorted((one for one in _SERVED if one.group == group), key=lambda one: one.plural)
    entries = [entry for resource in served for entry in _entries(resource)]
    name = f"{group}/v1" if group else "v1"
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": entries}


def _entries(resource: Resource) -> list[dict[str, Any]]:
    entry: dict[str, Any] = {
        "name": resource.plural,
        "singularName": resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": ["create"] if resource is _REVIEW else _VERBS,
    }
    part = {**entry, "singularName": "", "verbs": ["get", "patch", "update"]}
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.is_custom or resource.plural in {"pods", "services", "jobs"}:
        entry["categories"] = ["all"]
    more = [{**part, "name": f"{resource.plural}/status"}] if resource.plural in _STATUS else []
    if resource.plural == "pods":
        more.append({**part, "name": "pods/log", "verbs": ["get"]})
        more.append({**part, "name": "pods/portforward", "verbs": ["create", "get"]})
    return [entry, *more]


def _schema_of(group: str) -> dict[str, Any]:
    """Return as much of OpenAPI as kubectl needs to leave the validation of fields to the server."""
    prefix = f"/apis/{group}/v1" if group else "/api/v1"
    paths = {
        f"{prefix}/namespaces/{{namespace}}/{resource.plural}/{{name}}": {"patch": _patch_operation(resource)}
        for resource in _SERVED
        if resource.group == group and resource is not _REVIEW
    }
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.36.1"}, "paths": paths}


def _patch_operation(resource: Resource) -> dict[str, Any]:
    names = ("dryRun", "fieldManager", "fieldValidation", "force")
    kind = {"group": resource.group, "kind": resource.kind, "version": resource.version}
    return {
        "operationId": f"patch{resource.kind}",
        "parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in names],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": kind,
    }


def _custom_schemas(version: str) -> dict[str, Any]:
    """Return what the CRDs say of RayJobs and RayClusters; pod templates are left out."""
    named: dict[str, Any] = {}
    for kind in KINDS:
        identity = [{"group": "ray.io", "version": "v1", "kind": kind}]
        named[f"io.ray.v1.{kind}"] = {**_schema(root(kind, version)), "x-kubernetes-group-version-kind": identity}
    return named


def _schema(field: Field) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": field.type} if field.type else {}
    if field.properties:
        schema["properties"] = {
            name: {"type": "object"} if name.lower().endswith("template") else _schema(inner)
            for name, inner in field.properties.items()
        }
    if field.items is not None:
        schema["items"] = _schema(field.items)
    if field.values is not None:
        schema["additionalProperties"] = _schema(field.values)
    return schema
