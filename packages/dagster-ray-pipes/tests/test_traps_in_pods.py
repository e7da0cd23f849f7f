"""What an executor whose steps are pods of their own would make of a step in the cluster that only it sees in the log.

It hears of events by the event log alone, from where it has read it last, and answers those that it takes for the end
of a step by events of its own.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import os
import signal
import threading
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from driver_runs import execute, messages, reconstructable, told, until
from forked_workers import ForkedWorkers

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore:.*:Warning"),
    pytest.mark.weekly,
]
IN_PODS: dict[str, Any] = {"execution": {"config": {}}}


def in_pods(instance: dg.DagsterInstance, workers: ForkedWorkers, folder: Path, name: str) -> dg.JobExecutionResult:
    return execute(instance, reconstructable(name, workers.url, "cluster", folder, module="step_pods"), IN_PODS)


def test_a_resource_that_fails_in_the_cluster_fails_the_step_by_its_policy(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    """Such an executor takes the failure of a resource in the log for the end of the step."""
    run = in_pods(instance, workers, tmp_path, "broken_resource")
    ends = [kind for kind, *_ in told(instance, run.run_id) if kind in {"STEP_FAILURE", "STEP_UP_FOR_RETRY"}]
    assert ends == ["STEP_UP_FOR_RETRY", "STEP_FAILURE"]
    assert len(workers.bodies) == 2
    assert "ConnectionError: no database here" in messages(run)
    assert "CheckError" not in messages(run)


def test_dynamic_outputs_of_a_killed_pod_are_all_mapped_by_the_one_that_goes_on(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    """The executor forgets what it has read of the first pod, and never reads it again.

    Killed while the events are stored that were held back until the step's end.
    """

    def logs() -> list[dg.EventLogEntry]:
        return [entry for run in instance.get_runs() for entry in instance.all_logs(run.run_id)]

    def kill() -> None:
        until(lambda: any(entry.user_message == "line 9" for entry in logs()))
        started = [entry.dagster_event for entry in logs() if entry.dagster_event is not None]
        pid = next(event.pid for event in started if event.event_type_value == "STEP_WORKER_STARTED")
        os.kill(int(pid or 0), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    run = in_pods(instance, workers, tmp_path, "fan")
    killer.join()
    assert run.success, messages(run)
    starts = [entry.dagster_event for entry in logs() if entry.dagster_event is not None]
    pods = [event for event in starts if (event.event_type_value, event.step_key) == ("STEP_WORKER_STARTED", "fans")]
    assert len(pods) == 2, "the first pod was killed too late"
    everything = told(instance, run.run_id)
    assert sorted(step for kind, step, _ in everything if kind == "STEP_SUCCESS") == [
        "fans",
        "one[k0]",
        "one[k1]",
        "rest",
    ]
    outputs = [data["step_output_handle"] for kind, step, data in everything if (kind, step) == ("STEP_OUTPUT", "fans")]
    assert {handle["mapping_key"] for handle in outputs} == {"k0", "k1"}
    assert [text for kind, step, text in everything if (kind, step) == ("LOG", "fans")] == [
        f"line {n}" for n in range(200)
    ]
    assert ((tmp_path / "attempts").read_text(), len(workers.bodies)) == ("x", 1)
