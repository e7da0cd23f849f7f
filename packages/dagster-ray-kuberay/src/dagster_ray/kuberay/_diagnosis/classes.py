"""Whose failure a situation is: which of them another attempt may not meet. Pure."""

from dagster_ray.core.errors import FailureClass
from dagster_ray.kuberay._diagnosis.situations import Code

# What is in neither set is configuration: it stays as it is until somebody changes it.
_INFRASTRUCTURE: frozenset[Code] = frozenset({
    "image-unreachable",
    "image-rate-limit",
    "image-pull",
    "probe-failing",
    "pod-network",
    "disk-full",
    "volume-mount",
    "volume-attach",
    "claim-pending",
    "unschedulable-resources",
    "unschedulable",
    "scheduling-gated",
    "scaling-up",
    "no-scale-up",
    "node-lost",
    "evicted",
    "preempted",
    "quota",
    "webhook-down",
    "operator-down",
    "operator-silent",
    "deletion-stuck",
    "queued",
    "queue-preempted",
})  # fmt: skip
_USER: frozenset[Code] = frozenset({"out-of-memory"})


def class_of(diagnosis: str) -> FailureClass:
    """Return whose failure a diagnosis tells of.

    Args:
        diagnosis: Its code.
    """
    if diagnosis in _USER:
        return "user"
    return "infrastructure" if diagnosis in _INFRASTRUCTURE else "configuration"
