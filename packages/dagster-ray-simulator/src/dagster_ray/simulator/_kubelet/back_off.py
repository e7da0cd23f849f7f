"""How a kubelet backs off from what fails again and again. Pure.

Facts: Kubernetes 1.36, pkg/kubelet/kubelet.go (first 10 s, doubled, at most 300 s, for images and containers alike) and
pkg/kubelet/kuberuntime (a container that has ended is started again at once for the first time).
"""

LONGEST_SECONDS = 300.0


def back_off_seconds(first_seconds: float, failures: int) -> float:
    """Return the back-off after a number of failures, from 1 on: doubled each time, for five minutes at most."""
    return min(LONGEST_SECONDS, first_seconds * 2 ** min(failures - 1, 16))


def duration(seconds: float) -> str:
    """Return seconds as a kubelet's messages show them, as Go does: 10s, 2m40s, 5m0s."""
    minutes, rest = divmod(round(seconds, 3), 60)
    return f"{minutes:.0f}m{rest:g}s" if minutes else f"{rest:g}s"
