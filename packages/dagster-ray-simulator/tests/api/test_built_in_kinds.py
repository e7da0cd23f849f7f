"""What the simulated API server makes of Roles, bindings, accounts, ConfigMaps, Secrets and NetworkPolicies."""

from collections.abc import Mapping
from typing import Any

import pytest
from api_world import serving

from dagster_ray.simulator._api.built_in_kinds import admit_built_in
from dagster_ray.simulator._api.statuses import Refused

RULE = {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["get"]}
ROLE_REF = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "one"}
ACCOUNT = {"kind": "ServiceAccount", "name": "code", "namespace": "dagster"}
RAY_PODS = {"matchExpressions": [{"key": "ray.io/cluster", "operator": "Exists"}]}


def policy(peer: Any = None, port: Any = None, **spec: Any) -> dict[str, Any]:
    rule = {"from": [peer or {"podSelector": RAY_PODS}], "ports": [port or {"port": 10001}]}
    return {"spec": {"podSelector": RAY_PODS, "ingress": [rule], **spec}}


ACCEPTED: Mapping[str, tuple[str, dict[str, Any]]] = {
    "a role": ("Role", {"rules": [RULE]}),
    "a binding": ("RoleBinding", {"roleRef": ROLE_REF, "subjects": [ACCOUNT]}),
    "an account": ("ServiceAccount", {"imagePullSecrets": [{"name": "registry"}]}),
    "a config map": ("ConfigMap", {"data": {"dagster.yaml": "telemetry: {}"}}),
    "a secret": ("Secret", {"data": {"token": "dG9rZW4="}, "type": "Opaque"}),
    "a policy": ("NetworkPolicy", policy()),
}
REFUSED: Mapping[str, tuple[str, dict[str, Any], str]] = {
    "a rule without verbs": (
        "Role",
        {"rules": [{**RULE, "verbs": []}]},
        "rules[0].verbs: Required value: verbs must contain at least one value",
    ),
    "a rule without resources": (
        "Role",
        {"rules": [{**RULE, "resources": []}]},
        "rules[0].resources: Required value: resource rules must supply at least one resource",
    ),
    "a rule without groups": (
        "Role",
        {"rules": [{"resources": ["pods"], "verbs": ["get"]}]},
        "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
    ),
    "a path of the server in a namespace": (
        "Role",
        {"rules": [{"nonResourceURLs": ["/x"], "verbs": ["get"]}]},
        "rules[0].nonResourceURLs: Invalid value: namespaced rules cannot apply to non-resource URLs",
    ),
    "a binding to nothing that is a role": (
        "RoleBinding",
        {"roleRef": {**ROLE_REF, "kind": "Rule"}, "subjects": [ACCOUNT]},
        'roleRef.kind: Unsupported value: "Rule": supported values: "ClusterRole", "Role"',
    ),
    "a binding without a name": ("RoleBinding", {"roleRef": {"kind": "Role"}}, "roleRef.name: Required value"),
    "an account without a namespace": (
        "RoleBinding",
        {"roleRef": ROLE_REF, "subjects": [{"kind": "ServiceAccount", "name": "code"}]},
        "subjects[0].namespace: Required value",
    ),
    "a key with a space": ("ConfigMap", {"data": {"a b": "x"}}, 'data[a b]: Invalid value: "a b": a valid config key'),
    "a protocol of another layer": (
        "NetworkPolicy",
        policy(port={"port": 1, "protocol": "HTTP"}),
        'spec.ingress[0].ports[0].protocol: Unsupported value: "HTTP": supported values: "SCTP", "TCP", "UDP"',
    ),
    "a port that is too large": (
        "NetworkPolicy",
        policy(port={"port": 70000}),
        "spec.ingress[0].ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
    ),
    "addresses and pods in one peer": (
        "NetworkPolicy",
        policy({"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}),
        "spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer",
    ),
    "a type of policy that does not exist": (
        "NetworkPolicy",
        policy(policyTypes=["ingress"]),
        'spec.policyTypes[0]: Unsupported value: "ingress": supported values: "Egress", "Ingress"',
    ),
    "an operator that needs values": (
        "NetworkPolicy",
        policy({"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
        "spec.ingress[0].from[0].podSelector.matchExpressions[0].values: Required value: must be specified",
    ),
    "an operator that does not exist": (
        "NetworkPolicy",
        policy({"podSelector": {"matchExpressions": [{"key": "a", "operator": "exists"}]}}),
        'matchExpressions[0].operator: Invalid value: "exists": not a valid selector operator',
    ),
}
UNKNOWN: Mapping[str, tuple[str, dict[str, Any]]] = {
    "rules[0].verb": ("Role", {"rules": [{**RULE, "verb": ["get"]}]}),
    "spec.ingress[0].port": ("NetworkPolicy", {"spec": {"podSelector": {}, "ingress": [{"port": []}]}}),
    "metadata.label": ("ConfigMap", {"metadata": {"name": "one", "label": {}}}),
    "rolRef": ("RoleBinding", {"roleRef": ROLE_REF, "rolRef": {}}),
}
UNREADABLE: Mapping[str, tuple[str, dict[str, Any], str]] = {
    "text where a list belongs": (
        "Role",
        {"rules": [{**RULE, "verbs": "get"}]},
        'Role in version "v1" cannot be handled as a Role: json: cannot unmarshal string into Go struct field '
        "Role.rules[0].verbs of type []",
    ),
    "a number where text belongs": ("ConfigMap", {"data": {"port": 8265}}, "cannot unmarshal integer"),
    "a secret that is not base64": ("Secret", {"data": {"token": "secret!"}}, "illegal base64 data in data.token"),
}


@pytest.mark.parametrize(("kind", "obj"), ACCEPTED.values(), ids=ACCEPTED)
def test_what_people_write_is_accepted_as_it_is(kind: str, obj: dict[str, Any]) -> None:
    found = admit_built_in(kind, obj)
    assert (found.causes, found.unknown_fields) == ((), ())


@pytest.mark.parametrize(("kind", "obj", "text"), REFUSED.values(), ids=REFUSED)
def test_what_kubernetes_refuses_is_refused_in_its_words(kind: str, obj: dict[str, Any], text: str) -> None:
    (cause,) = admit_built_in(kind, obj).causes
    assert text in f"{cause.field}: {cause.message}"


@pytest.mark.parametrize(("path", "case"), UNKNOWN.items(), ids=UNKNOWN)
def test_a_misspelled_field_is_found_at_any_depth(path: str, case: tuple[str, dict[str, Any]]) -> None:
    assert admit_built_in(*case).unknown_fields == (path,)


@pytest.mark.parametrize(("kind", "obj", "text"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_value_of_another_type_is_unreadable(kind: str, obj: dict[str, Any], text: str) -> None:
    with pytest.raises(Refused) as refused:
        admit_built_in(kind, obj)
    assert refused.value.code == 400
    assert text in refused.value.message


def test_defaults_are_those_of_kubernetes() -> None:
    spec = admit_built_in("NetworkPolicy", policy()).object["spec"]
    assert spec["policyTypes"] == ["Ingress"]
    assert spec["ingress"][0]["ports"] == [{"port": 10001, "protocol": "TCP"}]
    secret = admit_built_in("Secret", {"stringData": {"a": "b"}}).object
    assert secret == {"type": "Opaque", "data": {"a": "Yg=="}}


def test_the_server_checks_writes_and_names_the_group() -> None:
    path = "/apis/rbac.authorization.k8s.io/v1/namespaces/ns/roles"
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "one"}}
    with serving() as world:
        refused = world.call("POST", f"{path}?dryRun=All", {**role, "rules": [{**RULE, "verbs": []}]})
        assert refused.status == 422
        assert refused.json["message"].startswith('Role.rbac.authorization.k8s.io "one" is invalid: rules[0].verbs: ')
        strict = world.call("POST", f"{path}?fieldValidation=Strict", {**role, "rule": []})
        assert strict.status == 400
        assert strict.json["message"].endswith('strict decoding error: unknown field "rule"')
        assert world.call("POST", f"{path}?dryRun=All", {**role, "rules": [RULE]}).status == 201
        assert world.store.list("roles") == []
        assert world.call("POST", path, {**role, "rules": [RULE]}).status == 201
        patch = {"rules": [{**RULE, "verbs": ["get", "list"]}]}
        changed = world.call("PATCH", f"{path}/one", patch, content_type="application/merge-patch+json")
        assert changed.json["rules"][0]["verbs"] == ["get", "list"]
