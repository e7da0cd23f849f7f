"""The lifecycle in real Dagster runs with an own process for each attempt of a step."""

# Dagster's decorators are typed in part only.
# pyright: reportUnknownMemberType=false

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from probe_clusters import Line, journal_lines
from probe_jobs import (
    CASES,
    POLICIES,
    RETRY_CASES,
    Case,
    cluster_key,
    config_of_all,
    every_case,
    one_plain_success,
    one_success,
    probe_config,
)

pytestmark = [pytest.mark.usefixtures("stand_in_ray"), pytest.mark.many_processes]
PHASES = ["create", "wait", "connect"]
# Processes that start with Dagster loaded: some 30 steps in 20 s instead of two minutes.
FORKSERVER: dict[str, Any] = {
    "execution": {"config": {"multiprocess": {"start_method": {"forkserver": {}}, "max_concurrent": 2}}}
}


def attempt(outcome: str, policy: str, fails_in: str, *, step_runs: bool) -> list[str]:
    """Return what a cluster of one attempt goes through."""
    phases = PHASES[: PHASES.index(fails_in) + 1] if fails_in else [*PHASES, *(["step"] if step_runs else [])]
    deleted = policy == "always" or (policy == "on_exception" and outcome != "succeeded")
    return [*phases, *(["delete"] if deleted else []), f"cleanup: {outcome}"]


def told(line: Line) -> str:
    return f"cleanup: {line['outcome']}" if line["did"] == "cleanup" else line["did"]


def told_of(case: Case, line: Line) -> str:
    """As `told`; when another resource fails to start, the step's failure is stored before our teardown or after."""
    lost_race = case.neighbour_fails_at is not None and told(line) == "cleanup: failed"
    return "cleanup: unknown" if lost_race else told(line)


@pytest.mark.parametrize(
    "policies",
    [
        pytest.param(("on_exception",), id="what most users have"),
        pytest.param(POLICIES, id="all", marks=pytest.mark.weekly),  # in one process: test_lifecycle_in_process.py
    ],
)
def test_each_end_of_a_step_with_each_policy(
    instance: dg.DagsterInstance, journal: str, policies: tuple[str, ...]
) -> None:
    steps = [f"step_{cluster_key(case, policy)}" for case in (*CASES, *RETRY_CASES) for policy in policies]
    config: dict[str, Any] = {"resources": config_of_all(journal, policies), **FORKSERVER}
    job = dg.reconstructable(every_case)
    result = dg.execute_job(job, instance=instance, run_config=config, op_selection=steps)
    lines = journal_lines(journal)
    seen = {
        cluster_key(case, policy): [
            told_of(case, line) for line in lines if line["cluster"] == cluster_key(case, policy)
        ]
        for case in (*CASES, *RETRY_CASES)
        for policy in policies
    }
    expected = {
        cluster_key(case, policy): [
            did
            for number, outcome in enumerate(case.outcomes)
            for did in attempt(outcome, policy, case.fails_in, step_runs=number != case.neighbour_fails_at)
        ]
        for case in (*CASES, *RETRY_CASES)
        for policy in policies
    }
    assert seen == expected
    assert not result.success
    succeeded = {event.step_key for event in result.all_events if event.is_step_success}
    good = ("success", "retry_then_success")
    assert succeeded == {f"step_{policy}_{name}" for policy in policies for name in good}
    attempts = sum(len(case.outcomes) for case in (*CASES, *RETRY_CASES)) * len(policies)
    assert len({line["pid"] for line in lines}) == attempts
    assert os.getpid() not in {line["pid"] for line in lines}


@pytest.mark.parametrize(
    "job", [pytest.param(one_success, id="inherits"), pytest.param(one_plain_success, id="conforms")]
)
def test_a_step_in_a_process_that_is_spawned(instance: dg.DagsterInstance, journal: str, job: Any) -> None:
    """The default way of the executor, and the start-up event under the step's own key."""
    config = {"resources": {"ray_cluster": probe_config(journal, "ray_cluster", "on_exception")}}
    result = dg.execute_job(dg.reconstructable(job), instance=instance, run_config=config)
    assert result.success
    assert [told(line) for line in journal_lines(journal)] == [*PHASES, "step", "cleanup: succeeded"]
    events = [entry.dagster_event for entry in instance.all_logs(result.run_id) if entry.dagster_event]
    connected = [event for event in events if (event.message or "").startswith("Connected to Probe ray_cluster")]
    assert [event.step_key for event in connected] == (["step_ray_cluster"] if job is one_success else [])


def test_resources_that_are_initialised_after_the_run_create_nothing(
    instance: dg.DagsterInstance, journal: str
) -> None:
    config: dict[str, Any] = {
        "resources": {"ray_cluster": probe_config(journal, "ray_cluster")},
        "execution": {"config": {"in_process": {}}},
    }
    with dg.execute_job(dg.reconstructable(one_success), instance=instance, run_config=config) as result:
        assert result.success
        initialised = [
            entry for entry in instance.all_logs(result.run_id) if "RESOURCE_INIT_STARTED" in entry.to_json()
        ]
        assert len(initialised) > 1
    assert [line["did"] for line in journal_lines(journal)] == [*PHASES, "step", "delete", "cleanup"]


def test_dagster_job_execute_creates_one_cluster(tmp_path: Path, journal: str) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    (tmp_path / "run.yaml").write_text(
        "execution: {config: {in_process: {}}}\n"
        f"resources: {{ray_cluster: {{config: {{journal: {journal!r}, label: ray_cluster}}}}}}\n"
    )
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "job", "execute", "-m", "probe_jobs", "-a", "one_success", "-c", "run.yaml"],
        cwd=tmp_path,
        env={**os.environ, "DAGSTER_HOME": str(tmp_path), "PYTHONPATH": f"{here / 'stand_in'}:{here}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "RUN_SUCCESS" in done.stderr
    assert [line["did"] for line in journal_lines(journal)] == [*PHASES, "step", "delete", "cleanup"]
