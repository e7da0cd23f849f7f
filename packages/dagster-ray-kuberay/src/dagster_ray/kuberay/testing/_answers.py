"""Requests on objects, answered from the store."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dagster_ray.kuberay._manifest_fields import at, mapping
from dagster_ray.kuberay.testing._patches import JSON, MERGE
from dagster_ray.kuberay.testing._resources import EVENTS_V1, RESOURCES
from dagster_ray.kuberay.testing._routes import Route
from dagster_ray.kuberay.testing._schema import admit
from dagster_ray.kuberay.testing._schema_answers import invalid_status, strict_status, warnings
from dagster_ray.kuberay.testing._selectors import Matcher, field_matcher, label_matcher
from dagster_ray.kuberay.testing._statuses import Refused, expired, not_found
from dagster_ray.kuberay.testing._store import Object, Store
from dagster_ray.kuberay.testing._tables import table, wants_table

_PATCHES = {JSON, MERGE}
_BUILT_IN_PATCHES = {"application/strategic-merge-patch+json"}


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: Mapping[str, Any]
    warnings: tuple[str, ...] = field(default=())


def matcher_of(route: Route) -> Matcher:
    """Return what the selectors of a request match."""
    tests = [
        make(text)
        for make, text in (
            (label_matcher, route.query.get("labelSelector")),
            (field_matcher, route.query.get("fieldSelector")),
        )
        if text
    ]
    return lambda obj: all(test(obj) for test in tests)


def as_served(route: Route, obj: Object) -> Object:
    """Return an object as the API version of the request shows it: events.k8s.io has other names for the same."""
    if route.resource is not EVENTS_V1:
        return obj
    renamed = {"involvedObject": "regarding", "message": "note", "source": "deprecatedSource"}
    renamed |= {"firstTimestamp": "deprecatedFirstTimestamp", "lastTimestamp": "deprecatedLastTimestamp"}
    renamed |= {"count": "deprecatedCount", "reportingComponent": "reportingController"}
    shown = {renamed.get(key, key): value for key, value in obj.items()}
    return {**shown, "apiVersion": EVENTS_V1.api_version}


def admission(
    version: str, kind: str, obj: Object, old: Object | None, validation: str
) -> tuple[Object, tuple[str, ...]]:
    """Return what is stored of an object of ray.io, and the warnings about fields that nobody knows.

    Raises:
        Refused: 422, or 400 when `validation` is Strict.
    """
    if kind not in {"RayJob", "RayCluster"}:
        return obj, ()
    found = admit(kind, obj, version, old)  # type: ignore[arg-type]
    if validation == "Strict" and found.unknown_fields:
        raise Refused.of_status(strict_status(kind, found.unknown_fields))
    if found.causes:
        raise Refused.of_status(invalid_status(kind, str(at(obj, "metadata", "name") or ""), found.causes))
    told = warnings(found.unknown_fields) if validation == "Warn" else ()
    return found.object, told


class Objects:
    """Answers to requests on objects."""

    def __init__(self, store: Store, version: str) -> None:
        """Take the store and the KubeRay version whose CRDs are installed."""
        self._store, self._version = store, version

    def answer(self, route: Route, body: Any, content_type: str, accept: str) -> Answer:
        """Return the answer to a request that is neither a watch nor a stream."""
        if route.namespace is not None and route.method == "POST":
            self._check_namespace(route.namespace)
        match route.method:
            case "POST":
                return self._create(route, body)
            case "GET":
                return self._list(route, accept) if route.name is None else self._get(route, accept)
            case "PUT":
                return self._replace(route, body)
            case "PATCH":
                return self._patch(route, body, content_type)
            case "DELETE":
                return self._delete_all(route) if route.name is None else self._delete(route, body)
            case _:
                raise Refused(
                    405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
                )

    def _check_namespace(self, namespace: str) -> None:
        if self._store.get("namespaces", "", namespace) is None:
            raise not_found(RESOURCES["namespaces"], namespace)

    def _found(self, route: Route) -> Object:
        obj = self._store.get(route.resource.plural, route.namespace or "", route.name or "")
        if obj is None:
            raise not_found(route.resource, route.name or "")
        return obj

    def _admitted(self, route: Route, obj: Object, old: Object | None) -> tuple[Object, tuple[str, ...]]:
        validation = route.query.get("fieldValidation") or "Warn"
        without_status = {key: value for key, value in obj.items() if key != "status"}
        found, told = admission(self._version, route.resource.kind, without_status, old, validation)
        return ({**found, "status": obj["status"]} if "status" in obj else found), told

    def _create(self, route: Route, body: Any) -> Answer:
        obj = dict(mapping(body))
        metadata = dict(mapping(obj.get("metadata")))
        if metadata.get("namespace", route.namespace) != route.namespace:
            raise Refused(
                400,
                "BadRequest",
                "the namespace of the provided object does not match the namespace sent on the request",
            )
        if route.namespace is not None:
            metadata["namespace"] = route.namespace
        obj["metadata"] = metadata
        named = {**metadata, "name": metadata.get("name") or f"{metadata.get('generateName', '')}xxxxx"}
        if route.resource.group == "ray.io" and (metadata.get("name") or metadata.get("generateName")):
            found, told = self._admitted(route, {**obj, "metadata": named}, None)
            obj = {**found, "metadata": {**found["metadata"], **metadata}}
        else:
            told = ()
        made = self._store.create(route.resource.plural, obj, dry_run=route.query.get("dryRun") == "All")
        return Answer(201, as_served(route, made), told)

    def _get(self, route: Route, accept: str) -> Answer:
        obj = as_served(route, self._found(route))
        if wants_table(accept):
            version = obj["metadata"]["resourceVersion"]
            return Answer(200, table(route.resource.plural, [obj], version, self._store.now()))
        return Answer(200, obj)

    def _list(self, route: Route, accept: str) -> Answer:
        plural, version = route.resource.plural, self._store.resource_version
        if (wanted := route.query.get("resourceVersion", "0")).isdecimal() and int(wanted) > version:
            raise Refused(504, "Timeout", f"Too large resource version: {wanted}, current: {version}")
        matches = matcher_of(route)
        items = [as_served(route, o) for o in self._store.list(plural, route.namespace) if matches(o)]
        if wants_table(accept):
            return Answer(200, table(plural, items, str(version), self._store.now()))
        start, first_version = _continued(route.query.get("continue"), version)
        items = [item for item in items if _place(item) > start]
        limit = int(route.query.get("limit") or 0)
        metadata: dict[str, Any] = {"continue": "", "resourceVersion": str(first_version)}
        if limit and len(items) > limit:
            token = {"v": "meta.k8s.io/v1", "rv": first_version, "start": _place(items[limit - 1])}
            metadata["continue"] = base64.b64encode(json.dumps(token).encode()).decode()
            if not route.query.get("labelSelector") and not route.query.get("fieldSelector"):
                metadata["remainingItemCount"] = len(items) - limit
            items = items[:limit]
        kind, api_version = f"{route.resource.kind}List", route.resource.api_version
        return Answer(200, {"apiVersion": api_version, "items": items, "kind": kind, "metadata": metadata})

    def _replace(self, route: Route, body: Any) -> Answer:
        old, new = self._found(route), dict(mapping(body))
        new["metadata"] = {**mapping(new.get("metadata")), "name": route.name, "namespace": route.namespace or ""}
        if route.subresource == "status":
            return Answer(200, self._store.replace_status(route.resource.plural, new))
        told: tuple[str, ...] = ()
        if route.resource.group == "ray.io":
            new, told = self._admitted(route, new, old)
        return Answer(200, as_served(route, self._store.replace(route.resource.plural, new)), told)

    def _patch(self, route: Route, body: Any, content_type: str) -> Answer:
        accepted = _PATCHES if route.resource.group else _PATCHES | _BUILT_IN_PATCHES
        if content_type not in accepted:
            message = (
                "the body of the request was in an unknown format - accepted media types include: "
                "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
            )
            raise Refused(415, "UnsupportedMediaType", message, {})
        plural, namespace, name = route.resource.plural, route.namespace or "", route.name or ""
        chosen = MERGE if content_type in _BUILT_IN_PATCHES else content_type
        status = route.subresource == "status"
        return Answer(200, as_served(route, self._store.patch(plural, namespace, name, body, chosen, status=status)))

    def _delete(self, route: Route, body: Any) -> Answer:
        found, options = self._found(route), {**route.query, **mapping(body)}
        seconds = options.get("gracePeriodSeconds")
        if "All" in (options.get("dryRun") or ()):
            return _deleted(route, found)
        left = self._store.delete(
            route.resource.plural,
            route.namespace or "",
            route.name or "",
            propagation=str(options.get("propagationPolicy") or "Background"),
            uid=at(options, "preconditions", "uid"),
            resource_version=at(options, "preconditions", "resourceVersion"),
            grace_seconds=None if seconds is None else int(seconds),
        )
        if self._store.get(route.resource.plural, route.namespace or "", route.name or "") is not None:
            return Answer(200, as_served(route, left))
        return _deleted(route, found)

    def _delete_all(self, route: Route) -> Answer:
        matches = matcher_of(route)
        for obj in self._store.list(route.resource.plural, route.namespace):
            if matches(obj):
                self._store.delete(route.resource.plural, route.namespace or "", obj["metadata"]["name"])
        return self._list(route, "")


def _place(obj: Mapping[str, Any]) -> str:
    return f"{at(obj, 'metadata', 'namespace') or ''}/{at(obj, 'metadata', 'name')}"


def _continued(token: str | None, version: int) -> tuple[str, int]:
    """Return after which object a list goes on, and the version that its first page had."""
    if not token:
        return "", version
    try:
        read = json.loads(base64.b64decode(token))
        return str(read["start"]), int(read["rv"])
    except (ValueError, KeyError) as error:
        raise Refused(400, "BadRequest", "continue key is not valid: unknown format") from error


def expired_continue() -> Refused:
    """Return the refusal of a continue token that is too old."""
    return expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter."
    )


def _deleted(route: Route, obj: Object) -> Answer:
    details = {"name": route.name, "kind": route.resource.plural, "uid": obj["metadata"]["uid"]}
    if route.resource.group:
        details["group"] = route.resource.group
    if not route.resource.group:
        return Answer(200, obj)
    return Answer(200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
