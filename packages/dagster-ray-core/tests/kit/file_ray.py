"""A backend without Ray: a cluster is a directory, and a driver is a variable of the process."""

import shutil
import uuid
from pathlib import Path
from typing import Any, ClassVar, cast

from dagster_ray.core import DagsterContext, Deadline, Lifecycle, RayResource, StepOutcome
from dagster_ray.core.errors import NotConnectedError, NotReadyError

MEMBERS_DIRECTORY = "members"


class SimulatedClock:
    """Seconds that pass only when somebody sleeps."""

    now: ClassVar[float] = 0.0

    @classmethod
    def seconds(cls) -> float:
        return cls.now

    @classmethod
    def sleep(cls, seconds: float) -> None:
        cls.now += seconds


class Driver:
    """What a step reads as `context`."""


class FileRay:
    """It keeps every promise that does not need Ray, and has no more members than the protocol asks for."""

    driver: ClassVar[Driver | None] = None

    def __init__(
        self,
        directory: str,
        *,
        lifecycle: Lifecycle | None = None,
        timeout: float = 600.0,
        name: str | None = None,
        share: bool = False,
        ready: bool = True,
    ) -> None:
        self.directory, self.name, self.share, self.ready = directory, name, share, ready
        self.lifecycle, self.timeout = lifecycle or Lifecycle(), timeout
        self.cluster: Path | None = None
        self.adopted = self.connected = False
        self.deadline: Deadline | None = None
        self._me = uuid.uuid4().hex

    # What users read

    @property
    def context(self) -> Any:
        self._require_driver("context")
        return FileRay.driver

    @property
    def job_id(self) -> str:
        self._require_driver("job_id")
        return "01000000"

    @property
    def address(self) -> str:
        return "file-ray.invalid:6379"

    @property
    def dashboard_url(self) -> str | None:
        return "http://file-ray.invalid:8265" if self.connected else None

    @property
    def display_name(self) -> str:
        return f"FileRay {self.cluster or 'not created'}"

    def _require_driver(self, member: str) -> None:
        if not self.connected:
            raise NotConnectedError(self.display_name, member, "nobody has called `connect`")

    # The phases

    def create(self, context: DagsterContext) -> None:
        if self.cluster is not None:
            return
        self.deadline = self.new_deadline()
        name = self.name or ("shared" if self.share else self._me)
        cluster = Path(self.directory) / name
        self.adopted = self.name is not None and cluster.exists()
        (cluster / MEMBERS_DIRECTORY).mkdir(parents=True, exist_ok=True)
        (cluster / MEMBERS_DIRECTORY / self._me).touch()
        self.cluster = cluster

    def wait(self, context: DagsterContext) -> None:
        deadline = self.deadline or self.new_deadline()
        while not self.ready:
            if not deadline.sleep(1.0):
                raise NotReadyError(self.display_name, deadline.budget_seconds, "not ready")

    def connect(self, context: DagsterContext) -> None:
        if self.connected:
            return
        if FileRay.driver is not None:
            raise RuntimeError("this process has a driver already")
        FileRay.driver, self.connected = Driver(), True

    def cleanup(self, context: DagsterContext, outcome: StepOutcome) -> None:
        self.disconnect()
        policy = self.lifecycle.cleanup
        if policy == "always" or (policy == "on_exception" and outcome is not StepOutcome.SUCCEEDED):
            self.delete()

    def disconnect(self) -> None:
        if self.connected:
            FileRay.driver, self.connected = None, False

    def delete(self) -> None:
        cluster, self.cluster = self.cluster, None
        if cluster is None:
            return
        (cluster / MEMBERS_DIRECTORY / self._me).unlink(missing_ok=True)
        if not self.adopted and not any((cluster / MEMBERS_DIRECTORY).glob("*")):
            shutil.rmtree(cluster)

    def new_deadline(self) -> Deadline:
        return Deadline(self.timeout, clock=SimulatedClock.seconds, sleeper=SimulatedClock.sleep)


def cluster_of(resource: RayResource) -> str:
    cluster = cast("FileRay", resource).cluster
    assert cluster is not None
    return str(cluster)
