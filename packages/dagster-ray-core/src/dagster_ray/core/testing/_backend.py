"""What a Ray backend can promise, and what its author fills in."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, cast

import dagster as dg
import pytest
from dagster._config.pythonic_config import ConfigurableResourceFactory

from dagster_ray.core import BaseRayResource, DagsterContext, Deadline, RayResource, run_phases
from dagster_ray.core._protocol import missing_members


class Capability(StrEnum):
    """One promise of a Ray backend. The values are sentences of the guide for authors.

    A backend promises all of them except those that its contract class lists in `lacks`.
    """

    STRICT_CONFIG = "A misspelled field is refused, and the error names it."
    SAME_CONFIG = "The step gets the configuration that the code location gave."
    NOT_CONNECTED = "`context` and `job_id` raise NotConnectedError while no driver is connected."
    BARE_ANNOTATION = "A parameter annotated `RayResource` gets the connected cluster."
    JOB_ID = "`job_id` is Ray's id of this step's driver."
    DASHBOARD = "`dashboard_url` is the URL of the cluster's dashboard."
    REMOTE_TASKS = "Remote tasks run on the cluster."
    TASK_OUTPUT = "What remote tasks print reaches the step's output."
    RECONNECTION = "When a resource has disconnected, another one can connect in the same process."
    PROCESS_STATE = "Signal handlers stay in place, and environment variables are restored."
    LIFECYCLE = "A phase that the lifecycle switches off is left to the step."
    PHASES_IN_STEP = "A step can call `create`, `wait`, `connect` and `cleanup` itself."
    AFTER_RUN = "Nothing is created for a run that has ended."
    CLEANUP = "It makes a cluster of its own and deletes it when the lifecycle says so."
    REPEATED_CLEANUP = "A second `cleanup` does nothing."
    KEPT_CLUSTER = "A cluster that the lifecycle keeps is there after the step."
    FAILED_SETUP = "A set-up that fails fails the step, and leaves neither a connection nor a cluster."
    DEADLINE = (
        "Create, wait and connect together give up on a cluster that never becomes ready after `timeout` seconds."
    )
    TERMINATION = "SIGTERM ends a run in time, and what the run made is deleted."
    MULTIPROCESS = "It works in the processes of the multiprocess executor."
    SHARING = "Two resources of one configuration meet on one cluster, and the first to leave does not end it."
    DRIVER_IN_CLUSTER = "With `driver='cluster'` the body of a step runs as a job in the cluster."
    ADOPTION = "A cluster that exists already is used, and never deleted."


@dataclass(frozen=True, slots=True)
class ExistingCluster:
    """A cluster that the author's fixture `existing` has started."""

    cluster: str
    """Its identity, in the words of `cluster_id`."""
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Fields of `make` by which a resource meets it."""


class BackendUnderTest:
    """What the kit asks the author of a backend. `make` and `cluster_exists` are always needed."""

    lacks: ClassVar[frozenset[Capability]] = frozenset()
    """What the backend does not promise. Its tests are skipped with this as the reason.

    A gap that is declared but works is not an error: the kit does not look. Read the list again from time to time.
    """

    run_seconds: ClassVar[float] = 180.0
    """Seconds that one run in a process of its own may take, the start of a cluster included."""

    termination_seconds: ClassVar[float] = 30.0
    """Seconds from SIGTERM to the end of the process. Kubernetes kills it after 30."""

    deletion_seconds: ClassVar[float] = 30.0
    """Seconds after the step within which a deleted cluster must be gone from `cluster_exists`."""

    @classmethod
    def make(cls, **fields: Any) -> RayResource:
        """Return a resource. `lifecycle` and `timeout` come as fields, and what `fields` and `existing` give.

        A class method, so that processes that the kit starts can call it too: they import the author's file.
        """
        raise NotImplementedError(f"override `make` in {cls.__name__}")

    @classmethod
    def cluster_id(cls, resource: RayResource) -> str:
        """Return text that identifies the cluster of a resource whose `create` is done."""
        return resource.display_name

    @classmethod
    def cluster_exists(cls, cluster: str) -> bool:
        """Return whether a cluster exists. Asked while it is used and after, here and in other processes.

        Args:
            cluster: What `cluster_id` returned.
        """
        raise NotImplementedError(f"override `cluster_exists` in {cls.__name__}")

    @classmethod
    def discard(cls, cluster: str) -> None:
        """Delete a cluster that the lifecycle kept. Needed for `Capability.KEPT_CLUSTER`."""

    @classmethod
    def make_never_ready(cls, **fields: Any) -> RayResource:
        """Return a resource whose cluster is never ready for drivers. Needed for `Capability.DEADLINE`."""
        raise NotImplementedError(f"override `make_never_ready` in {cls.__name__}, or add DEADLINE to `lacks`")

    @classmethod
    def seconds(cls) -> float:
        """Return the clock that `timeout` is measured by. A backend with a simulated clock returns its time."""
        return time.monotonic()

    @classmethod
    def make_failing(cls, fail: Callable[[RayResource], None], **fields: Any) -> RayResource:
        """Return a resource that calls `fail` with itself at the end of its set-up. Needed for FAILED_SETUP.

        Backends that inherit `BaseRayResource` have this already, by the hook `on_connect`.

        Args:
            fail: Raises an error.
            fields: As in `make`.
        """
        resource = cls.make(**fields)
        if not isinstance(resource, BaseRayResource):
            raise NotImplementedError(f"override `make_failing` in {cls.__name__}, or add FAILED_SETUP to `lacks`")
        return _failing_subclass(type(resource), fail)(**_given_fields(resource))

    @classmethod
    def definition(cls, resource: RayResource) -> object:
        """Return what is bound to the resource key in Dagster.

        A ConfigurableResource is bound itself; any other object has its phases run by `run_phases`.
        """
        if isinstance(resource, ConfigurableResourceFactory):
            return cast("object", resource)

        @dg.resource
        def ray_cluster(context: dg.InitResourceContext) -> Any:
            with run_phases(resource, context) as cluster:
                yield cluster

        return ray_cluster

    @pytest.fixture
    def fields(self) -> Mapping[str, Any]:
        """Fields that every `make` gets and that only a fixture knows. Plain data: they travel as JSON."""
        return {}

    @pytest.fixture
    def existing(self) -> ExistingCluster:
        """A running cluster that the backend did not make. Needed for `Capability.ADOPTION`."""
        raise NotImplementedError(
            f"override the fixture `existing` in {type(self).__name__}, or add ADOPTION to `lacks`"
        )

    # What tests call

    @classmethod
    def promises(cls, capability: Capability) -> bool:
        """Return whether the backend does not declare that it lacks `capability`."""
        return capability not in cls.lacks

    def need(self, *capabilities: Capability) -> None:
        """Skip the test if the backend declares that it lacks one of these."""
        for capability in capabilities:
            if not self.promises(capability):
                pytest.skip(f"{type(self).__name__} declares that it lacks {capability.name}: {capability.value}")

    @classmethod
    def is_gone(cls, cluster: str) -> bool:
        """Return whether a cluster is gone, or goes within `deletion_seconds`."""
        deadline = Deadline(cls.deletion_seconds)
        while cls.cluster_exists(cluster):
            if not deadline.sleep(0.2):
                return False
        return True


def require_members(resource: object) -> None:
    """Fail the test if members of `RayResource` are missing."""
    missing = missing_members(resource)
    assert not missing, (
        f"{type(resource).__name__} lacks {', '.join(missing)}: a backend must have every member of RayResource, "
        "else a step that works with other backends breaks with this one"
    )


def _given_fields(resource: BaseRayResource) -> dict[str, Any]:
    return {name: getattr(resource, name) for name in resource.model_fields_set}


def _failing_subclass(backend: type[BaseRayResource], fail: Callable[[RayResource], None]) -> type[BaseRayResource]:
    class FailsInSetup(backend):
        def on_connect(self, context: DagsterContext) -> None:
            fail(self)

    return FailsInSetup
