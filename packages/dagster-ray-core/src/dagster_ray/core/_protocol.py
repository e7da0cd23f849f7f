"""`RayResource`: what every Ray backend is to a Dagster step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster._core.definitions.resource_annotation import TreatAsResourceParam
from typing_extensions import Protocol, runtime_checkable

from dagster_ray.core.errors import NotARayResourceError

if TYPE_CHECKING:
    from ray._private.worker import BaseContext

    from dagster_ray.core._config import Lifecycle
    from dagster_ray.core._dagster_context import DagsterContext
    from dagster_ray.core._phases import StepOutcome


@runtime_checkable
class RayResource(Protocol):
    """A Ray cluster for a Dagster step. Annotate a parameter with it and any backend fits.

    Works as a bare annotation in assets, ops, multi-assets, asset checks, sensors and schedules, and as
    `ResourceDependency[RayResource]` in another resource. A backend conforms by having these members; it
    never inherits this class. `BaseRayResource` has most of them ready.
    """

    @property
    def lifecycle(self) -> Lifecycle:
        """Which phases Dagster runs, and when the cluster is deleted."""
        ...

    @property
    def context(self) -> BaseContext:
        """What `ray.init` returned. Raises `NotConnectedError` before `connect`."""
        ...

    @property
    def address(self) -> str:
        """Where drivers connect: `ray://host:port`, or the `host:port` of the cluster's GCS."""
        ...

    @property
    def dashboard_url(self) -> str | None:
        """The dashboard's URL, or None if the cluster has none."""
        ...

    @property
    def job_id(self) -> str:
        """Ray's id of this step's driver. Raises `NotConnectedError` before `connect`."""
        ...

    @property
    def display_name(self) -> str:
        """The cluster's name for logs, with its kind first: `RayJob namespace/name`."""
        ...

    def create(self, context: DagsterContext) -> None:
        """Ask for the cluster."""
        ...

    def wait(self, context: DagsterContext) -> None:
        """Return when drivers can connect. Raises `NotReadyError` at the deadline."""
        ...

    def connect(self, context: DagsterContext) -> None:
        """Connect this process with `ray.init`."""
        ...

    def cleanup(self, context: DagsterContext, outcome: StepOutcome) -> None:
        """Disconnect, and delete what was created if the lifecycle says so for this outcome."""
        ...


# A statement, not a decorator: type checkers then still see a class (Dagster's marker is an ABC,
# so a virtual subclass is enough for a bare annotation).
TreatAsResourceParam.register(RayResource)

MEMBERS = (
    "address",
    "cleanup",
    "connect",
    "context",
    "create",
    "dashboard_url",
    "display_name",
    "job_id",
    "lifecycle",
    "wait",
)


def missing_members(candidate: object) -> tuple[str, ...]:
    """Return which members of `RayResource` an object or a class lacks, without evaluating properties."""
    owner = candidate if isinstance(candidate, type) else type(candidate)
    names = {name for cls in owner.__mro__ for name in (*vars(cls), *getattr(cls, "__annotations__", {}))}
    names |= set(getattr(owner, "model_fields", {}))
    if not isinstance(candidate, type):
        names |= set(getattr(candidate, "__dict__", {}))
    return tuple(name for name in MEMBERS if name not in names)


def is_ray_resource(candidate: object) -> bool:
    """Return whether an object or a class has all members of `RayResource`, without evaluating properties."""
    return not missing_members(candidate)


def require_ray_resource(candidate: object, *, where: str) -> RayResource:
    """Return `candidate` as a `RayResource`.

    Args:
        candidate: Any object.
        where: What needs the resource, for the error: "asset `train`, parameter `ray_cluster`".

    Raises:
        NotARayResourceError: It lacks members of the protocol; the error names them.
    """
    if missing := missing_members(candidate):
        raise NotARayResourceError(where, type(candidate).__name__, missing)
    assert isinstance(candidate, RayResource)  # noqa: S101 - for type checkers; the line above has decided
    return candidate
