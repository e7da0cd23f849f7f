"""What each KubeRay release does differently, as far as clients can see it. Pure.

Facts: KubeRay release tags v1.3.0 to v1.7.0; 1.4.2 and 1.7.0 were run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dagster_ray.kuberay._operator_rules.crd_fields import Release, release
from dagster_ray.kuberay._operator_rules.verdicts import default_gates

_OLDEST: Release = (1, 3, 0)
_NEWEST = (1, 7)
_PATCHES = {(1, 3): "1.3.2", (1, 4): "1.4.2", (1, 5): "1.5.2", (1, 6): "1.6.2", (1, 7): "1.7.0"}


@dataclass(frozen=True, slots=True)
class OperatorVersion:
    """A release of the operator with its feature gates.

    Attributes:
        name: The version with its patch, such as "1.7.0".
        gates: Feature gates that differ from the release's defaults.
    """

    name: str
    gates: Mapping[str, bool] = field(default_factory=dict[str, bool])

    @property
    def release(self) -> Release:
        """The version as numbers."""
        return release(self.name)

    def since(self, minor: int, patch: int = 0) -> bool:
        """Whether this is 1.<minor>.<patch> or later."""
        return self.release >= (1, minor, patch)

    def gate(self, name: str) -> bool:
        """Whether a feature gate is on."""
        return {**default_gates(self.name), **self.gates}.get(name, False)

    @property
    def writes_validation_failed(self) -> bool:
        """Whether an invalid RayJob becomes ValidationFailed; before, only an event tells."""
        return self.since(5)

    @property
    def mirrors_cluster_status(self) -> bool:
        """Whether rayClusterStatus follows the RayCluster while the RayJob is Initializing."""
        return self.since(5, 1)

    @property
    def explains_containers(self) -> bool:
        """Whether HeadPodReady carries the reason of the first container that is not ready."""
        return self.since(5, 1)

    @property
    def makes_job_service(self) -> bool:
        """Whether a Running RayJob gets its own head service."""
        return self.since(5)

    @property
    def restarts_job_heads(self) -> bool:
        """Whether a lost head of a provisioned cluster of a RayJob is made again (not in 1.5)."""
        return not self.since(5) or self.since(6)

    @property
    def has_pre_running_deadline(self) -> bool:
        """Whether preRunningDeadlineSeconds is looked at."""
        return self.since(6)

    @property
    def has_status_check_timeout(self) -> bool:
        """Whether failing dashboard calls are counted and end the RayJob."""
        return self.since(7)

    @property
    def has_terminal_grace_period(self) -> bool:
        """Whether a terminal jobStatus ends the RayJob after a grace period, and rayJobInfo is written."""
        return self.since(4)

    @property
    def has_token_auth(self) -> bool:
        """Whether authOptions.mode token works."""
        return self.since(5, 1)

    @property
    def writes_new_events(self) -> bool:
        """Whether events are written through events.k8s.io (seen through core/v1: eventTime, no count)."""
        return self.since(7)

    @property
    def keeps_delayed_reconciles(self) -> bool:
        """Whether an event leaves the next periodic reconcile where it is (run: 1.4.2 yes, 1.7.0 no)."""
        return not self.since(7)

    @property
    def cluster_name_infix(self) -> str:
        """What stands between a RayJob's name and the random end of its RayCluster's name."""
        return "-" if self.since(4) else "-raycluster-"


def operator_version(version: str, gates: Mapping[str, bool] | None = None) -> OperatorVersion:
    """Return the release that a text names: "1.5.1", or "1.5" for the newest patch of 1.5.

    Raises:
        ValueError: It is no version, or one that is not modelled (1.3 to 1.7 are).
    """
    wanted = release(version)
    if wanted < _OLDEST or wanted[:2] > _NEWEST:
        raise ValueError(f"KubeRay {version} is not simulated; 1.3 to 1.7 are")
    minor = (wanted[0], wanted[1])
    exact = version.count(".") >= 2
    name = ".".join(str(number) for number in wanted) if exact else _PATCHES[minor]
    return OperatorVersion(name, dict(gates or {}))
