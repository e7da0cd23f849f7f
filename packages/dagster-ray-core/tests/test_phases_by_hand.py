"""Phases that the step runs itself, resources outside of runs, hooks, and the one deadline of all phases."""

# Dagster's decorators and nested configs are typed in part only.
# pyright: reportUnknownMemberType=false

import importlib
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import dagster as dg
import pytest
from plain_cluster import PlainCluster
from probe_clusters import ProbeCluster, journal_lines, run_id_of
from pydantic import PrivateAttr
from typing_extensions import override

from dagster_ray.core import CleanupPolicy, DagsterContext, Deadline, Lifecycle, RayResource, StepOutcome
from dagster_ray.core._connection import connect
from dagster_ray.core._driver import process_driver
from dagster_ray.core.errors import ConnectFailedError, NotConnectedError, NotCreatedError, NotReadyError

pytestmark = pytest.mark.usefixtures("stand_in_ray")
PHASES = ["create", "wait", "connect"]


@dg.op
def op_by_hand(context: dg.OpExecutionContext, ray_cluster: RayResource) -> None:
    ray_cluster.create(context)
    ray_cluster.wait(context)
    ray_cluster.connect(context)
    assert ray_cluster.job_id == "0a000000"


@dg.job(resource_defs={"ray_cluster": ProbeCluster.configure_at_launch()})
def job_by_hand() -> None:
    op_by_hand()


@dg.asset
def asset_by_hand(context: dg.AssetExecutionContext, ray_cluster: RayResource) -> None:
    ray_cluster.create(context)
    ray_cluster.wait(context)
    ray_cluster.connect(context)
    assert ray_cluster.dashboard_url == "http://127.0.0.1:8265"


FLAGS = [
    pytest.param({"create": False}, id="create is off"),
    pytest.param({"wait": False}, id="wait is off"),
    pytest.param({"connect": False}, id="connect is off"),
    pytest.param({"create": False, "wait": False, "connect": False}, id="all phases are off"),
    pytest.param({}, id="all phases ran already, so calling them does nothing"),
]


@pytest.mark.parametrize("flags", FLAGS)
def test_an_op_runs_the_phases_that_are_off(journal: str, flags: dict[str, Any]) -> None:
    config = {"journal": journal, "lifecycle": {**flags, "cleanup": "always"}}
    assert job_by_hand.execute_in_process(run_config={"resources": {"ray_cluster": {"config": config}}}).success
    assert [line["did"] for line in journal_lines(journal)] == [*PHASES, "delete", "cleanup"]


@pytest.mark.parametrize("flags", FLAGS)
def test_an_asset_runs_the_phases_that_are_off(journal: str, flags: dict[str, Any]) -> None:
    cluster = ProbeCluster(journal=journal, lifecycle=Lifecycle(**flags))
    assert dg.materialize([asset_by_hand], resources={"ray_cluster": cluster}).success
    lines = journal_lines(journal)
    assert [line["did"] for line in lines] == [*PHASES, "delete", "cleanup"]
    assert lines[-1]["outcome"] == "succeeded"


@pytest.mark.parametrize(
    ("flags", "phases"),
    [
        pytest.param({"create": False}, [], id="nothing is asked for"),
        pytest.param({"wait": False}, ["create"], id="nothing is awaited"),
        pytest.param({"connect": False}, ["create", "wait"], id="nothing is connected"),
    ],
)
def test_a_phase_that_is_off_and_not_called_does_not_run(
    journal: str, flags: dict[str, Any], phases: list[str]
) -> None:
    errors: list[type[BaseException]] = []

    @dg.asset
    def idle(ray_cluster: RayResource) -> None:
        with pytest.raises(NotConnectedError) as caught:
            _ = ray_cluster.context
        errors.append(caught.type)

    cluster = ProbeCluster(journal=journal, lifecycle=Lifecycle(**flags))
    assert dg.materialize([idle], resources={"ray_cluster": cluster}).success
    deleted = ["delete"] if phases else []
    assert [line["did"] for line in journal_lines(journal)] == [*phases, *deleted, "cleanup"]
    assert errors == [NotConnectedError]


@pytest.mark.parametrize("phase", ["wait", "connect"])
def test_a_phase_before_create_is_an_error(journal: str, phase: str) -> None:
    cluster = ProbeCluster(journal=journal)
    with dg.build_op_context() as context, pytest.raises(NotCreatedError, match=f"`{phase}` was called"):
        getattr(cluster, phase)(context)


def test_a_direct_call_runs_the_phases(journal: str) -> None:
    @dg.asset
    def train(ray_cluster: RayResource) -> str:
        return ray_cluster.job_id

    assert train(ray_cluster=ProbeCluster(journal=journal)) == "0a000000"
    lines = journal_lines(journal)
    assert [line["did"] for line in lines] == [*PHASES, "delete", "cleanup"]
    assert lines[-1]["outcome"] == "unknown"


def test_build_resources_runs_the_phases(journal: str) -> None:
    cluster = ProbeCluster(journal=journal, lifecycle=Lifecycle(cleanup="on_exception"))
    with dg.build_resources({"ray_cluster": cluster}) as resources:
        assert resources.ray_cluster.job_id == "0a000000"
        assert [line["did"] for line in journal_lines(journal)] == PHASES
    lines = journal_lines(journal)
    assert [line["did"] for line in lines[3:]] == ["delete", "cleanup"]
    assert lines[-1]["outcome"] == "unknown"


def test_a_plain_backend_without_phases_is_only_passed_on() -> None:
    """Nothing drives a plain object: that needs `run_phases`."""

    @dg.asset
    def train(ray_cluster: RayResource) -> None:
        assert ray_cluster.display_name == "Plain cluster"

    cluster = PlainCluster()
    assert dg.materialize([train], resources={"ray_cluster": cluster}).success
    assert cluster.calls == []


class Hooked(ProbeCluster):
    @override
    def on_create(self, context: DagsterContext) -> None:
        self.probe.note("on_create", run_id=run_id_of(context))

    @override
    def on_ready(self, context: DagsterContext) -> None:
        self.probe.note("on_ready")

    @override
    def on_connect(self, context: DagsterContext) -> None:
        self.probe.note("on_connect", job_id=self.job_id)


@pytest.mark.parametrize(
    ("fails_in", "expected"),
    [
        pytest.param(
            "",
            ["create", "on_create", "wait", "on_ready", "connect", "on_connect", "delete", "cleanup"],
            id="each hook follows its phase",
        ),
        pytest.param(
            "wait", ["create", "on_create", "wait", "delete", "cleanup"], id="no hook for a phase that failed"
        ),
    ],
)
def test_hooks(journal: str, fails_in: str, expected: list[str]) -> None:
    @dg.asset
    def train(ray_cluster: RayResource) -> None: ...

    cluster = Hooked(journal=journal, fails_in=fails_in)
    result = dg.materialize([train], resources={"ray_cluster": cluster}, raise_on_error=False)
    assert result.success is not bool(fails_in)
    assert [line["did"] for line in journal_lines(journal)] == expected


def test_the_start_up_is_an_event_of_the_step(journal: str) -> None:
    @dg.asset
    def train(ray_cluster: RayResource) -> None: ...

    with dg.DagsterInstance.ephemeral() as instance:
        resources = {"ray_cluster": ProbeCluster(journal=journal)}
        result = dg.materialize([train], resources=resources, instance=instance)
        events = [entry.dagster_event for entry in instance.all_logs(result.run_id) if entry.dagster_event]
    (event,) = [event for event in events if (event.message or "").startswith("Connected to Probe probe")]
    metadata = event.engine_event_data.metadata
    assert event.step_key == "train"
    assert (
        metadata["dagster_ray/dashboard"].value == "http://127.0.0.1:8265 (on the step's machine, while the step runs)"
    )
    assert metadata["dagster_ray/job_id"] == dg.MetadataValue.text("0a000000")
    assert set(metadata) == {
        *(f"dagster_ray/{name}" for name in ("cluster", "dashboard", "job_id")),
        *(f"dagster_ray/{name}_seconds" for name in ("startup", *PHASES)),
    }


class Timed(ProbeCluster):
    """It notes its deadline, and spends as much of it in `create` as it is told."""

    spends_seconds: float = 0.0
    dials: str = "auto"
    _seen: list[tuple[Deadline, float]] = PrivateAttr(default_factory=list[tuple[Deadline, float]])

    @property
    @override
    def address(self) -> str:
        return self.dials

    @override
    def create_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        super().create_cluster(context, deadline)
        if self.spends_seconds:
            deadline.sleep(self.spends_seconds)
        self._seen.append((deadline, deadline.spent_seconds()))

    @override
    def wait_for_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        self._seen.append((deadline, deadline.spent_seconds()))

    def seen(self) -> list[tuple[Deadline, float]]:
        return self._seen


def test_a_step_that_is_called_directly_can_run_the_phases(journal: str) -> None:
    """Its context belongs to no run."""
    cluster = ProbeCluster(journal=journal, lifecycle=Lifecycle(create=False))
    with dg.build_op_context(resources={"ray_cluster": cluster}) as context:
        op_by_hand(context)
    with dg.build_asset_context(resources={"ray_cluster": cluster}) as context:
        asset_by_hand(context)
    assert [line["did"] for line in journal_lines(journal)] == [*PHASES, "delete", "cleanup"] * 2


def test_all_phases_spend_one_deadline_and_user_code_between_them_none(journal: str) -> None:
    cluster = Timed(journal=journal, timeout=77)
    with dg.build_op_context() as context:
        cluster.create(context)
        ((deadline, at_create),) = cluster.seen()
        after_create = deadline.spent_seconds()
        clock = deadline.clock()
        while deadline.clock() == clock:
            pass  # the user's code: time goes on, the deadline does not
        assert deadline.spent_seconds() == after_create
        cluster.wait(context)
        (_, (same_deadline, at_wait)) = cluster.seen()
        cluster.cleanup(context, StepOutcome.SUCCEEDED)
    assert same_deadline is deadline
    assert deadline.budget_seconds == 77
    assert 0 <= at_create <= after_create <= at_wait <= deadline.spent_seconds()


def test_what_create_has_spent_is_missing_to_connect(journal: str) -> None:
    with socket.socket() as closed, dg.build_op_context() as context:
        closed.bind(("127.0.0.1", 0))
        address = f"ray://127.0.0.1:{closed.getsockname()[1]}"
        cluster = Timed(journal=journal, timeout=0.05, spends_seconds=600, dials=address)
        cluster.create(context)
        cluster.wait(context)
        with pytest.raises(NotReadyError) as caught:
            cluster.connect(context)
    assert caught.value.budget_seconds == 0.05
    ((deadline, _), _) = cluster.seen()
    assert deadline.is_over()


class Registered(ProbeCluster):
    """It tells the cluster's owner about its driver, and holds something to close."""

    @override
    def on_driver(self, context: DagsterContext, deadline: Deadline) -> None:
        self.probe.reach("on_driver", job_id=self.job_id)

    @override
    def before_disconnect(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None:
        self.probe.reach("before_disconnect", job_id=self.job_id, outcome=outcome.value)

    @override
    def release(self, context: DagsterContext) -> None:
        self.probe.note("release", connected=str(self.is_connected))


LAST = ["release", "cleanup"]


@pytest.mark.parametrize(
    ("fails_in", "policy", "expected"),
    [
        pytest.param("", "always", [*PHASES, "on_driver", "before_disconnect", "delete", *LAST], id="all goes well"),
        pytest.param("", "never", [*PHASES, "on_driver", "before_disconnect", *LAST], id="the cluster is kept"),
        pytest.param("wait", "always", ["create", "wait", "delete", *LAST], id="no driver was connected"),
        pytest.param(
            "on_driver",
            "always",
            [*PHASES, "on_driver", "before_disconnect", "delete", *LAST],
            id="the owner did not take the driver",
        ),
        pytest.param(
            "before_disconnect",
            "always",
            [*PHASES, "on_driver", "before_disconnect", "delete", *LAST],
            id="a last word that fails keeps nothing alive",
        ),
        pytest.param(
            "delete",
            "always",
            [*PHASES, "on_driver", "before_disconnect", "delete", "release"],
            id="a delete that fails closes all the same",
        ),
    ],
)
def test_what_a_backend_does_around_the_driver(
    journal: str, fails_in: str, policy: CleanupPolicy, expected: list[str]
) -> None:
    @dg.asset
    def train(ray_cluster: RayResource) -> None: ...

    cluster = Registered(journal=journal, fails_in=fails_in, lifecycle=Lifecycle(cleanup=policy))
    dg.materialize([train], resources={"ray_cluster": cluster}, raise_on_error=False)
    lines = journal_lines(journal)
    assert [line["did"] for line in lines] == expected
    assert [line["connected"] for line in lines if line["did"] == "release"] == ["False"]


class TakesEvidence(Registered):
    """Its evidence has taken more than the whole budget of the cleanup."""

    @override
    def before_disconnect(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None:
        self._progress.evidence_seconds = 25

    @override
    def delete_cluster(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None:
        seconds.append(deadline.remaining_seconds())


seconds: list[float] = []


def test_evidence_leaves_time_to_delete(journal: str) -> None:
    @dg.asset
    def train(ray_cluster: RayResource) -> None: ...

    seconds.clear()
    dg.materialize(
        [train], resources={"ray_cluster": TakesEvidence(journal=journal, lifecycle=Lifecycle(cleanup="always"))}
    )
    assert seconds == [pytest.approx(5, abs=4)]


class Clock:
    """Seconds that pass when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def deadline(self) -> Deadline:
        return Deadline(10, self, self.sleep)


def refuse_first(times: int, attempts: list[int]) -> Callable[[], None]:
    def reach() -> None:
        attempts.append(len(attempts) + 1)
        if len(attempts) <= times:
            raise ConnectionError("not yet")

    return reach


def test_connect_tries_again_until_ray_accepts() -> None:
    attempts: list[int] = []
    connection = connect("Probe", "auto", {"reach": refuse_first(3, attempts)}, Clock().deadline())
    assert attempts == [1, 2, 3, 4]
    assert (connection.job_id, connection.driver is not None) == ("0a000000", True)
    process_driver.leave(connection)


def give_up_first(times: int, attempts: list[int]) -> Callable[[], None]:
    def reach() -> None:
        attempts.append(len(attempts) + 1)
        if len(attempts) <= times:
            importlib.import_module("ray._private.node").Node(f"of attempt {len(attempts)}")

    return reach


def test_a_start_that_ray_gave_up_is_tried_again_and_what_it_left_is_ended() -> None:
    """Ray waits 30 s for a node of its own, whatever the deadline is; a busy laptop needs longer."""
    attempts: list[int] = []
    told: list[str] = []
    options = {"reach": give_up_first(2, attempts)}
    connection = connect("Probe", "local", options, Clock().deadline(), on_slow_start=told.append)
    assert attempts == [1, 2, 3]
    assert importlib.import_module("ray._private.node").killed == ["of attempt 1", "of attempt 2"]
    assert [text[:39] for text in told] == ["The current node timed out during start"] * 2
    process_driver.leave(connection)


def test_a_start_that_never_comes_up_ends_at_the_deadline_with_words_for_a_laptop() -> None:
    with pytest.raises(ConnectFailedError) as caught:
        connect("Probe", "local", {"reach": give_up_first(10**9, [])}, Clock().deadline())
    assert "this machine is too busy or too small" in caught.value.remedy


def test_the_set_up_and_teardown_of_a_subclass_run(journal: str) -> None:
    """As they do in each of Dagster's configurable resources."""

    class WithSetUp(ProbeCluster):
        @override
        def setup_for_execution(self, context: dg.InitResourceContext) -> None:
            self.probe.note("set-up of the subclass")

        @override
        def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
            self.probe.note("teardown of the subclass")

    with dg.build_resources({"ray_cluster": WithSetUp(journal=journal)}):
        pass
    did = [line["did"] for line in journal_lines(journal)]
    assert (did[0], did[1], did[-1]) == ("set-up of the subclass", "create", "teardown of the subclass")


def test_connect_gives_up_at_the_deadline() -> None:
    attempts: list[int] = []
    clock = Clock()
    with pytest.raises(ConnectFailedError) as caught:
        connect("Probe", "auto", {"reach": refuse_first(10**9, attempts)}, clock.deadline())
    assert caught.value.attempts == len(attempts) > 3
    assert clock.now == pytest.approx(10)


def test_connect_ends_when_the_cluster_is_known_to_be_gone() -> None:
    """It is asked after each failed attempt, and what it raises ends the attempts."""
    attempts: list[int] = []

    def check() -> None:
        if len(attempts) == 2:
            raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        connect("Probe", "auto", {"reach": refuse_first(10**9, attempts)}, Clock().deadline(), check_cluster=check)
    assert attempts == [1, 2]


class Stopped(BaseException):
    """What the handler raises, as Dagster's does."""


def test_a_signal_between_two_attempts_is_not_lost() -> None:
    """It comes while the failed attempt is put away, where signals wait."""
    attempts: list[int] = []

    def stop(_signum: int, _frame: FrameType | None) -> None:
        raise Stopped

    def terminate() -> None:
        signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    options: dict[str, Any] = {"reach": refuse_first(10**9, attempts), "before_shutdown": terminate}
    try:
        with pytest.raises(Stopped):
            connect("Probe", "auto", options, Clock().deadline())
    finally:
        signal.signal(signal.SIGTERM, before)
    assert attempts == [1]
