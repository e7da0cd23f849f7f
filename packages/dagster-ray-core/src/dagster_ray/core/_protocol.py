"""`RayResource`: what every Ray backend is to a Dagster step, and the check that one stands behind each parameter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, get_type_hints

import dagster as dg
from dagster._config.pythonic_config import ConfigurableResource, ConfigurableResourceFactory
from dagster._core.definitions.decorators.op_decorator import DecoratedOpFunction
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


def check_ray_resources(definitions: dg.Definitions) -> dg.Definitions:
    """Check every `RayResource` parameter of the assets, asset checks and ops, and return the definitions.

    Dagster decides by the annotation that a parameter is a resource, and then passes whatever is bound to the key. A
    step that never touches its `ray_cluster` would run on a Ray that `ray.get` starts in secret.

    A key that is not bound at all is Dagster's own error. A resource made by a function
    (`@dg.resource`) is not known before it runs, and is skipped.

    Raises:
        NotARayResourceError: The key of such a parameter is bound to something else; the error names both.
    """
    resources: Mapping[str, Any] = definitions.resources or {}
    for op, parameter in _ray_parameters(definitions):
        bound: object = resources.get(parameter)
        if bound is None or isinstance(bound, dg.ResourceDefinition) or _yields_something_else(bound):
            continue
        require_ray_resource(bound, where=f"`{op}`, parameter `{parameter}`,")
    return definitions


def _yields_something_else(resource: object) -> bool:
    """A factory hands its own product to the step, which is not known before it runs."""
    factory = isinstance(resource, ConfigurableResourceFactory)
    return factory and not isinstance(resource, ConfigurableResource)


def _ray_parameters(definitions: dg.Definitions) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for job in definitions.resolve_all_job_defs():
        for op in job.graph.iterate_op_defs():
            if op.name in seen or not isinstance(op.compute_fn, DecoratedOpFunction):
                continue
            seen.add(op.name)
            hints = get_type_hints(op.compute_fn.decorated_fn)
            yield from ((op.name, name) for name, hint in hints.items() if hint is RayResource and name != "return")
