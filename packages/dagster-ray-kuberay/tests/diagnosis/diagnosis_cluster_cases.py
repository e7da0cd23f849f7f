"""Situations of a whole cluster: refusals, the operator, queues, and the way to the head.

Each table names the source of its texts; names and numbers in them are those of this folder's objects.
"""

from typing import Any

from diagnosis_objects import READY, Case, Object, condition, container, event, pending, pod, rayjob, service, workload


def _failed(message: str, reason: str = "FailedToCreateHeadPod") -> dict[str, Any]:
    return {"events": [event(reason, message, about="RayCluster", name="train-abcde")]}


_FAILED = "Failed to create head Pod ray/train-head-x7k2p, "
_FORBIDDEN = _FAILED + 'pods "train-head-x7k2p" is forbidden: '
_FULL = "exceeded quota: q, requested: pods=1, used: pods=5, limited: pods=5"
_OPERATOR = "system:serviceaccount:kuberay:kuberay-operator"
_CANNOT = 'cannot create resource "pods" in API group "" in the namespace "ray"'

# plugin/pkg/admission/{resourcequota,limitranger,serviceaccount}, pod-security-admission, and
# apiserver/pkg/admission/plugin/{webhook,policy}; the frame is KubeRay's raycluster_controller.go.
REFUSALS: dict[str, Case] = {
    "a quota is used up": Case(
        "quota",
        _failed(
            _FORBIDDEN + "exceeded quota: q, requested: limits.cpu=8,pods=1, used: limits.cpu=28, "
            "limited: limits.cpu=32"
        ),
        ("quota q has no room (limits.cpu: 8 asked for, 28 of 32 used)",),
    ),
    "a quota is too small": Case(
        "quota-too-small",
        _failed(
            _FORBIDDEN + "exceeded quota: q, requested: limits.memory=64Gi, used: limits.memory=0, "
            "limited: limits.memory=32G"
        ),
        ("limits.memory: 64Gi asked for, 0 of 32G used",),
        fatal=True,
    ),
    "a quota without numbers": Case("quota", _failed("exceeded quota: q"), ("exceeded quota: q",)),
    "a quota wants requests": Case(
        "quota-needs-requests",
        _failed(_FORBIDDEN + "failed quota: q: must specify limits.cpu for: ray-head"),
        ("limits.cpu for: ray-head",),
        fatal=True,
    ),
    "a limit range": Case(
        "limit-range",
        _failed(
            _FORBIDDEN + "[maximum cpu usage per Container is 2, but limit is 4, maximum memory usage per Pod is 2Gi]"
        ),
        ("is not created: pods", "maximum cpu usage per Container is 2, but limit is 4"),
        fatal=True,
    ),
    "Pod Security": Case(
        "pod-security",
        _failed(_FORBIDDEN + 'violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false'),
        ("restricted:latest", "allowPrivilegeEscalation"),
        fatal=True,
        remedy="securityContext",
    ),
    "a webhook": Case(
        "webhook-denied",
        _failed(_FAILED + 'admission webhook "policy.example.com" denied the request: no tag "latest"'),
        ("policy.example.com refused it",),
        fatal=True,
    ),
    "a policy of the API server": Case(
        "webhook-denied",
        _failed(_FORBIDDEN + "ValidatingAdmissionPolicy 'teams' with binding 'teams' denied request: no label team"),
        ("no label team",),
        fatal=True,
    ),
    "a webhook that is down": Case(
        "webhook-down",
        _failed('Internal error occurred: failed calling webhook "w": failed to call webhook: Post: refused'),
        ('webhook "w"',),
    ),
    "no service account": Case(
        "service-account-missing",
        _failed(_FORBIDDEN + 'error looking up service account ray/trainer: serviceaccount "trainer" not found'),
        ("service account trainer",),
    ),
    "a namespace that ends": Case(
        "namespace-ending",
        _failed(_FORBIDDEN + "unable to create new content in namespace ray because it is being terminated"),
        ("namespace ray is being deleted",),
        fatal=True,
    ),
    "a pod that cannot be": Case(
        "object-invalid",
        _failed(_FAILED + 'Pod "train-head-x7k2p" is invalid: spec.containers[0].resources.requests: must be less'),
        ("resources.requests",),
        fatal=True,
    ),
    "the operator's rights": Case(
        "rbac",
        _failed(f'{_FORBIDDEN}User "{_OPERATOR}" {_CANNOT}'),
        (f"{_OPERATOR} may not create pods in namespace ray",),
        fatal=True,
        remedy="verbs: ['create']",
    ),
    "something else": Case("not-created", _failed(_FAILED + "etcdserver: request timed out"), ("etcdserver",)),
    "the condition ReplicaFailure": Case(
        "quota",
        {
            "raycluster": {
                "metadata": {"name": "c"},
                "status": {
                    "conditions": [
                        condition(
                            "ReplicaFailure",
                            "True",
                            "FailedCreateHeadPod",
                            _FULL,
                        )
                    ]
                },
            }
        },
        ("the head pod is not created: quota q has no room (pods: 1 asked for, 5 of 5 used)",),
    ),
    "a worker's quota is too small": Case(
        "quota-too-small",
        _failed("exceeded quota: q, requested: pods=9, used: pods=0, limited: pods=5", "FailedToCreateWorkerPod"),
        ("a worker pod is not created",),
    ),
}


_GATE = "RayJobDeletionPolicy feature gate must be enabled to use DeletionStrategy"
_TERMINATING = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["ray.io/rayjob-finalizer"]}
_CRASHED = {
    "metadata": {"name": "kuberay-operator-1"},
    "status": {"containerStatuses": [container(waiting=("CrashLoopBackOff", "b"))]},
}
_RUNS = {"metadata": {"name": "kuberay-operator-1"}, "status": {"conditions": READY}}

# ray-operator/controllers/ray/{rayjob,raycluster}_controller.go and utils/validation.go, KubeRay 1.3 to 1.7.
OPERATOR: dict[str, Case] = {
    "a status says refused": Case(
        "refused",
        {"rayjob": rayjob(status={"jobDeploymentStatus": "ValidationFailed", "message": _GATE})},
        (_GATE,),
        fatal=True,
        remedy="deletion_strategy",
    ),
    "an event says refused": Case(
        "refused",
        {"events": [event("InvalidRayJobSpec", "ray/train: The RayJob spec is invalid", about="RayJob", name="train")]},
        ("ray/train",),
        fatal=True,
    ),
    "a selected cluster that is not there": Case(
        "cluster-not-found",
        {"events": [event("RayClusterNotFound", "RayCluster ray/c set in the clusterSelector is not found")]},
        ("ray/c",),
        fatal=True,
    ),
    "nobody cares": Case("operator-silent", {"rayjob": rayjob()}, ("RayJob train",)),
    "no operator": Case("operator-missing", {"rayjob": rayjob(), "operator_pods": []}, ("no operator's pod",)),
    "an operator that crashes": Case(
        "operator-down", {"rayjob": rayjob(), "operator_pods": [_CRASHED]}, ("kuberay-operator-1", "CrashLoopBackOff")
    ),
    "an operator of other namespaces": Case(
        "operator-silent",
        {"rayjob": rayjob(), "operator_pods": [_RUNS]},
        ("although the operator's pod kuberay-operator-1 is ready",),
        remedy="watchNamespace",
    ),
    "another controller": Case(
        "other-controller",
        {"rayjob": rayjob(managedBy="kueue.x-k8s.io/multikueue")},
        ("left to kueue.x-k8s.io/multikueue",),
    ),
    "held by a finalizer": Case(
        "deletion-stuck",
        {"rayjob": rayjob(status={"x": 1}, metadata=_TERMINATING), "operator_pods": []},
        ("held by ray.io/rayjob-finalizer; there is no operator's pod",),
    ),
}

_ASSIGN = "couldn't assign flavors to pod set head: "
_FITS = _ASSIGN + "insufficient unused quota for cpu in flavor default, 2 more needed"
_NEVER = (
    _ASSIGN.replace("head", "workers") + "insufficient quota for cpu in flavor x, request > maximum capacity (64 > 32)"
)
_SUSPENDED = rayjob(status={"jobDeploymentStatus": "Suspended"})


def _queue(*conditions: Object, **spec: Any) -> dict[str, Any]:
    return {"rayjob": _SUSPENDED, "workloads": [workload(*conditions, **spec)]}


# Kueue: pkg/scheduler/flavorassigner/flavorassigner.go, pkg/controller/core/workload_controller.go.
QUEUES: dict[str, Case] = {
    "suspended by hand": Case("suspended", {"rayjob": _SUSPENDED}, ("RayJob train is suspended",)),
    "a queue's label": Case(
        "queued",
        {"rayjob": rayjob(suspend=True, metadata={"labels": {"kueue.x-k8s.io/queue-name": "team-a"}})},
        ("queue team-a",),
    ),
    "a cluster with a queue's label": Case(
        "queued",
        {
            "raycluster": {
                "metadata": {"name": "shared", "labels": {"kueue.x-k8s.io/queue-name": "team-a"}},
                "spec": {"suspend": True},
                "status": {"state": "suspended"},
            }
        },
        ("queue team-a has not admitted RayCluster shared",),
    ),
    "no quota now": Case("queued", _queue(pending(_FITS)), ("queue team-a", "2 more needed")),
    "never enough quota": Case(
        "queue-too-small", _queue(pending(f"{_FITS}; {_NEVER}")), ("maximum capacity (64 > 32)",), fatal=True
    ),
    "one flavor is too small, and another is used up": Case(
        "queued",
        _queue(pending(f"{_NEVER}, insufficient unused quota for cpu in flavor y, 2 more needed")),
        ("flavor y",),
    ),
    "no such queue": Case(
        "queue-missing", _queue(pending("LocalQueue team-a doesn't exist", "Inadmissible")), ("doesn't exist",)
    ),
    "a queue that is stopped": Case(
        "queue-missing", _queue(pending("ClusterQueue big is inactive", "Inadmissible")), ("is inactive",)
    ),
    "an admission check": Case(
        "queued", _queue(condition("QuotaReserved", "True", "QuotaReserved")), ("admission checks are open",)
    ),
    "preempted in the queue": Case(
        "queue-preempted",
        _queue(condition("Evicted", "True", "Preempted", "Preempted to accommodate a workload (UID: 1)")),
        ("took the quota", "Preempted to accommodate"),
    ),
    "deactivated": Case("queue-deactivated", _queue(active=False), ("is deactivated",), fatal=True),
}

_HEAD_READY = {"metadata": {"name": "train-abcde"}, "status": {"conditions": [condition("HeadPodReady", "True")]}}

# KubeRay's controllers/ray/common/service.go.
REACH: dict[str, Case] = {
    "the port is closed": Case(
        "client-port-closed",
        {"raycluster": _HEAD_READY, "closed_port": "train-head-svc.ray.svc:10001"},
        ("train-head-svc.ray.svc:10001",),
        remedy="ray[client]",
    ),
    "ports of neither the number nor the name": Case(
        "port-not-named",
        {"services": [service("metrics", "http")]},
        ("no port 10001 (client) and no port 8265 (dashboard)",),
    ),
    "no pod behind the Service": Case(
        "no-endpoints",
        {
            "pods": [pod("head", podIP="10.0.0.1")],
            "services": [service("client", "dashboard", app="ray")],
            "endpoint_slices": [],
        },
        ("train-head-svc has no endpoints", "app=ray"),
    ),
}
