"""Whose failure a situation of a diagnosis is: which of them another attempt may not meet. Pure."""

from dagster_ray.core.failures import FailureClass

# What is in neither set is configuration: it stays as it is until somebody changes it.
INFRASTRUCTURE: frozenset[str] = frozenset({
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
USER: frozenset[str] = frozenset({"out-of-memory", "out-of-storage"})


def class_of(diagnosis: str) -> FailureClass:
    """Return whose failure a diagnosis tells of.

    Args:
        diagnosis: Its code.
    """
    if diagnosis in USER:
        return "user"
    return "infrastructure" if diagnosis in INFRASTRUCTURE else "configuration"
