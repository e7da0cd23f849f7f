"""One call of the Kubernetes API, for the request and for errors. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from dagster_ray.kuberay._kubernetes.kinds import Kind


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
