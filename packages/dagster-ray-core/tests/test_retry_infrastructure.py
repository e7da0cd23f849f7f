"""Failures of infrastructure are retried on a new cluster, and nothing else is."""

# Dagster's decorators are typed in part only.
# pyright: reportUnknownMemberType=false

from dataclasses import dataclass
from typing import Any

import dagster as dg
import pytest
from probe_clusters import journal_lines
from retry_jobs import SPOT, RetriedCluster, asset_of, holder, two_preemptions

from dagster_ray.core import Lifecycle
from dagster_ray.core.failures.record import CLASS_KEY, CLUSTER_KEY, REASON_KEY, RETRY_KEY

pytestmark = pytest.mark.usefixtures("stand_in_ray")
SETUP = ["create", "wait", "connect"]
END = ["delete", "cleanup"]


@dataclass(frozen=True)
class Ran:
    """What a run has left."""

    success: bool
    events: list[dg.DagsterEvent]
    did: list[str]

    def kinds(self, *kinds: str) -> list[str]:
        return [event.event_type_value for event in self.events if event.event_type_value in kinds]

    @property
    def failures(self) -> list[tuple[str, int | None]]:
        """Class of each failure, and the number of the retry that followed."""
        found: list[tuple[str, int | None]] = []
        for event in self.events:
            metadata: Any = event.engine_event_data.metadata if event.is_engine_event else {}
            if CLASS_KEY in metadata:
                assert metadata[REASON_KEY].value
                assert metadata[CLUSTER_KEY].value == "Probe probe"
                retry = metadata.get(RETRY_KEY)
                found.append((str(metadata[CLASS_KEY].value), None if retry is None else retry.value))
        return found


def run(journal: str, attempts: list[str], retries: int, policy: dg.RetryPolicy | None = None, **more: Any) -> Ran:
    cluster = RetriedCluster(journal=journal, lifecycle=Lifecycle(retry_infrastructure=retries), **more)
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [asset_of(attempts, policy)],
            resources={"ray_cluster": cluster, "holder": holder},
            instance=instance,
            raise_on_error=False,
        )
        return ran(instance, result.run_id, journal, success=result.success)


def ran(instance: dg.DagsterInstance, run_id: str, journal: str, *, success: bool) -> Ran:
    events = [entry.dagster_event for entry in instance.all_logs(run_id) if entry.dagster_event]
    return Ran(success, events, [line["did"] for line in journal_lines(journal)])


def test_two_preemptions_and_then_success_give_one_materialization(journal: str) -> None:
    found = run(journal, ["infra", "wrapped", "good"], 2)
    assert found.success
    assert found.kinds("ASSET_MATERIALIZATION") == ["ASSET_MATERIALIZATION"]
    assert found.did == [*SETUP, "step", *END] * 3
    assert found.failures == [("infrastructure", 1), ("infrastructure", 2)]
    steps = ("STEP_START", "STEP_RESTARTED", "STEP_UP_FOR_RETRY", "STEP_SUCCESS")
    again = ["STEP_UP_FOR_RETRY", "STEP_RESTARTED"]
    assert found.kinds(*steps) == ["STEP_START", *again, *again, "STEP_SUCCESS"]
    (first, _) = [event for event in found.events if event.is_step_up_for_retry]
    assert "broke the connection" in str(first.step_retry_data.error)
    assert any(f"(retry 1 of 2): {SPOT}" in (event.message or "") for event in found.events)


def test_a_bug_is_never_retried(journal: str) -> None:
    found = run(journal, ["bug"], 5)
    assert not found.success
    assert found.did == [*SETUP, "step", *END]
    assert found.failures == [("user", None)]
    (failure,) = [event for event in found.events if event.is_step_failure]
    assert "the step's own error" in str(failure.step_failure_data.error)


@pytest.mark.parametrize("policy", [None, dg.RetryPolicy(max_retries=3)])
def test_a_failure_that_allows_no_retries_is_final(journal: str, policy: dg.RetryPolicy | None) -> None:
    found = run(journal, ["final", "good"], 2, policy)
    assert not found.success
    assert found.did == [*SETUP, "step", *END]
    assert found.failures == [("infrastructure", None)]


def test_no_more_retries_than_allowed(journal: str) -> None:
    found = run(journal, ["infra", "infra", "infra"], 2)
    assert not found.success
    assert found.failures == [("infrastructure", 1), ("infrastructure", 2), ("infrastructure", None)]
    (failure,) = [event for event in found.events if event.is_step_failure]
    assert "broke the connection" in str(failure.step_failure_data.error), "the step's own error, not a count"


@pytest.mark.parametrize(
    ("attempts", "classes"),
    [
        pytest.param(["infra", "infra", "bug", "good"], ["infrastructure"] * 2 + ["user"], id="a bug once"),
        pytest.param(["bug", "infra", "infra", "good"], ["user"] + ["infrastructure"] * 2, id="a bug first"),
        pytest.param(["infra", "infra", "infra", "good"], ["infrastructure"] * 3, id="the policy takes the third"),
    ],
)
def test_a_retry_policy_has_its_own_count(journal: str, attempts: list[str], classes: list[str]) -> None:
    found = run(journal, attempts, 2, dg.RetryPolicy(max_retries=1))
    assert found.success
    assert [failure_class for failure_class, _ in found.failures] == classes


def test_a_retry_policy_is_used_up_by_bugs_alone(journal: str) -> None:
    found = run(journal, ["infra", "bug", "infra", "bug"], 2, dg.RetryPolicy(max_retries=1))
    assert not found.success
    assert found.failures == [("infrastructure", 1), ("user", None), ("infrastructure", 2), ("user", None)]
    (failure,) = [event for event in found.events if event.is_step_failure]
    assert "the step's own error" in str(failure.step_failure_data.error)


def test_a_request_of_the_body_has_its_own_count(journal: str) -> None:
    assert run(journal, ["infra", "asks", "good"], 1).success


def test_set_ups_that_fail_are_tried_again(journal: str) -> None:
    found = run(journal, ["", "", "good"], 2, bad_setups=2)
    assert found.success
    assert found.did == [*(["create", "wait", *END] * 2), *SETUP, "step", *END]
    assert found.failures == [("infrastructure", 1), ("infrastructure", 2)]
    steps = ("STEP_START", "STEP_RESTARTED", "STEP_UP_FOR_RETRY", "STEP_SUCCESS")
    again = ["STEP_UP_FOR_RETRY", "STEP_RESTARTED"]
    assert found.kinds(*steps) == ["STEP_START", *again, *again, "STEP_SUCCESS"]


def test_a_set_up_that_goes_on_to_fail_ends_the_step_with_its_own_error(journal: str) -> None:
    found = run(journal, ["", "", ""], 1, bad_setups=9)
    assert not found.success
    assert found.did == ["create", "wait", *END] * 2
    (failure,) = [event for event in found.events if event.is_step_failure]
    assert "[dagster-ray: not-ready]" in str(failure.step_failure_data.error)


def test_a_set_up_with_a_bug_fails_where_it_is(journal: str) -> None:
    found = run(journal, [], 3, fails_in="create")
    assert not found.success
    assert found.kinds("RESOURCE_INIT_FAILURE") == ["RESOURCE_INIT_FAILURE"]
    assert found.did == ["create", *END]


@pytest.mark.parametrize(
    ("attempt", "failure_class"),
    [pytest.param("infra", "infrastructure", id="infrastructure"), pytest.param("bug", "user", id="a bug")],
)
def test_without_retries_the_class_is_told_all_the_same(journal: str, attempt: str, failure_class: str) -> None:
    found = run(journal, [attempt], 0, sees_nodes=False)
    assert not found.success
    assert found.failures == [(failure_class, None)]
    assert found.did == [*SETUP, "step", *END]


def test_without_retries_the_class_of_a_failed_set_up_is_told(journal: str) -> None:
    found = run(journal, [], 0, bad_setups=1)
    assert found.failures == [("infrastructure", None)]


def test_a_failure_that_cannot_be_counted_is_not_retried(journal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> int:
        raise OSError("the database is away")

    monkeypatch.setattr("dagster_ray.core.failures.launcher.retries_of", refuse)
    found = run(journal, ["infra"], 2)
    assert not found.success
    assert found.did == [*SETUP, "step", *END]


@pytest.mark.many_processes
def test_each_attempt_of_an_own_process_has_an_own_cluster(instance: dg.DagsterInstance, journal: str) -> None:
    """The first one fails in its set-up, the second one in its body."""
    cluster = {
        "config": {
            "journal": journal,
            "lifecycle": {"retry_infrastructure": 3, "cleanup": "on_exception"},
            "bad_setups": 1,
        }
    }
    forkserver: dict[str, Any] = {"execution": {"config": {"multiprocess": {"start_method": {"forkserver": {}}}}}}
    config: dict[str, Any] = {"resources": {"ray_cluster": cluster}, **forkserver}
    with dg.execute_job(dg.reconstructable(two_preemptions), instance=instance, run_config=config) as result:
        found = ran(instance, result.run_id, journal, success=result.success)
    assert found.success
    assert found.kinds("ASSET_MATERIALIZATION") == ["ASSET_MATERIALIZATION"]
    assert [retry for _, retry in found.failures] == [1, 2]
    assert found.did == ["create", "wait", *END, *SETUP, "step", *END, *SETUP, "step", "cleanup"]
    assert len({line["pid"] for line in journal_lines(journal)}) == 3
