"""What an API server makes of the built-in kinds that people write by hand: unknown fields, defaults, refusals. Pure.

Rules and texts follow kube-apiserver 1.36 (pkg/apis/{rbac,networking,core}/validation). They are not from recordings.
Pods, Jobs and the other built-in kinds are stored as they are sent.
"""

import base64
import binascii
import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from dagster_ray.kuberay._kubernetes.fields import mapping, mappings
from dagster_ray.simulator._api.object_meta import META_FIELDS
from dagster_ray.simulator._api.schema import Admission
from dagster_ray.simulator._api.schema_causes import Cause, invalid, required, type_name, unsupported
from dagster_ray.simulator._api.schema_checks import inside
from dagster_ray.simulator._api.statuses import bad_request

Shape: TypeAlias = Any
"""A JSON type's name, "any", "port" (a number or a name), [a shape] for a list, or fields and their shapes."""

_TEXTS = ["string"]
_SELECTOR = {
    "matchLabels": {"*": "string"},
    "matchExpressions": [{"key": "string", "operator": "string", "values": _TEXTS}],
}
_PEERS = [
    {
        "podSelector": _SELECTOR,
        "namespaceSelector": _SELECTOR,
        "ipBlock": {"cidr": "string", "except": _TEXTS},
    }
]
_PORTS = [{"port": "port", "endPort": "integer", "protocol": "string"}]
_RULE = {
    "verbs": _TEXTS,
    "apiGroups": _TEXTS,
    "resources": _TEXTS,
    "resourceNames": _TEXTS,
    "nonResourceURLs": _TEXTS,
}
_REFERENCE = {"apiGroup": "string", "kind": "string", "name": "string"}
_SHAPES: Mapping[str, Shape] = {
    "Role": {"rules": [_RULE]},
    "RoleBinding": {"subjects": [{**_REFERENCE, "namespace": "string"}], "roleRef": _REFERENCE},
    "ServiceAccount": {
        "secrets": "any",
        "imagePullSecrets": [{"name": "string"}],
        "automountServiceAccountToken": "boolean",
    },
    "ConfigMap": {"data": {"*": "string"}, "binaryData": {"*": "string"}, "immutable": "boolean"},
    "Secret": {
        "data": {"*": "string"},
        "stringData": {"*": "string"},
        "immutable": "boolean",
        "type": "string",
    },
    "NetworkPolicy": {
        "spec": {
            "podSelector": _SELECTOR,
            "policyTypes": _TEXTS,
            "ingress": [{"from": _PEERS, "ports": _PORTS}],
            "egress": [{"to": _PEERS, "ports": _PORTS}],
        }
    },
}
_RBAC = "rbac.authorization.k8s.io"
_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_KEY_HELP = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  "
    "or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
BUILT_IN = frozenset(_SHAPES)
"""The kinds whose fields are checked."""


def admit_built_in(kind: str, obj: Mapping[str, Any]) -> Admission:
    """What the API server makes of an object of one of `BUILT_IN`.

    Raises:
        Refused: 400, a value has the wrong type, or is not base64.
    """
    unknown: list[str] = []
    shape = {**_SHAPES[kind], "apiVersion": "string", "kind": "string", "metadata": "any"}
    kept = _fitted(kind, copy.deepcopy(dict(obj)), shape, "", unknown)
    unknown.extend(f"metadata.{name}" for name in mapping(obj.get("metadata")) if name not in META_FIELDS)
    _default(kind, kept)
    return Admission(kept, tuple(sorted(unknown)), tuple(_CAUSES[kind](kept)))


def _fitted(kind: str, value: Any, shape: Shape, path: str, unknown: list[str]) -> Any:
    """A value without the fields that the kind does not have."""
    if value is None or shape == "any":
        return value
    if isinstance(shape, list):
        _require(kind, value, "array", path)
        return [_fitted(kind, item, shape[0], f"{path}[{number}]", unknown) for number, item in enumerate(value)]
    if not isinstance(shape, Mapping):
        _require(kind, value, shape, path)
        return value
    _require(kind, value, "object", path)
    fields: Mapping[str, Shape] = shape  # pyright: ignore[reportUnknownVariableType]
    unknown.extend(inside(path, name) for name in value if name not in fields and "*" not in fields)
    return {
        name: _fitted(kind, part, fields.get(name, fields.get("*")), inside(path, name), unknown)
        for name, part in value.items()
        if name in fields or "*" in fields
    }


def _require(kind: str, value: Any, wanted: str, path: str) -> None:
    found = type_name(value)
    if found != wanted and not (wanted == "port" and found in {"integer", "string"}):
        go = {"array": "[]", "object": "struct", "boolean": "bool", "integer": "int32", "port": "intstr.IntOrString"}
        unread = f"json: cannot unmarshal {found} into Go struct field {kind}.{path} of type {go.get(wanted, wanted)}"
        raise _unreadable(kind, unread)


def _unreadable(kind: str, why: str) -> Exception:
    return bad_request(f'{kind} in version "v1" cannot be handled as a {kind}: {why}')


def _default(kind: str, obj: dict[str, Any]) -> None:
    if kind == "RoleBinding" and isinstance(obj.get("roleRef"), dict):
        obj["roleRef"].setdefault("apiGroup", _RBAC)
    elif kind == "Secret":
        obj.setdefault("type", "Opaque")
        for key, value in mapping(obj.get("data")).items():
            try:
                base64.b64decode(str(value or ""), validate=True)
            except binascii.Error as error:
                raise _unreadable(kind, f"illegal base64 data in data.{key}") from error
        if written := obj.pop("stringData", None):
            encoded = {key: base64.b64encode(str(value).encode()).decode() for key, value in written.items()}
            obj["data"] = {**mapping(obj.get("data")), **encoded}
    elif kind == "NetworkPolicy" and isinstance(obj.get("spec"), dict):
        spec: dict[str, Any] = obj["spec"]
        spec.setdefault("policyTypes", ["Ingress", *(["Egress"] if spec.get("egress") else [])])
        for rule in (*mappings(spec.get("ingress")), *mappings(spec.get("egress"))):
            for port in rule.get("ports") or ():
                port.setdefault("protocol", "TCP")


def _role_causes(obj: Mapping[str, Any]) -> Iterator[Cause]:
    for number, rule in enumerate(mappings(obj.get("rules"))):
        path = f"rules[{number}]"
        if not rule.get("verbs"):
            yield required(f"{path}.verbs", "verbs must contain at least one value")
        if urls := rule.get("nonResourceURLs"):
            yield invalid(f"{path}.nonResourceURLs", urls, "namespaced rules cannot apply to non-resource URLs")
            continue
        if not rule.get("apiGroups"):
            yield required(f"{path}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            yield required(f"{path}.resources", "resource rules must supply at least one resource")


def _binding_causes(obj: Mapping[str, Any]) -> Iterator[Cause]:
    role = mapping(obj.get("roleRef"))
    if role.get("apiGroup") != _RBAC:
        yield unsupported("roleRef.apiGroup", role.get("apiGroup", ""), (_RBAC,))
    if role.get("kind") not in {"Role", "ClusterRole"}:
        yield unsupported("roleRef.kind", role.get("kind", ""), ("ClusterRole", "Role"))
    if not role.get("name"):
        yield required("roleRef.name")
    for number, subject in enumerate(mappings(obj.get("subjects"))):
        path = f"subjects[{number}]"
        if not subject.get("name"):
            yield required(f"{path}.name")
        if subject.get("kind") not in {"ServiceAccount", "User", "Group"}:
            yield unsupported(f"{path}.kind", subject.get("kind", ""), ("Group", "ServiceAccount", "User"))
        elif subject["kind"] == "ServiceAccount":
            if subject.get("apiGroup"):
                yield unsupported(f"{path}.apiGroup", subject["apiGroup"], ("",))
            if not subject.get("namespace"):
                yield required(f"{path}.namespace")


def _key_causes(obj: Mapping[str, Any]) -> Iterator[Cause]:
    for field in ("data", "binaryData"):
        for key in mapping(obj.get(field)):
            if _KEY.fullmatch(key) is None:
                yield invalid(f"{field}[{key}]", key, _KEY_HELP)


def _policy_causes(obj: Mapping[str, Any]) -> Iterator[Cause]:
    spec = mapping(obj.get("spec"))
    yield from _selector_causes(spec.get("podSelector"), "spec.podSelector")
    for field, peers in (("ingress", "from"), ("egress", "to")):
        for number, rule in enumerate(mappings(spec.get(field))):
            path = f"spec.{field}[{number}]"
            for index, port in enumerate(mappings(rule.get("ports"))):
                yield from _port_causes(port, f"{path}.ports[{index}]")
            for index, peer in enumerate(mappings(rule.get(peers))):
                yield from _peer_causes(peer, f"{path}.{peers}[{index}]")
    for number, word in enumerate(spec.get("policyTypes") or ()):
        if word not in {"Ingress", "Egress"}:
            yield unsupported(f"spec.policyTypes[{number}]", word, ("Egress", "Ingress"))


def _port_causes(port: Mapping[str, Any], path: str) -> Iterator[Cause]:
    if port.get("protocol") not in {"TCP", "UDP", "SCTP"}:
        yield unsupported(f"{path}.protocol", port.get("protocol"), ("SCTP", "TCP", "UDP"))
    number = port.get("port")
    if isinstance(number, int) and not 0 < number < 65536:
        yield invalid(f"{path}.port", number, "must be between 1 and 65535, inclusive")


def _peer_causes(peer: Mapping[str, Any], path: str) -> Iterator[Cause]:
    if not peer:
        yield required(path, "must specify a peer")
    if "ipBlock" in peer and len(peer) > 1:
        yield Cause("FieldValueForbidden", "Forbidden: may not specify both ipBlock and another peer", path)
    for name in ("podSelector", "namespaceSelector"):
        yield from _selector_causes(peer.get(name), f"{path}.{name}")


def _selector_causes(selector: Any, path: str) -> Iterator[Cause]:
    for number, one in enumerate(mappings(mapping(selector).get("matchExpressions"))):
        where, operator = f"{path}.matchExpressions[{number}]", one.get("operator", "")
        if operator not in {"In", "NotIn", "Exists", "DoesNotExist"}:
            yield invalid(f"{where}.operator", operator, "not a valid selector operator")
        elif operator in {"In", "NotIn"} and not one.get("values"):
            yield required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in {"Exists", "DoesNotExist"} and one.get("values"):
            text = "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            yield Cause("FieldValueForbidden", text, f"{where}.values")


def _no_causes(_obj: Mapping[str, Any]) -> Iterator[Cause]:
    yield from ()


_CAUSES = {
    "Role": _role_causes,
    "RoleBinding": _binding_causes,
    "ServiceAccount": _no_causes,
    "ConfigMap": _key_causes,
    "Secret": _key_causes,
    "NetworkPolicy": _policy_causes,
}
