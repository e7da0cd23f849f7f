"""The situations that a diagnosis can name, and what to do in each. Pure.

Each code has a section on the page `troubleshooting` of the documentation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from dagster_ray.kuberay._diagnosis.patience import AT_ONCE, Proof, is_proven

Code: TypeAlias = Literal[
    "image-not-found",
    "image-unauthorized",
    "image-unreachable",
    "image-rate-limit",
    "image-platform",
    "image-name",
    "image-never-pull",
    "image-pull",
    "container",
    "out-of-memory",
    "container-config",
    "secret-missing",
    "config-map-missing",
    "key-missing",
    "runs-as-root",
    "probe-without-wget",
    "probe-failing",
    "worker-waits-for-head",
    "pod-network",
    "disk-full",
    "volume-mount",
    "volume-attach",
    "claim-missing",
    "claim-pending",
    "unschedulable-resources",
    "unschedulable-taints",
    "unschedulable-affinity",
    "unschedulable",
    "scheduling-gated",
    "scaling-up",
    "no-scale-up",
    "node-lost",
    "evicted",
    "out-of-storage",
    "preempted",
    "quota",
    "quota-too-small",
    "quota-needs-requests",
    "limit-range",
    "pod-security",
    "webhook-denied",
    "webhook-down",
    "service-account-missing",
    "namespace-ending",
    "object-invalid",
    "not-created",
    "rbac",
    "refused",
    "cluster-not-found",
    "operator-missing",
    "operator-down",
    "operator-silent",
    "other-controller",
    "deletion-stuck",
    "suspended",
    "queued",
    "queue-too-small",
    "queue-missing",
    "queue-preempted",
    "queue-deactivated",
    "client-port-closed",
    "port-not-named",
    "no-endpoints",
    "version-mismatch",
]
"""Stable identifiers, one for each situation."""

REMEDIES: Mapping[Code, str] = {
    "image-not-found": "Correct the image's name and tag, or push the image.",
    "image-unauthorized": "Name a Secret with the registry's credentials in `imagePullSecrets` of the pod template or "
    "of its service account, and check the image's name: registries answer the same for one that does not exist.",
    "image-unreachable": "Check the registry's host name, and that the nodes reach it through DNS, proxy and firewall.",
    "image-rate-limit": "Pull with credentials, or from a registry of your own that mirrors the image.",
    "image-platform": "Build the image for the nodes' processors too, or select nodes by `kubernetes.io/arch`.",
    "image-name": "Correct the image's name: lower-case repository, then `:tag` or `@sha256:digest`.",
    "image-never-pull": "Load the image onto the node, or set `imagePullPolicy: IfNotPresent`.",
    "image-pull": "Read the events of the pod (`kubectl describe pod`): they hold the registry's answer.",
    "container": "Read the last lines of the container's log; an image without `ray` and `bash` on its path ends "
    "like this.",
    "out-of-memory": "Raise the container's memory limit, or let the work hold less at a time.",
    "container-config": "Correct what the message names in the container's pod template.",
    "secret-missing": "Create the Secret in the namespace of the pods, or correct its name in the pod template.",
    "config-map-missing": "Create the ConfigMap in the namespace of the pods, or correct its name in the pod template.",
    "key-missing": "Add the key to the Secret or ConfigMap, or correct it in the pod template.",
    "runs-as-root": "Use an image with a numeric USER, or set `securityContext.runAsUser` in the pod template.",
    "probe-without-wget": "Install `wget` in the image, set probes of your own on the container, or use KubeRay 1.6 "
    "with Ray 2.53, which probe by HTTP.",
    "probe-failing": "Read the container's log; give a slow start a longer `initialDelaySeconds` or "
    "`failureThreshold`.",
    "worker-waits-for-head": "Check that workers reach port 6379 of the head: NetworkPolicy, service mesh, DNS.",
    "pod-network": "Have the node's network plug-in looked at; free addresses if it ran out of them.",
    "disk-full": "Have the node's disk cleaned, or use nodes with larger disks.",
    "volume-mount": "Check the volume that the message names: its driver, its server, its name in the pod template.",
    "volume-attach": "End the pod that holds the volume, or use a claim with `ReadWriteMany`.",
    "claim-missing": "Create the PersistentVolumeClaim in the namespace of the pods, or correct its name.",
    "claim-pending": "Check the claim's storage class, size and access mode (`kubectl describe pvc`).",
    "unschedulable-resources": "Ask for less, add larger or more nodes, or wait until others end.",
    "unschedulable-taints": "Add `tolerations` for the nodes' taints to the pod template.",
    "unschedulable-affinity": "Correct `nodeSelector`, `affinity` or `topologySpreadConstraints` in the pod template, "
    "or label the nodes.",
    "unschedulable": "Read the scheduler's message, and compare the pod template with the nodes.",
    "scheduling-gated": "Ask whoever sets the gate, as a rule a queue, to remove it.",
    "scaling-up": "Wait: a node takes some minutes.",
    "no-scale-up": "Ask for what a node group of the autoscaler offers, raise its maximum size, or add a node group.",
    "node-lost": "Wait for the operator to make the pod again, or delete the cluster and retry the step.",
    "evicted": "Raise the pod's requests to what it uses, and keep large files off the node's own disk.",
    "out-of-storage": "Raise the limit of `ephemeral-storage` or the `sizeLimit` that the message names, or write "
    "large files elsewhere.",
    "preempted": "Use nodes that are not taken back, or a priority class that is not preempted, for the head at least; "
    "retry the step.",
    "quota": "Wait until others end, ask for less, or have the ResourceQuota raised.",
    "quota-too-small": "Ask for less, or have the ResourceQuota raised.",
    "quota-needs-requests": "Set the requests and limits that the quota asks for on every container.",
    "limit-range": "Keep requests and limits within the namespace's LimitRange.",
    "pod-security": "Set the `securityContext` that the message asks for in the pod templates, or use another "
    "namespace.",
    "webhook-denied": "Change what the policy objects to, or ask its owner for an exception.",
    "webhook-down": "Have the webhook's service repaired; nothing is created before it answers.",
    "service-account-missing": "Create the service account, or correct `serviceAccountName` in the pod template.",
    "namespace-ending": "Use another namespace; this one is being deleted.",
    "object-invalid": "Correct the fields that the message names.",
    "not-created": "Read the message; the operator tries again and again.",
    "rbac": "Give the account the verb on the resource with a Role and a RoleBinding.",
    "refused": "Correct the specification; the operator does not look at it again.",
    "cluster-not-found": "Create the RayCluster that `clusterSelector` names, or correct the name.",
    "operator-missing": "Install the KubeRay operator (Helm chart `kuberay-operator`).",
    "operator-down": "Repair the operator's pod: read its log and events.",
    "operator-silent": "Check that the KubeRay operator runs and that it watches this namespace.",
    "other-controller": "Check the controller that `managedBy` names, or leave the field out.",
    "deletion-stuck": "Start whoever owns the finalizer again; remove the finalizer by hand only if it will "
    "never run again.",
    "suspended": "Set `spec.suspend` to false, or ask whoever suspended it.",
    "queued": "Wait, ask for less, or use another queue.",
    "queue-too-small": "Ask for less than the queue's quota, use another queue, or have the quota raised.",
    "queue-missing": "Correct the label `kueue.x-k8s.io/queue-name`, or have the queue created or started.",
    "queue-preempted": "Wait for quota, or use a higher workload priority class.",
    "queue-deactivated": "Set `spec.active` of the Workload to true after its cause is cured.",
    "client-port-closed": "Check that the image has `ray[client]` and that no NetworkPolicy closes the port; "
    "`access='port_forward'` goes another way.",
    "port-not-named": "Declare the ports 10001 (`client`) and 8265 (`dashboard`) of the head container, or no port "
    "at all.",
    "no-endpoints": "Make the Service's selector match the head pod's labels.",
    "version-mismatch": "Use one image for the head and all worker groups.",
}

_SOON = Proof(10.0)
# A kubelet makes its second attempt 12 to 20 s after the first one has failed.
_TWO_PULLS = Proof(25.0, 2, "failed pulls")
CANNOT_RUN = Proof(30.0, 2, "restarts")
"""Of a container whose command is not there."""

# What is not here is never called fatal.
PROOFS: Mapping[Code, Proof] = {
    "image-not-found": _TWO_PULLS,
    "image-platform": _TWO_PULLS,
    "image-unauthorized": Proof(120.0),
    "image-name": AT_ONCE,
    "image-never-pull": Proof(30.0),
    # Five restarts take two and a half minutes of back-off: Redis, a mount or a database that a head needs may come up.
    "container": Proof(180.0, 5, "restarts"),
    "out-of-memory": Proof(60.0, 3, "restarts"),
    "runs-as-root": _SOON,
    "probe-without-wget": Proof(30.0),
    "quota-too-small": _SOON,
    "quota-needs-requests": _SOON,
    "limit-range": _SOON,
    "pod-security": _SOON,
    "webhook-denied": Proof(60.0),
    "namespace-ending": AT_ONCE,
    "object-invalid": _SOON,
    "rbac": Proof(60.0),
    "refused": AT_ONCE,
    "cluster-not-found": Proof(60.0),
    "queue-too-small": Proof(300.0),
    "queue-deactivated": Proof(60.0),
}


_SENTENCE_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why the cluster is not there."""

    code: Code
    """Which situation: a stable identifier."""
    fatal: bool
    """Whether what was read proves that waiting longer is of no use."""
    reason: str
    """Kubernetes', KubeRay's or Kueue's own word."""
    sentence: str
    """What is wrong, with the names and numbers that matter, and their own message where it says more."""
    remedy: str
    """What to do about it, as an instruction."""
    log: str = ""
    """The last lines of the log that tell why, if they were given."""
    proof: Proof | None = None
    """How often and how long it must be seen before it is called fatal; None if it never is."""
    attempts: int = 0
    """How many attempts have failed so far, where they are counted."""

    @property
    def page(self) -> str:
        """Where the documentation tells more: page and anchor."""
        return f"troubleshooting#{self.code}"


@dataclass(frozen=True, slots=True)
class Finding:
    """A diagnosis, and whether it is about the head or the whole cluster, or about workers only."""

    diagnosis: Diagnosis
    of_workers: bool = False


def finding(
    code: Code,
    reason: str,
    sentence: str,
    *,
    fatal: bool = False,
    of_workers: bool = False,
    remedy: str | None = None,
    log: str = "",
    proof: Proof | None = None,
    attempts: int = 0,
) -> Finding:
    """Return what was found.

    Args:
        code: The situation.
        reason: The word that Kubernetes uses for it.
        sentence: What is wrong. Becomes one line of at most a thousand characters: a webhook may say more.
        fatal: Whether waiting is of no use if it lasts. Of workers it never is: they keep no driver from the head.
        of_workers: Whether only workers are concerned.
        remedy: What to do; None for what is always done in this situation.
        log: The last lines of a log that tell why.
        proof: What proves that it does not pass; None for what always does in this situation.
        attempts: How many attempts have failed so far.
    """
    line = " ".join(sentence.split())
    line = line if len(line) <= _SENTENCE_LIMIT else line[:_SENTENCE_LIMIT] + "..."
    advice = REMEDIES[code] if remedy is None else remedy
    wanted = (proof or PROOFS.get(code, AT_ONCE)) if fatal and not of_workers else None
    proven = wanted is not None and is_proven(wanted, seconds=0, attempts=attempts)
    return Finding(Diagnosis(code, proven, reason, line, advice, log, wanted, attempts), of_workers)
