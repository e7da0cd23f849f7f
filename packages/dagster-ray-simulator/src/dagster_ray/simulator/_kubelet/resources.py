"""The resources that the simulator serves. Pure."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object and where the API serves it."""

    plural: str
    kind: str
    group: str = ""
    version: str = "v1"
    short_names: tuple[str, ...] = ()
    namespaced: bool = True

    served: bool = True
    """Whether the simulator knows it; else it is only named in a refusal."""

    @property
    def is_custom(self) -> bool:
        """Whether a CRD defines it."""
        return self.group == "ray.io"

    @property
    def counts_generations(self) -> bool:
        """Whether its objects have metadata.generation."""
        return self.group in {"ray.io", "apiextensions.k8s.io", "networking.k8s.io"} or self.plural in {"pods", "jobs"}

    @property
    def api_version(self) -> str:
        """What an object of the kind has as apiVersion."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """The name in messages: `rayjobs.ray.io`, `pods`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_kind(self) -> str:
        """The kind in messages: `RayJob.ray.io`, `Pod`."""
        return f"{self.kind}.{self.group}" if self.group else self.kind


_ALL = (
    Resource("rayjobs", "RayJob", "ray.io"),
    Resource("rayclusters", "RayCluster", "ray.io"),
    Resource("pods", "Pod", short_names=("po",)),
    Resource("services", "Service", short_names=("svc",)),
    Resource("events", "Event", short_names=("ev",)),
    Resource("secrets", "Secret"),
    Resource("configmaps", "ConfigMap", short_names=("cm",)),
    Resource("serviceaccounts", "ServiceAccount", short_names=("sa",)),
    Resource("persistentvolumeclaims", "PersistentVolumeClaim", short_names=("pvc",)),
    Resource("nodes", "Node", short_names=("no",), namespaced=False),
    Resource("namespaces", "Namespace", short_names=("ns",), namespaced=False),
    Resource("leases", "Lease", "coordination.k8s.io"),
    Resource("jobs", "Job", "batch"),
    Resource("endpointslices", "EndpointSlice", "discovery.k8s.io"),
    Resource("roles", "Role", "rbac.authorization.k8s.io"),
    Resource("rolebindings", "RoleBinding", "rbac.authorization.k8s.io"),
    Resource("networkpolicies", "NetworkPolicy", "networking.k8s.io", short_names=("netpol",)),
    Resource("workloads", "Workload", "kueue.x-k8s.io", "v1beta1"),
    Resource(
        "customresourcedefinitions",
        "CustomResourceDefinition",
        "apiextensions.k8s.io",
        short_names=("crd", "crds"),
        namespaced=False,
    ),
)
RESOURCES = {resource.plural: resource for resource in _ALL}
KINDS = {(resource.api_version, resource.kind) for resource in _ALL}

EVENTS_V1 = Resource("events", "Event", "events.k8s.io")
"""The second view of the one store of events."""

GROUPS = {(resource.group, resource.version) for resource in (*_ALL, EVENTS_V1)}
"""Group and version of everything that is served."""


def definition(resource: Resource) -> dict[str, Any]:
    """Return the CustomResourceDefinition of a resource, without its schema."""
    names = {
        "categories": ["all"],
        "kind": resource.kind,
        "listKind": f"{resource.kind}List",
        "plural": resource.plural,
        "singular": resource.kind.lower(),
    }
    versions: list[dict[str, Any]] = [
        {"name": resource.version, "served": True, "storage": True, "subresources": {"status": {}}}
    ]
    established = {"type": "Established", "status": "True", "reason": "InitialNamesAccepted", "message": ""}
    return {
        "metadata": {"name": resource.qualified},
        "spec": {"group": resource.group, "names": names, "scope": "Namespaced", "versions": versions},
        "status": {"acceptedNames": names, "conditions": [established], "storedVersions": [resource.version]},
    }
