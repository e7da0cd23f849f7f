"""Which rights of the Kubernetes API each feature needs, and which of them an account lacks. Pure.

The one table that the `dagster-ray` command, the documents and the tests read. The tests run each feature on the
simulator under exactly these rights, and without each of them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import Manifest, mappings, texts
from dagster_ray.kuberay._spec.errors import InvalidSpecError

_RAY = "ray.io"
_ROLE_API = "rbac.authorization.k8s.io/v1"
# The order in which verbs are written.
_VERBS = ("create", "get", "list", "watch", "patch", "delete")
# Ray's own, of which its heads ask (ray/rpc/authentication/k8s_constants.h).
_CONNECT = "ray:write"
# The API server asks for one of its verbs; which one depends on its version.
_ONE_VERB_IS_ENOUGH = {"pods/portforward"}


@dataclass(frozen=True, slots=True)
class Grant:
    """Verbs on one resource.

    Attributes:
        group: The API group; empty for the core group.
        resource: The resource, with its part: `pods/log`.
        verbs: What is done with it.
        without: What happens without it, where the work goes on all the same. Empty: it does not.
        whole_cluster: Whether it is asked for all namespaces, so that a ClusterRole must grant it.
    """

    group: str
    resource: str
    verbs: tuple[str, ...]
    without: str = ""
    whole_cluster: bool = False


@dataclass(frozen=True, slots=True)
class Right:
    """One verb of a grant."""

    feature: str
    group: str
    resource: str
    verb: str
    without: str = ""
    whole_cluster: bool = False


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that people use, and what it does with the Kubernetes API."""

    name: str
    purpose: str
    grants: tuple[Grant, ...]

    @property
    def rights(self) -> tuple[Right, ...]:
        """Each verb by itself."""
        return tuple(
            Right(self.name, grant.group, grant.resource, verb, grant.without, grant.whole_cluster)
            for grant in self.grants
            for verb in grant.verbs
        )


# Always before KubeRay 1.5.1; after, where the head got its address late, or does not answer there.
_HEAD_BY_CLUSTER = Grant(_RAY, "rayclusters", ("list", "watch"))
# API servers before 1.35 ask for `get`, later ones for `create`.
_FORWARD = Grant("", "pods/portforward", ("create", "get"))

FEATURES: tuple[Feature, ...] = (
    Feature(
        "interactive",
        "steps of `KubeRayInteractiveJob`",
        (Grant(_RAY, "rayjobs", _VERBS), _HEAD_BY_CLUSTER),
    ),
    Feature(
        "cluster",
        "steps of `KubeRayCluster` with a cluster of their own, or one that exists",
        (
            Grant(_RAY, "rayclusters", ("create", "get", "list", "watch", "delete")),
            Grant(
                _RAY,
                "rayclusters",
                ("patch",),
                "a cluster that exists already gets no lock, and none shows that its step lives",
            ),
        ),
    ),
    Feature(
        "sharing",
        "steps of `KubeRayCluster` with shared clusters",
        (
            Grant(_RAY, "rayclusters", ("create", "get", "list", "watch", "patch")),
            Grant(_RAY, "rayclusters", ("delete",), "a cluster that never came up is left to the cleanup sensor"),
        ),
    ),
    Feature(
        "executor",
        "runs of `kuberay_executor`",
        (
            Grant(_RAY, "rayclusters", ("create", "get", "list", "watch", "patch")),
            Grant(_RAY, "rayclusters", ("delete",), "the cluster of a run that is over is left to the cleanup sensor"),
        ),
    ),
    Feature(
        "executor-rayjob",
        "runs of `kuberay_executor` with a `RayJob` for each step",
        (Grant(_RAY, "rayjobs", ("create", "get", "list", "watch", "delete")), _HEAD_BY_CLUSTER),
    ),
    Feature(
        "launcher",
        "workers of runs by `KubeRayRunLauncher`, for daemon and webserver",
        (Grant(_RAY, "rayjobs", ("create", "get", "list", "watch", "delete")), _HEAD_BY_CLUSTER),
    ),
    Feature(
        "pool",
        "steps of `KubeRayCluster` with a pool of warm clusters",
        (
            Grant(_RAY, "rayclusters", ("create", "list", "watch", "patch")),
            Grant(_RAY, "rayclusters", ("delete",), "a cluster that no step may use again is left to the sensor"),
        ),
    ),
    Feature(
        "pipes",
        "steps of `PipesKubeRayJobClient`",
        (
            Grant(_RAY, "rayjobs", _VERBS),
            _HEAD_BY_CLUSTER,
            Grant(_RAY, "rayclusters", ("get",), "neither `cluster_selector` nor retries of jobs that have succeeded"),
        ),
    ),
    Feature(
        "secret-context",
        "the same, with `secret_context`",
        (
            Grant("", "secrets", ("create", "get")),
            Grant("", "secrets", ("delete",), "the Secret stays until its `RayJob` is deleted"),
        ),
    ),
    Feature("port-forward", 'steps outside of the cluster, or `access="port_forward"`', (_FORWARD,)),
    Feature(
        "node-logs",
        'what Ray jobs write, of Pipes or with `driver="cluster"`, from the nodes, by `access="port_forward"`',
        (Grant("", "pods", ("list",), "logs come through the dashboard, later"),),
    ),
    Feature("head-service", "a head Service of your own, NodePort or LoadBalancer", (Grant("", "services", ("get",)),)),
    Feature("tokens", "clusters with a token", (Grant("", "secrets", ("get",)),)),
    Feature(
        "kubernetes-tokens",
        "clusters with `enableK8sTokenAuth`, whose heads ask Kubernetes about the account",
        (Grant(_RAY, "rayclusters", (_CONNECT,)),),
    ),
    Feature(
        "owner",
        "the step's pod as owner of what it makes, unless the pod has POD_UID",
        (Grant("", "pods", ("get",), "what a killed step leaves is deleted later, by its operator or the sensor"),),
    ),
    Feature(
        "diagnosis",
        "saying why a cluster does not come up",
        (
            Grant("", "pods", ("list",), "a slow start is explained less"),
            Grant("", "events", ("list",), "a slow start is explained less"),
            Grant("", "pods/log", ("get",), "the log of a container that crashed is not read"),
            Grant(_RAY, "rayclusters", ("get",), "what the RayCluster of a RayJob says is missing"),
            Grant("", "persistentvolumeclaims", ("list",), "a claim that a pod waits for is not looked at"),
            Grant("", "services", ("list",), "the head's Service is not looked at"),
            Grant("discovery.k8s.io", "endpointslices", ("list",), "the head's Service is not looked at"),
            Grant("kueue.x-k8s.io", "workloads", ("list",), "what a queue says of its Workload is missing"),
        ),
    ),
    Feature(
        "diagnosis-wide",
        "the same, with nodes and the operator's pods",
        (
            Grant("", "nodes", ("list",), "how large the nodes are is not said", whole_cluster=True),
            Grant("", "pods", ("list",), "whether the KubeRay operator runs is not said", whole_cluster=True),
        ),
    ),
    Feature(
        "hours",
        "figures of a step with `hours`",
        (
            Grant("", "pods", ("list",), "what the cluster reserves is not known"),
            Grant("", "pods", ("watch",), "the figures are estimated, by a list at the end"),
        ),
    ),
    Feature(
        "hours-by-node",
        "the same, with prices that depend on the node",
        (Grant("", "nodes", ("list",), "a pod's node selector alone decides which price it has", whole_cluster=True),),
    ),
    Feature(
        "cleanup",
        "the sensor `cleanup_expired_rayclusters`, and `dagster-ray gc`",
        (
            Grant(_RAY, "rayclusters", ("list", "delete")),
            Grant(_RAY, "rayjobs", ("list", "delete")),
            Grant(_RAY, "rayclusters", ("create",), "only steps make the clusters of pools"),
            Grant(_RAY, "rayclusters", ("patch",), "only steps delete a cluster of a pool whose step was killed"),
        ),
    ),
    Feature(
        "delete-job",
        "the job `delete_rayclusters`",
        (
            Grant(_RAY, "rayclusters", ("list", "delete")),
            Grant(_RAY, "rayjobs", ("list",), "clusters that somebody's RayJob runs on are not known"),
        ),
    ),
    Feature(
        "command",
        "`dagster-ray clusters`, `logs` and `dashboard`",
        (
            Grant(_RAY, "rayclusters", ("get", "list")),
            Grant(_RAY, "rayjobs", ("get", "list")),
            Grant("", "pods", ("list",), "pod-hours are not known"),
            Grant("", "pods/log", ("get",)),
            _FORWARD,
        ),
    ),
)
NAMES = tuple(feature.name for feature in FEATURES)


def features_of(names: Iterable[str]) -> tuple[Feature, ...]:
    """Return features by name, in the order of the table.

    Raises:
        InvalidSpecError: There is no such feature.
    """
    wanted = set(names)
    for name in sorted(wanted - set(NAMES)):
        raise InvalidSpecError("feature", f"{name!r} does not exist", f"take one of {', '.join(NAMES)}")
    return tuple(feature for feature in FEATURES if feature.name in wanted)


def rights_of(features: Iterable[Feature]) -> tuple[Right, ...]:
    """Return each right once; it is needed if any of the features needs it."""
    found: dict[tuple[str, str, str, bool], Right] = {}
    for right in (one for feature in features for one in feature.rights):
        key = right.group, right.resource, right.verb, right.whole_cluster
        if key not in found or (found[key].without and not right.without):
            found[key] = right
    return tuple(found.values())


def rules_of(rights: Iterable[Right]) -> list[tuple[dict[str, list[str]], str]]:
    """Return rights as the rules of a Role, each with what happens without it; empty where the work needs it.

    Resources with the same verbs share a rule.
    """
    verbs: dict[tuple[str, str, str], set[str]] = {}
    for right in rights:
        verbs.setdefault((right.without, right.group, right.resource), set()).add(right.verb)
    merged: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for (without, group, resource), some in verbs.items():
        merged.setdefault((without, group, tuple(verb for verb in (*_VERBS, _CONNECT) if verb in some)), []).append(
            resource
        )
    ordered = sorted(merged.items(), key=lambda item: (bool(item[0][0]), item[0][1] != _RAY, item[1]))
    return [
        ({"apiGroups": [group], "resources": sorted(resources), "verbs": list(some)}, without)
        for (without, group, some), resources in ordered
    ]


def roles(name: str, namespace: str | None, features: Iterable[Feature]) -> list[tuple[dict[str, Any], list[str]]]:
    """Return the Role, and the ClusterRole, that features need, as far as each has rules.

    Each is a manifest, and what happens without each of its rules; empty where the work needs the rule.
    """
    place = {} if namespace is None else {"namespace": namespace}
    rights = rights_of(features)
    found: list[tuple[dict[str, Any], list[str]]] = []
    for kind, where in (("Role", place), ("ClusterRole", {})):
        rules = rules_of(right for right in rights if right.whole_cluster == (kind == "ClusterRole"))
        if rules:
            head: dict[str, Any] = {"apiVersion": _ROLE_API, "kind": kind, "metadata": {"name": name, **where}}
            manifest = {**head, "rules": [rule for rule, _ in rules]}
            found.append((manifest, [without for _, without in rules]))
    return found


def binding(role: Mapping[str, Any], namespace: str, account: str) -> Mapping[str, Any]:
    """Return the binding, of the same name, that gives a Role or a ClusterRole to a service account.

    Args:
        role: The Role or ClusterRole.
        namespace: The namespace of the Role, and of an account that names none.
        account: The service account's name, or `NAMESPACE:NAME` as kubectl writes it.
    """
    elsewhere, _, own = account.rpartition(":")
    return {
        "apiVersion": _ROLE_API,
        "kind": f"{role['kind']}Binding",
        "metadata": role["metadata"],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role["kind"], "name": role["metadata"]["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": own, "namespace": elsewhere or namespace}],
    }


def table(features: Iterable[Feature] = FEATURES) -> list[tuple[str, str, str, str, str, str]]:
    """Return rows for people: feature, what it is for, group, resource, verbs, and what happens without."""
    return [
        (
            feature.name,
            feature.purpose,
            grant.group or "core",
            grant.resource + (" (all namespaces)" if grant.whole_cluster else ""),
            ", ".join(grant.verbs),
            grant.without or "it fails",
        )
        for feature in features
        for grant in feature.grants
    ]


def missing_rights(status: Manifest, rights: Iterable[Right]) -> tuple[Right, ...]:
    """Return the rights that no rule grants; none if the server does not know all rules.

    Args:
        status: `status` of a SelfSubjectRulesReview. It is incomplete where an authorizer cannot list its rules.
        rights: What is needed. A right that the work can do without does not count.
    """
    if status.get("incomplete") or "resourceRules" not in status:
        return ()
    rules = mappings(status.get("resourceRules"))
    needed = [right for right in rights if not right.without]
    granted = {right for right in needed if any(_grants(rule, right) for rule in rules)}
    served = {(right.group, right.resource) for right in granted if right.resource in _ONE_VERB_IS_ENOUGH}
    return tuple(right for right in needed if right not in granted and (right.group, right.resource) not in served)


def _grants(rule: Manifest, right: Right) -> bool:
    """Return whether a rule grants a right, perhaps only on objects of some names: doubt means that it does."""
    resource, _, part = right.resource.partition("/")
    names = {right.resource, "*", *((f"{resource}/*", f"*/{part}") if part else ())}
    return (
        bool({right.verb, "*"} & set(texts(rule.get("verbs"))))
        and bool({right.group, "*"} & set(texts(rule.get("apiGroups"))))
        and bool(names & set(texts(rule.get("resources"))))
    )
