"""Backends with one defect each, run through the kit by `test_broken_backends.py` in a process of its own."""

import os
import shutil
import signal
from collections.abc import Generator, Mapping
from typing import Any, ClassVar

import dagster as dg
import pytest
from configured_file_ray import ConfiguredFileRay
from file_ray import FileRay
from file_ray_contract import FileRayContract

from dagster_ray.core import DagsterContext, Deadline, Lifecycle, RayResource, StepOutcome, run_phases
from dagster_ray.core.testing import Capability, RayResourceContract

_IN_OTHER_PROCESSES = frozenset({Capability.MULTIPROCESS, Capability.TERMINATION, Capability.SHARING})
_WITHOUT_RAY = frozenset({Capability.REMOTE_TASKS, Capability.TASK_OUTPUT, Capability.DRIVER_IN_CLUSTER})


class OneDefect(FileRayContract, RayResourceContract):
    """Processes cost seconds, so only the defects that need them claim them."""

    lacks: ClassVar[frozenset[Capability]] = _WITHOUT_RAY | _IN_OTHER_PROCESSES
    termination_seconds = 2.0


def _leaks_after(leaked: StepOutcome) -> type[FileRay]:
    class Leaks(FileRay):
        def cleanup(self, context: DagsterContext, outcome: StepOutcome) -> None:
            if outcome is leaked:
                self.disconnect()
            else:
                super().cleanup(context, outcome)

    return Leaks


class TestLeaksAfterSuccess(OneDefect):
    backend = _leaks_after(StepOutcome.SUCCEEDED)


class TestLeaksAfterFailure(OneDefect):
    backend = _leaks_after(StepOutcome.FAILED)


class TestLeaksAfterFailedSetup(OneDefect):
    backend = _leaks_after(StepOutcome.SETUP_FAILED)


class TestLeaksAfterRetry(OneDefect):
    lacks = OneDefect.lacks - {Capability.MULTIPROCESS}
    backend = _leaks_after(StepOutcome.RETRY_REQUESTED)


class TestLeaksAfterSigterm(OneDefect):
    lacks = OneDefect.lacks - {Capability.TERMINATION}
    backend = _leaks_after(StepOutcome.INTERRUPTED)


class DeletesDespiteNever(FileRay):
    def cleanup(self, context: DagsterContext, outcome: StepOutcome) -> None:
        super().cleanup(context, outcome)
        if self.lifecycle.cleanup == "never":
            self.delete()


class TestDeletesDespiteNever(OneDefect):
    backend = DeletesDespiteNever


class DeletesDespiteSuccess(FileRay):
    def cleanup(self, context: DagsterContext, outcome: StepOutcome) -> None:
        super().cleanup(context, outcome)
        if self.lifecycle.cleanup == "on_exception":
            self.delete()


class TestDeletesDespiteSuccess(OneDefect):
    backend = DeletesDespiteSuccess


class DeletesAdopted(FileRay):
    def delete(self) -> None:
        if self.adopted and self.cluster is not None:
            shutil.rmtree(self.cluster)
        super().delete()


class TestDeletesAdopted(OneDefect):
    backend = DeletesAdopted


class IgnoresExisting(FileRay):
    def create(self, context: DagsterContext) -> None:
        self.name = None
        super().create(context)


class TestIgnoresExisting(OneDefect):
    backend = IgnoresExisting


class GivesEachPhaseADeadline(FileRay):
    def wait(self, context: DagsterContext) -> None:
        while not self.ready and self.deadline is not None and self.deadline.sleep(1.0):
            pass

    def connect(self, context: DagsterContext) -> None:
        self.deadline = self.new_deadline()
        super().wait(context)
        super().connect(context)


class TestGivesEachPhaseADeadline(OneDefect):
    backend = GivesEachPhaseADeadline


class TimesOutWithABareError(FileRay):
    def wait(self, context: DagsterContext) -> None:
        if not self.ready:
            raise RuntimeError("timed out")


class TestTimesOutWithABareError(OneDefect):
    backend = TimesOutWithABareError


class TestIgnoresCreateOff(OneDefect):
    @classmethod
    def definition(cls, resource: RayResource) -> object:
        @dg.resource
        def ray_cluster(context: dg.InitResourceContext) -> Any:
            with run_phases(resource, context) as cluster:
                if not cluster.lifecycle.create:
                    cluster.create(context)
                    cluster.connect(context)
                yield cluster

        return ray_cluster


class SwallowsMisspeltFields(FileRay):
    def __init__(self, directory: str, tiemout: float | None = None, **fields: Any) -> None:
        super().__init__(directory, **fields)


class TestSwallowsMisspeltFields(OneDefect):
    backend = SwallowsMisspeltFields


class ReturnsNoneBeforeConnect(FileRay):
    @property
    def context(self) -> Any:
        return FileRay.driver


class TestReturnsNoneBeforeConnect(OneDefect):
    backend = ReturnsNoneBeforeConnect


class HasNoJobId(FileRay):
    @property
    def job_id(self) -> str:
        return super().job_id and ""


class TestHasNoJobId(OneDefect):
    backend = HasNoJobId


class RaisesItsOwnErrorBeforeConnect(FileRay):
    @property
    def job_id(self) -> str:
        assert self.connected
        return super().job_id


class TestRaisesItsOwnErrorBeforeConnect(OneDefect):
    backend = RaisesItsOwnErrorBeforeConnect


class ForgetsItsLifecycle(FileRay):
    def __init__(self, directory: str, lifecycle: Lifecycle | None = None, **fields: Any) -> None:
        super().__init__(directory, lifecycle=Lifecycle(cleanup=(lifecycle or Lifecycle()).cleanup), **fields)


class TestForgetsItsLifecycle(OneDefect):
    backend = ForgetsItsLifecycle


class HasNoName(FileRay):
    @property
    def display_name(self) -> str:
        return "" if self.cluster is None else super().display_name


class TestHasNoName(OneDefect):
    backend = HasNoName


class HasNoAddress(FileRay):
    @property
    def address(self) -> str:
        return "auto"


class TestHasNoAddress(OneDefect):
    backend = HasNoAddress


class NeedsItsFirstProcess(FileRay):
    first: ClassVar[int] = int(os.environ.setdefault("BROKEN_BACKENDS_FIRST_PROCESS", str(os.getpid())))

    def create(self, context: DagsterContext) -> None:
        if os.getpid() != self.first:
            raise RuntimeError("nobody has prepared this process")
        super().create(context)


class TestNeedsItsFirstProcess(OneDefect):
    lacks = OneDefect.lacks - {Capability.MULTIPROCESS}
    backend = NeedsItsFirstProcess


class HasNoDashboard(FileRay):
    @property
    def dashboard_url(self) -> str | None:
        return "file-ray.invalid:8265" if self.connected else None


class TestHasADashboardWithoutScheme(OneDefect):
    backend = HasNoDashboard


def _ignore(signum: int, frame: object) -> None:
    pass


class ReplacesSigtermHandler(FileRay):
    def connect(self, context: DagsterContext) -> None:
        super().connect(context)
        signal.signal(signal.SIGTERM, _ignore)


class TestReplacesSigtermHandler(OneDefect):
    backend = ReplacesSigtermHandler

    @pytest.fixture(autouse=True)
    def _handler_restored(self) -> Generator[None]:
        before = signal.getsignal(signal.SIGTERM)
        yield
        signal.signal(signal.SIGTERM, before)


class LeavesEnvironmentVariables(FileRay):
    def connect(self, context: DagsterContext) -> None:
        super().connect(context)
        os.environ["FILE_RAY_LEFT_THIS"] = str(self.cluster)


class TestLeavesEnvironmentVariables(OneDefect):
    backend = LeavesEnvironmentVariables


class StaysConnected(FileRay):
    def disconnect(self) -> None:
        self.connected = False


class TestStaysConnected(OneDefect):
    backend = StaysConnected

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _driver_released(cls) -> Generator[None]:
        yield
        FileRay.driver = None


class TestLacksAMember(OneDefect):
    @classmethod
    def make(cls, **fields: Any) -> Any:
        class Proxy:
            def __init__(self) -> None:
                self.file_ray = FileRay(**fields)

        whole = ("address", "cleanup", "connect", "context", "create", "display_name", "job_id", "lifecycle", "wait")
        for name in whole:
            setattr(Proxy, name, property(lambda self, name=name: getattr(self.file_ray, name)))
        return Proxy()


class SharesNothing(FileRay):
    def __init__(self, directory: str, **fields: Any) -> None:
        fields["share"] = False
        super().__init__(directory, **fields)


class SharingDefect(OneDefect):
    lacks = OneDefect.lacks - {Capability.SHARING}

    @pytest.fixture
    def fields(self, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
        return {"directory": str(tmp_path_factory.mktemp("clusters")), "share": True}


class TestSharesNothing(SharingDefect):
    backend = SharesNothing


class FirstToLeaveEndsIt(FileRay):
    def delete(self) -> None:
        if self.cluster is not None and not self.adopted:
            shutil.rmtree(self.cluster, ignore_errors=True)
            self.cluster = None


class TestFirstToLeaveEndsIt(SharingDefect):
    backend = FirstToLeaveEndsIt


class TestCreatesAgainAfterTheRun(OneDefect):
    @classmethod
    def definition(cls, resource: RayResource) -> object:
        honest: Any = super().definition(resource)

        @dg.resource
        def ray_cluster(context: dg.InitResourceContext) -> Any:
            over = (
                context.run is not None
                and context.instance is not None
                and context.instance.get_run_by_id(context.run.run_id)
            )
            if over and over.is_finished:
                resource.create(context)
                resource.connect(context)
                yield resource
                resource.cleanup(context, StepOutcome.UNKNOWN)
            else:
                yield from honest.resource_fn(context)

        return ray_cluster


class CleansUpOnce(FileRay):
    def cleanup(self, context: DagsterContext, outcome: StepOutcome) -> None:
        if self.cluster is None:
            raise RuntimeError("there is no cluster to clean up")
        super().cleanup(context, outcome)


class TestCleansUpOnce(OneDefect):
    backend = CleansUpOnce


class CannotBeCalledByAStep(FileRay):
    def create(self, context: DagsterContext) -> None:
        if not isinstance(context, dg.InitResourceContext):
            raise TypeError("a resource's context is needed")
        super().create(context)


class TestCannotBeCalledByAStep(OneDefect):
    backend = CannotBeCalledByAStep


class TestLosesConfigOnCopy(OneDefect):
    @classmethod
    def definition(cls, resource: RayResource) -> object:
        assert isinstance(resource, FileRay)
        copied = cls.backend(resource.directory, lifecycle=resource.lifecycle, name=resource.name, share=resource.share)
        # A set-up that fails is observed on the instance that `make_failing` returned.
        return super().definition(resource if type(resource).__name__ == "Failing" else copied)


class TestLosesNestedDefaults(OneDefect):
    backend = ConfiguredFileRay  # pyright: ignore[reportAssignmentType]


class IgnoresItsTimeout(FileRay):
    """Honest apart from a deadline that its `wait` never looks at."""

    def wait(self, context: DagsterContext) -> None:
        if not self.ready:
            Deadline(10 * self.timeout, clock=self.new_deadline().clock, sleeper=self.new_deadline().sleeper).sleep(
                30.0
            )
            super().wait(context)


class TestIgnoresItsTimeout(OneDefect):
    backend = IgnoresItsTimeout
