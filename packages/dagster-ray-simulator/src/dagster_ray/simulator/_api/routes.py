"""From a URL to what is asked of which objects. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from dagster_ray.simulator._kubelet.resources import EVENTS_V1, GROUPS, RESOURCES, Resource

_SUBRESOURCES = {"status", "log", "portforward"}
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Route:
    """A request on objects."""

    method: str
    resource: Resource
    namespace: str | None
    name: str | None
    subresource: str | None
    query: Mapping[str, str]

    @property
    def is_watch(self) -> bool:
        """Whether changes are asked for."""
        return self.method == "GET" and self.name is None and self.query.get("watch") in {"1", "true"}

    @property
    def verb(self) -> str:
        """The verb as a Role names it."""
        if self.subresource == "portforward":
            return "create"
        if self.method == "GET":
            return "watch" if self.is_watch else "list" if self.name is None else "get"
        if self.method == "DELETE" and self.name is None:
            return "deletecollection"
        return _VERBS.get(self.method, self.method.lower())

    @property
    def access_resource(self) -> str:
        """The resource as a Role names it, with its part: `pods/log`."""
        return self.resource.plural + (f"/{self.subresource}" if self.subresource else "")

    @property
    def access_namespace(self) -> str | None:
        """The namespace whose Roles count: a Namespace is in itself."""
        return self.name if self.resource.plural == "namespaces" else self.namespace

    @property
    def dry_run(self) -> bool:
        """Whether nothing may be changed."""
        return self.query.get("dryRun") == "All"


def _resource_of(group: str, version: str, plural: str) -> Resource:
    if (group, version, plural) == (EVENTS_V1.group, EVENTS_V1.version, EVENTS_V1.plural):
        return EVENTS_V1
    found = RESOURCES.get(plural)
    if found is not None and (found.group, found.version) == (group, version):
        return found
    return Resource(plural, plural, group, version, served=False)


def route_of(method: str, url: str) -> Route | None:
    """Return what a URL asks; None if it is no path of objects.

    What is not served has a resource that says so: rights on it are checked before it is said to be unknown. A group
    or version that is not served is unknown at once.
    """
    parts = urlsplit(url)
    words = [unquote(word) for word in parts.path.split("/") if word]
    if words[:1] == ["api"] and len(words) > 2:
        group, version, rest = "", words[1], words[2:]
    elif words[:1] == ["apis"] and len(words) > 3:
        group, version, rest = words[1], words[2], words[3:]
    else:
        return None
    if (group, version) not in GROUPS:
        return None
    namespace: str | None = None
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in _SUBRESOURCES:
        namespace, rest = rest[1], rest[2:]
    if len(rest) > 3 or (len(rest) == 3 and rest[2] not in _SUBRESOURCES):
        return None
    name, subresource = (*rest[1:], None, None)[:2]
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return Route(method, _resource_of(group, version, rest[0]), namespace, name, subresource, query)
