"""What the API says of itself, as far as clients ask. Pure."""

from typing import Any

from dagster_ray.kuberay.testing._resources import EVENTS_V1, RESOURCES, Resource

_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_STATUS = {"rayjobs", "rayclusters", "pods", "services", "jobs"}

_SERVED = [*RESOURCES.values(), EVENTS_V1]
_GROUPS = sorted({resource.group for resource in _SERVED if resource.group})


def discovery(path: str, *, without_rays: bool) -> dict[str, Any] | None:  # noqa: PLR0911 - one path a line
    """Return what a path of the API's self-description answers; None if it is no such path.

    Args:
        path: The path without query.
        without_rays: Whether KubeRay's CRDs are not installed.
    """
    groups = [group for group in _GROUPS if not (without_rays and group == "ray.io")]
    words = [word for word in path.split("/") if word]
    match words:
        case ["version"]:
            return {"major": "1", "minor": "36", "gitVersion": "v1.36.1", "platform": "linux/amd64"}
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"]}
        case ["apis"]:
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name) for name in groups]}
        case ["apis", name] if name in groups:
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(name)}
        case ["api", "v1"]:
            return _resources("", "v1")
        case ["apis", name, "v1"] if name in groups:
            return _resources(name, "v1")
        case _:
            return None


def _group(name: str) -> dict[str, Any]:
    version = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [version], "preferredVersion": version}


def _resources(group: str, version: str) -> dict[str, Any]:
    served = [resource for resource in _SERVED if (resource.group, resource.version) == (group, version)]
    entries = [entry for resource in served for entry in _entries(resource)]
    name = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": entries}


def _entries(resource: Resource) -> list[dict[str, Any]]:
    entry: dict[str, Any] = {
        "name": resource.plural,
        "singularName": resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": _VERBS,
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.group == "ray.io":
        entry["categories"] = ["all"]
    parts = [f"{resource.plural}/status"] if resource.plural in _STATUS else []
    parts += ["pods/log", "pods/portforward"] if resource.plural == "pods" else []
    more = [{**entry, "name": part, "singularName": "", "verbs": ["get", "patch", "update"]} for part in parts]
    return [entry, *({key: part[key] for key in part if key not in {"shortNames", "categories"}} for part in more)]
