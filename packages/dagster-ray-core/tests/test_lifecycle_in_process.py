"""The lifecycle in real Dagster runs, in one process: each end of a step with each policy and kind of backend."""

# Dagster's decorators are typed in part only.
# pyright: reportUnknownMemberType=false

import inspect
import os
import signal
from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest
from probe_clusters import Line, ProbeCluster, journal_lines
from probe_jobs import (
    CASES,
    KINDS,
    POLICIES,
    Case,
    fail,
    job_of,
    one_exit,
    probe_config,
    succeed,
)

from dagster_ray.core.errors import CleanupFailedError

pytestmark = pytest.mark.usefixtures("stand_in_ray")
PHASES = ["create", "wait", "connect"]


def run(cases: dict[str, Case], kind: str, configs: dict[str, Any]) -> dg.ExecuteInProcessResult:
    job = job_of(cases, kind)
    return job.execute_in_process(run_config={"resources": configs}, raise_on_error=False)


def did(lines: list[Line]) -> list[str]:
    return [line["did"] for line in lines]


def phases_reached(case: Case) -> list[str]:
    return PHASES[: PHASES.index(case.fails_in) + 1] if case.fails_in else PHASES


def is_deleted(policy: str, outcome: str) -> bool:
    return policy == "always" or (policy == "on_exception" and outcome != "succeeded")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_end_of_a_step_with_each_policy(journal: str, case: Case, policy: str, kind: str) -> None:
    config = probe_config(journal, "ray_cluster", policy, fails_in=case.fails_in)
    result = run({"ray_cluster": case}, kind, {"ray_cluster": config})
    lines = journal_lines(journal)
    expected = [*phases_reached(case), *(["delete"] if is_deleted(policy, case.outcome_in_process) else []), "cleanup"]
    assert [what for what in did(lines) if what != "step"] == expected
    assert lines[-1]["outcome"] == case.outcome_in_process
    assert result.success is (case.outcome_in_process == "succeeded")


def test_the_variables_that_ray_sets_do_not_outlive_the_step(journal: str) -> None:
    assert run({"ray_cluster": CASES[0]}, "inherits", {"ray_cluster": probe_config(journal, "ray_cluster")}).success
    assert "RAY_STAND_IN" not in os.environ


@pytest.mark.parametrize(
    ("second", "outcome"),
    [
        pytest.param(Case("succeeds", (), "", succeed), "succeeded", id="all steps succeed"),
        pytest.param(Case("fails", (), "", fail), "failed", id="one step fails"),
    ],
)
def test_one_cluster_serves_all_steps_of_one_process(journal: str, second: Case, outcome: str) -> None:
    @dg.op(required_resource_keys={"ray_cluster"})
    def first_step(context: dg.OpExecutionContext) -> None:
        pass

    @dg.op(required_resource_keys={"ray_cluster"}, ins={"after": dg.In(dg.Nothing)})
    def second_step(context: dg.OpExecutionContext) -> None:
        second.body(context, context.resources.ray_cluster.probe)

    @dg.job(resource_defs={"ray_cluster": ProbeCluster(journal=journal)})
    def two_steps() -> None:
        second_step(first_step())

    two_steps.execute_in_process(raise_on_error=False)
    lines = journal_lines(journal)
    assert did(lines) == [*PHASES, "delete", "cleanup"]
    assert lines[-1]["outcome"] == outcome


def test_a_step_that_exits_has_failed(journal: str) -> None:
    config = {"resources": {"ray_cluster": probe_config(journal, "ray_cluster", "on_exception")}}
    with pytest.raises(SystemExit):
        one_exit().execute_in_process(run_config=config)
    lines = journal_lines(journal)
    assert did(lines)[-2:] == ["delete", "cleanup"]
    assert lines[-1]["outcome"] == "failed"


@pytest.mark.parametrize("kind", KINDS)
def test_a_cleanup_that_fails_after_a_success_is_an_event_of_the_run(journal: str, kind: str) -> None:
    config = probe_config(journal, "ray_cluster", "always", fails_in="delete")
    result = run({"ray_cluster": CASES[0]}, kind, {"ray_cluster": config})
    (failure,) = [event for event in result.all_events if event.is_engine_event and event.engine_event_data.error]
    assert (failure.message or "").startswith("Teardown of resources [")
    assert CleanupFailedError.code in str(failure.engine_event_data.error)
    assert result.success  # Dagster's own decision: the step has ended before


@pytest.mark.parametrize("kind", KINDS)
def test_a_cleanup_that_fails_does_not_hide_the_steps_own_error(journal: str, kind: str) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        config = {"resources": {"ray_cluster": probe_config(journal, "ray_cluster", "always", fails_in="delete")}}
        job = job_of({"ray_cluster": CASES[1]}, kind)
        result = job.execute_in_process(run_config=config, raise_on_error=False, instance=instance)
        log = [entry.user_message for entry in instance.all_logs(result.run_id)]
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "the step's own error" in str(failure.step_failure_data.error)
    assert any("(outcome of the step: failed) failed: told to fail in delete" in line for line in log)


def run_with_storage(journal: str, monkeypatch: pytest.MonkeyPatch, when_read: Callable[[], None]) -> list[str]:
    """Run a step that succeeds, with something that happens when its events are read; return the run's log."""
    config = {"resources": {"ray_cluster": probe_config(journal, "ray_cluster", "on_exception")}}
    job = job_of({"ray_cluster": CASES[0]}, "inherits")
    with dg.DagsterInstance.ephemeral() as instance:
        read = instance.get_records_for_run

        def get_records_for_run(run_id: str, *args: Any, **options: Any) -> Any:
            if options.get("of_type"):
                when_read()
            return read(run_id, *args, **options)

        monkeypatch.setattr(instance, "get_records_for_run", get_records_for_run)
        run_id = job.execute_in_process(run_config=config, instance=instance).run_id
        return [entry.user_message for entry in instance.all_logs(run_id)]


def test_when_the_events_cannot_be_read_the_cluster_is_deleted(journal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_() -> None:
        raise OSError("the database is gone")

    log = run_with_storage(journal, monkeypatch, break_)
    assert did(journal_lines(journal)) == [*PHASES, "step", "delete", "cleanup"]
    assert any(line.startswith("The run's events could not be read") for line in log)


@pytest.mark.parametrize("call", ["get_run_by_id", "get_records_for_run"])
def test_a_storage_that_is_away_at_set_up_fails_no_step(
    journal: str, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Without the events before it, the outcome is not known, and the cluster is deleted."""
    config = {"resources": {"ray_cluster": probe_config(journal, "ray_cluster", "on_exception")}}
    with dg.DagsterInstance.ephemeral() as instance:
        read, is_away = getattr(instance, call), [True]

        def answer(*args: Any, **options: Any) -> Any:
            asked_by = str(inspect.stack()[1].frame.f_globals["__name__"])
            if asked_by.startswith("dagster_ray.") and is_away:
                is_away.clear()
                raise OSError("the database is away")
            return read(*args, **options)

        monkeypatch.setattr(instance, call, answer)
        result = job_of({"ray_cluster": CASES[0]}, "inherits").execute_in_process(run_config=config, instance=instance)
        log = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert result.success
    unknown = call == "get_records_for_run"
    assert did(journal_lines(journal)) == [*PHASES, "step", *(["delete"] if unknown else []), "cleanup"]
    assert any("could not be read" in line for line in log)


def test_a_signal_while_the_events_are_read_waits_for_cleanup(journal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(dg.DagsterExecutionInterruptedError):
        run_with_storage(journal, monkeypatch, lambda: signal.raise_signal(signal.SIGTERM))
    lines = journal_lines(journal)
    assert did(lines) == [*PHASES, "step", "cleanup"]
    assert lines[-1]["outcome"] == "succeeded"
