"""When to look closer at a cluster that does not come up. Pure."""

from collections.abc import Mapping

QUIET_SECONDS = 10.0
"""How long nothing must have moved before anything beside the watch is asked for."""
# What a head that starts normally says meanwhile (KubeRay copies it from the pod from 1.5.1 on), and for how long.
_NORMAL_SECONDS: Mapping[str, float] = {
    "ContainerCreating": 20.0,
    "PodInitializing": 45.0,
    "ContainersNotReady": 45.0,
    "HeadPodRunningAndReady": 20.0,
}


def is_normal(reason: str) -> bool:
    """Return whether a head that starts as it should says this."""
    return reason in _NORMAL_SECONDS


def look_is_due(quiet_seconds: float, looks: int, reason: str, *, is_told: bool) -> bool:
    """Return whether to read pods and events now.

    Args:
        quiet_seconds: For how long nothing has moved.
        looks: How often it was looked since something moved; each look doubles the time to the next.
        reason: The reason of the condition HeadPodReady.
        is_told: Whether the operator copies the reason from the head's container, so that a normal one is an
            explanation.
    """
    first = _NORMAL_SECONDS.get(reason, QUIET_SECONDS) if is_told else QUIET_SECONDS
    return quiet_seconds >= first * 2**looks
