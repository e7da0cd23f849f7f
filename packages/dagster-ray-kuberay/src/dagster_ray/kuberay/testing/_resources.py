"""The resources that the simulator serves. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object and where the API serves it."""

    plural: str
    kind: str
    group: str = ""
    version: str = "v1"
    short_names: tuple[str, ...] = ()
    namespaced: bool = True

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
    Resource("namespaces", "Namespace", short_names=("ns",), namespaced=False),
    Resource("leases", "Lease", "coordination.k8s.io"),
    Resource("jobs", "Job", "batch"),
    Resource("endpointslices", "EndpointSlice", "discovery.k8s.io"),
)
RESOURCES = {resource.plural: resource for resource in _ALL}

EVENTS_V1 = Resource("events", "Event", "events.k8s.io")
"""The second view of the one store of events."""
