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

_SUSPECT_SECONDS, _MOST_SUSPECT_SECONDS = 1.0, 20.0
_DIRECT_SECONDS, _FORWARD_SECONDS, _LATE_FORWARD_SECONDS = 0.2, 0.5, 1.0
_LATE_SECONDS = 15.0


def probe_pause_seconds(tried_seconds: float, *, direct: bool) -> float:
    """Return how long to wait between two tries of a head's port.

    A refused connection costs nothing; one through the API server is a stream of its own, so that a head which takes
    long to start is tried less often.

    Args:
        tried_seconds: For how long the port has been tried.
        direct: Whether the head is dialled without the API server.
    """
    if direct:
        return _DIRECT_SECONDS
    return _FORWARD_SECONDS if tried_seconds < _LATE_SECONDS else _LATE_FORWARD_SECONDS


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


def suspect_look_is_due(quiet_seconds: float, looks: int) -> bool:
    """Return whether to read pods and events now, because something was seen that is fatal if it lasts.

    Args:
        quiet_seconds: For how long nothing has moved and nobody has looked.
        looks: How often it was looked since something moved; each look doubles the time to the next, up to a bound.
    """
    return quiet_seconds >= min(_SUSPECT_SECONDS * 2**looks, _MOST_SUSPECT_SECONDS)
