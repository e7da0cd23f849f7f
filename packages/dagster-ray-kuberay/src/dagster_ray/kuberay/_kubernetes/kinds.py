"""The kinds of Kubernetes objects that dagster-ray touches, and a call on one, for requests and errors. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object, and where the API serves it."""

    group: str
    """Empty for the core group."""
    version: str
    plural: str
    kind: str

    @property
    def resource(self) -> str:
        """The name that a Role uses: `rayjobs.ray.io`, `pods`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the URL path of the objects of a namespace (None: of all), of one object, or of a part of it."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{_segment(namespace)}" if namespace is not None else ""
        tail = "".join(f"/{_segment(part)}" for part in (name, subresource) if part is not None)
        return f"{root}{scope}/{self.plural}{tail}"


def _segment(text: str) -> str:
    """Return a name as one segment of a path, whatever is in it: `../..` must not lead to another object."""
    return text.replace(".", "%2E") if text in {".", ".."} else quote(text, safe="")


RAYJOBS = Kind("ray.io", "v1", "rayjobs", "RayJob")
RAYCLUSTERS = Kind("ray.io", "v1", "rayclusters", "RayCluster")
PODS = Kind("", "v1", "pods", "Pod")
SERVICES = Kind("", "v1", "services", "Service")
SECRETS = Kind("", "v1", "secrets", "Secret")
EVENTS = Kind("", "v1", "events", "Event")
ACCESS_REVIEWS = Kind("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview")
RULES_REVIEWS = Kind("authorization.k8s.io", "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview")
NAMESPACES = Kind("", "v1", "namespaces", "Namespace")
NODES = Kind("", "v1", "nodes", "Node")
CLAIMS = Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
ENDPOINT_SLICES = Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
WORKLOADS = Kind("kueue.x-k8s.io", "v1beta1", "workloads", "Workload")


SAID_OF_DELETION = {
    "deleted": "was deleted",
    "going": "is being deleted",
    "gone": "was already gone",
}
"""What is logged of an object, by what the API server answered to its deletion."""


def propagation_of(kind: Kind) -> str:
    """Return how an object is deleted.

    The name of a RayCluster stays taken until its pods are gone: under a new cluster of the same name the operator
    would take them for its own. The finalizer of a RayJob leads to the same (run with 1.7.0).
    """
    return "Background" if kind is RAYJOBS else "Foreground"


@dataclass(frozen=True, slots=True)
class Call:
    """One call."""

    verb: str
    """As a Role names it."""
    method: str
    kind: Kind
    namespace: str | None
    name: str | None = None
    subresource: str | None = None
    query: Mapping[str, str] | None = None
    body: Mapping[str, Any] | None = None
    content_type: str = "application/json"
    accept: str = "application/json"
    """In which form the answer is wanted, as the header Accept names it; a log comes as it is."""
    whole_path: str | None = None
    """The path of its URL, where it is no object's."""

    @property
    def form(self) -> str:
        """What the body of a success holds: `object`, `json` or `text`."""
        if self.subresource == "log":
            return "text"
        return "object" if self.whole_path is None else "json"

    @property
    def path(self) -> str:
        """The path of its URL, with the query."""
        if self.whole_path is not None:
            return self.whole_path
        tail = f"?{urlencode(self.query)}" if self.query else ""
        return self.kind.path(self.namespace, self.name, self.subresource) + tail
