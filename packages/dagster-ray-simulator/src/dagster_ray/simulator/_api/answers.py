"""Requests on objects, answered from the store."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import at, mapping
from dagster_ray.simulator._api.bodies import APPLY, sent_object, sent_options, sent_patch
from dagster_ray.simulator._api.built_in_kinds import BUILT_IN, admit_built_in
from dagster_ray.simulator._api.events_v1 import as_served, as_stored
from dagster_ray.simulator._api.lists import cut, page_of, too_old
from dagster_ray.simulator._api.object_writes import check_preconditions
from dagster_ray.simulator._api.patches import JSON, STRATEGIC
from dagster_ray.simulator._api.routes import Route
from dagster_ray.simulator._api.schema import admit
from dagster_ray.simulator._api.schema_answers import invalid_status, strict_patch_status, strict_status, warnings
from dagster_ray.simulator._api.selectors import Matcher, field_matcher, label_matcher
from dagster_ray.simulator._api.statuses import Refused, bad_request, has_changed, not_found, without_version
from dagster_ray.simulator._api.store import Object, Store
from dagster_ray.simulator._api.tables import metadata_only, table
from dagster_ray.simulator._kubelet.resources import RESOURCES

_JSON_PATCH_OPERATIONS = 10_000
_ANSWERS_BY_OBJECT = {"pods", "services", "serviceaccounts"}
# Their PUT must name a resourceVersion (kubernetes: AllowUnconditionalUpdate of the resource's strategy).
_VERSION_REQUIRED = {"rayjobs", "rayclusters", "leases", "customresourcedefinitions"}


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: Mapping[str, Any]
    warnings: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Sent:
    """What a client sent: the body, its media type, and what the client takes as an answer."""

    raw: bytes = b""
    content_type: str = "application/json"
    accept: str = ""


def matcher_of(route: Route) -> Matcher:
    """Return what the selectors of a request match, on objects as they are stored."""
    labels, fields = route.query.get("labelSelector"), route.query.get("fieldSelector")
    tests = ([label_matcher(labels)] if labels else []) + ([field_matcher(fields, route.resource)] if fields else [])
    return lambda obj: all(test(obj) for test in tests)


def represented(route: Route, obj: Mapping[str, Any], accept: str, store: Store) -> Mapping[str, Any]:
    """Return a stored object as the client wants to see it."""
    if "as=Table" in accept:
        return table(route.resource, [obj], {"resourceVersion": at(obj, "metadata", "resourceVersion")}, store.now())
    if "as=PartialObjectMetadata" in accept:
        return metadata_only(obj)
    return as_served(route.resource, obj)


class Objects:
    """Answers to requests on objects."""

    def __init__(self, store: Store, version: str) -> None:
        """Take the store and the KubeRay version whose CRDs are installed."""
        self._store, self._version = store, version
        self.operator_pod: Callable[[], Object | None] = lambda: None
        """The operator's own pod while it runs. No kubelet runs it, so it is not among the objects of the store."""

    def answer(self, route: Route, sent: Sent) -> Answer:
        """Return the answer to a request that is neither a watch nor a stream.

        Raises:
            Refused: The API server refuses it.
        """
        match route.method:
            case "POST":
                return self._create(route, sent)
            case "GET":
                return self._list(route, sent.accept) if route.name is None else self._get(route, sent.accept)
            case "PUT":
                return self._replace(route, sent)
            case "PATCH":
                return self._patch(route, sent)
            case "DELETE":
                return self._delete_all(route) if route.name is None else self._delete(route, sent)
            case _:
                raise Refused(
                    405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
                )

    def found(self, route: Route) -> Object:
        """Return the object that a route names.

        Raises:
            Refused: 404.
        """
        obj = self._store.get(route.resource.plural, route.namespace or "", route.name or "")
        if obj is None:
            raise not_found(route.resource, route.name or "")
        return obj

    # Reading

    def _get(self, route: Route, accept: str) -> Answer:
        name = route.name or ""
        own = next((pod for pod in self._operator_pods(route) if at(pod, "metadata", "name") == name), None)
        return Answer(200, represented(route, own or self.found(route), accept, self._store))

    def _operator_pods(self, route: Route) -> tuple[Object, ...]:
        pod = self.operator_pod() if route.resource.plural == "pods" else None
        return (pod,) if pod is not None and route.namespace in {None, at(pod, "metadata", "namespace")} else ()

    def _list(self, route: Route, accept: str) -> Answer:
        matches, page = matcher_of(route), page_of(route.query, self._store.resource_version)
        snapshot = self._store.snapshot(route.resource.plural, route.namespace, page.version)
        if snapshot is None:
            raise too_old(page)
        selected = bool(route.query.get("labelSelector") or route.query.get("fieldSelector"))
        matching = [obj for obj in (*snapshot.objects, *self._operator_pods(route)) if matches(obj)]
        items, metadata = cut(matching, page, snapshot.version, route.namespace, selected=selected)
        if "as=Table" in accept:
            return Answer(200, table(route.resource, items, metadata, self._store.now()))
        kind, api_version = f"{route.resource.kind}List", route.resource.api_version
        shown = [as_served(route.resource, obj) for obj in items]
        if "as=PartialObjectMetadata" in accept:
            kind, api_version = "PartialObjectMetadataList", "meta.k8s.io/v1"
            shown = [metadata_only(obj) for obj in items]
        return Answer(200, {"apiVersion": api_version, "items": shown, "kind": kind, "metadata": metadata})

    # Writing

    def _create(self, route: Route, sent: Sent) -> Answer:
        obj = as_stored(route.resource, sent_object(route.resource, sent.raw, sent.content_type))
        return self._created(route, obj)

    def _created(self, route: Route, obj: Object) -> Answer:
        metadata = dict(mapping(obj.get("metadata")))
        if metadata.get("namespace", route.namespace) != route.namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        if route.namespace is not None:
            metadata["namespace"] = route.namespace
            if self._store.get("namespaces", "", route.namespace) is None:
                raise not_found(RESOURCES["namespaces"], route.namespace)
        obj["metadata"] = metadata
        told: tuple[str, ...] = ()
        if _is_checked(route):
            obj, told = self._admitted(route, obj, None)
        made = self._store.create(route.resource.plural, obj, dry_run=route.dry_run)
        return Answer(201, as_served(route.resource, made), told)

    def _admitted(
        self, route: Route, obj: Mapping[str, Any], old: Object | None, *, patched: bool = False
    ) -> tuple[Object, tuple[str, ...]]:
        """Return what is stored of an object, and the warnings about fields that nobody knows."""
        kind = route.resource.kind
        without_status = {key: value for key, value in obj.items() if key != "status"}
        if kind in BUILT_IN:
            found = admit_built_in(kind, without_status)
        else:
            found = admit(kind, without_status, self._version, old)  # type: ignore[arg-type]
        validation = route.query.get("fieldValidation") or "Warn"
        if validation == "Strict" and found.unknown_fields:
            strict = strict_patch_status(json.dumps(obj), found.unknown_fields)
            raise Refused.of_status(strict if patched else strict_status(kind, found.unknown_fields))
        if found.causes:
            name = str(at(obj, "metadata", "name") or "")
            refused = invalid_status(str(obj.get("kind") or kind), route.resource.group, name, found.causes)
            raise Refused.of_status(refused)
        told = warnings(found.unknown_fields) if validation == "Warn" else ()
        return ({**found.object, "status": obj["status"]} if "status" in obj else found.object), told

    def _replace(self, route: Route, sent: Sent) -> Answer:
        resource = route.resource
        if route.name is None:
            raise bad_request("name must be provided")
        new = as_stored(resource, sent_object(resource, sent.raw, sent.content_type))
        metadata = mapping(new.get("metadata"))
        if metadata.get("name", route.name) != route.name:
            text = f"the name of the object ({metadata['name']}) does not match the name on the URL ({route.name})"
            raise bad_request(text)
        old = self.found(route)
        new["metadata"] = {**metadata, "name": route.name, "namespace": route.namespace or ""}
        version = metadata.get("resourceVersion")
        if not version and resource.plural in _VERSION_REQUIRED:
            raise without_version(resource, route.name)
        if version and version != old["metadata"]["resourceVersion"]:
            raise has_changed(resource, route.name)
        if route.subresource == "status":
            return Answer(200, self._store.replace_status(resource.plural, new, dry_run=route.dry_run))
        told: tuple[str, ...] = ()
        if _is_checked(route):
            new, told = self._admitted(route, new, old)
        stored = self._store.replace(resource.plural, new, dry_run=route.dry_run)
        return Answer(200, as_served(resource, stored), told)

    def _patch(self, route: Route, sent: Sent) -> Answer:
        resource, name = route.resource, route.name or ""
        body = sent_patch(resource, sent.raw, sent.content_type)
        if sent.content_type == JSON and len(body) > _JSON_PATCH_OPERATIONS:
            text = f"The allowed maximum operations in a JSON patch is {_JSON_PATCH_OPERATIONS}, got {len(body)}"
            raise Refused(413, "RequestEntityTooLarge", text)
        namespace = route.namespace or ""
        if sent.content_type == APPLY and self._store.get(resource.plural, namespace, name) is None:
            return self._created(route, body)
        told: list[str] = []

        def judge(new: Object, old: Object) -> Object:
            found, warned = self._admitted(route, new, old, patched=True)
            told.extend(warned)
            return found

        stored = self._store.patch(
            resource.plural,
            namespace,
            name,
            body,
            sent.content_type if sent.content_type in {JSON, STRATEGIC} else "",
            status=route.subresource == "status",
            dry_run=route.dry_run,
            judge=judge if _is_checked(route) else None,
        )
        return Answer(200, as_served(resource, stored), tuple(told))

    def _delete(self, route: Route, sent: Sent) -> Answer:
        plural, options = route.resource.plural, {**route.query, **sent_options(sent.raw)}
        found, seconds = self.found(route), options.get("gracePeriodSeconds")
        uid, version = at(options, "preconditions", "uid"), at(options, "preconditions", "resourceVersion")
        if "All" in (options.get("dryRun") or ()):
            check_preconditions(route.resource, found, uid, version)
            return _deleted(route, found)
        left = self._store.delete(
            plural,
            route.namespace or "",
            route.name or "",
            propagation=str(options.get("propagationPolicy") or "Background"),
            uid=uid,
            resource_version=version,
            grace_seconds=None if seconds is None else int(seconds),
        )
        if "deletionTimestamp" in left["metadata"]:
            return Answer(200, as_served(route.resource, left))
        return _deleted(route, left)

    def _delete_all(self, route: Route) -> Answer:
        listed = self._list(route, "")
        for obj in listed.body["items"]:
            metadata = obj["metadata"]
            try:
                self._store.delete(route.resource.plural, metadata.get("namespace") or "", metadata["name"])
            except Refused as refused:
                if refused.code != 404:  # gone with its owner, meanwhile
                    raise
        metadata = {**listed.body["metadata"], "resourceVersion": str(self._store.resource_version)}
        return Answer(200, {**listed.body, "metadata": metadata})


def _is_checked(route: Route) -> bool:
    return route.resource.is_custom or route.resource.kind in BUILT_IN


def _deleted(route: Route, obj: Object) -> Answer:
    if route.resource.plural in _ANSWERS_BY_OBJECT:
        return Answer(200, obj)
    details: dict[str, Any] = {"name": route.name}
    if route.resource.group:
        details["group"] = route.resource.group
    details |= {"kind": route.resource.plural, "uid": obj["metadata"]["uid"]}
    return Answer(200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
