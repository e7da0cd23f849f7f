"""Runs of `driver_jobs`, and what they tell as plain data that is the same wherever a body ran."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
import re
import time
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import INPUT_EVENT_POINTER_TAG_PREFIX
from dagster._core.execution.api import execute_run
from dagster._core.test_utils import create_run_for_test
from dagster._serdes import serialize_value
from dagster._utils.interrupts import capture_interrupts

IN_PROCESS = {"execution": {"config": {"in_process": {}}}}
OURS = re.compile(r"^(Ray for tests: |RayCluster |The Ray job |With driver=|Writing file|Loading file)")
OF_THE_HOST = ("ENGINE_EVENT", "RESOURCE_INIT", "STEP_WORKER", "LOGS_CAPTURED", "PIPELINE_", "HOOK_")
HERE = str(Path(__file__).parent)


def reconstructable(
    name: str, url: str, driver: str, folder: Path, base: str | None = None, *, module: str = "driver_jobs"
) -> Any:
    arguments: Any = (name, url, driver, str(folder), base)
    return dg.build_reconstructable_job(module, "job_of", arguments, {}, HERE)


def execute(instance: dg.DagsterInstance, job: Any, config: Any = IN_PROCESS, **options: Any) -> dg.JobExecutionResult:
    return dg.execute_job(job, instance, run_config=config, raise_on_error=False, **options)


def runs(
    instance: dg.DagsterInstance,
    url: str,
    tmp_path: Path,
    name: str,
    config: Any,
    *,
    module: str = "driver_jobs",
    **options: Any,
) -> tuple[dg.JobExecutionResult, dg.JobExecutionResult]:
    """Run a job in this process, and with its bodies in the cluster as configured; each in a folder of its own."""
    found: list[dg.JobExecutionResult] = []
    for driver, how in (("step", IN_PROCESS), ("cluster", config)):
        folder = tmp_path / driver
        folder.mkdir(exist_ok=True)
        found.append(execute(instance, reconstructable(name, url, driver, folder, module=module), how, **options))
    return found[0], found[1]


def execute_selected(
    instance: dg.DagsterInstance, job: Any, config: Any, assets: set[dg.AssetKey], checks: set[dg.AssetCheckKey]
) -> dg.JobExecutionResult:
    """Run a part of an asset job as a code location does: the run says what is selected."""
    run = create_run_for_test(
        instance,
        job.job_name,
        run_config=config,
        asset_selection=assets,
        asset_check_selection=checks,
        job_code_origin=job.get_python_origin(),
    )
    return execute_run(job, run, instance)


def host(home: str, name: str, url: str, folder: str, config: Any) -> None:
    """Run a job in this process, which can be terminated."""
    with dg.DagsterInstance.local_temp(home) as instance, capture_interrupts():
        execute(instance, reconstructable(name, url, "cluster", Path(folder)), config)


def told(instance: dg.DagsterInstance, run_id: str) -> list[Any]:
    """Return the events of steps: types, order, log lines, and all that they carry."""
    found: list[Any] = []
    for entry in instance.all_logs(run_id):
        event = entry.dagster_event
        if event is None:
            if not OURS.match(entry.user_message):
                found.append(("LOG", entry.step_key, entry.user_message))
        elif not event.event_type_value.startswith(OF_THE_HOST):
            data = json.loads(serialize_value(event.event_specific_data)) if event.event_specific_data else None
            found.append((event.event_type_value, event.step_key, _plain(instance, run_id, data)))
    return found


def same(
    instance: dg.DagsterInstance,
    tmp_path: Path,
    here: Any,
    there: Any,
    *,
    steps_at_the_same_time: bool = False,
    partitions_at_once: bool = False,
) -> None:
    """Compare what two runs tell, in the folders of either driver and in order.

    Args:
        instance: Where it is told.
        tmp_path: Where the folders are.
        here: The run by Dagster alone.
        there: The run with its bodies in the cluster.
        steps_at_the_same_time: Compare each step by itself, since steps overlap.
        partitions_at_once: Compare in any order: Dagster materializes a set of partitions in that of their hashes.
    """
    one, other = (told(instance, run.run_id) for run in (here, there))
    if steps_at_the_same_time:
        one, other = (sorted(found, key=lambda each: str(each[1])) for found in (one, other))
    assert len(one) > 3
    told_here, told_there = (
        [str(each).replace(str(tmp_path / driver), "FOLDER") for each in found]
        for driver, found in (("step", one), ("cluster", other))
    )
    if partitions_at_once:
        told_here, told_there = sorted(told_here), sorted(told_there)
    assert "\n".join(told_there) == "\n".join(told_here)


def _plain(instance: dg.DagsterInstance, run_id: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(instance, run_id, each) for each in value]
    if isinstance(value, str):
        return value.replace(run_id, "RUN")
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for key, each in value.items():
        if key in {"duration_ms", "timestamp", "stack"} or (key == "cause" and isinstance(each, dict)):
            continue
        if key.startswith(INPUT_EVENT_POINTER_TAG_PREFIX) or key == "storage_id":
            each = _meaning(instance, each)  # noqa: PLW2901
        found[key] = _plain(instance, run_id, each)
    return found


def _meaning(instance: dg.DagsterInstance, storage_id: Any) -> Any:
    """Return which event an id means: ids themselves depend on how many events there are."""
    if storage_id in {None, "NULL"}:
        return storage_id
    for kind in (dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_OBSERVATION):
        wanted = dg.EventRecordsFilter(event_type=kind, storage_ids=[int(storage_id)])
        for record in instance.get_event_records(wanted):
            event = record.event_log_entry.dagster_event
            assert event is not None
            return [event.event_type_value, str(event.asset_key), event.partition]
    return f"nothing has the id {storage_id}"


def messages(run: Any) -> str:
    """Return all that the errors of a run say."""
    found = [getattr(event.event_specific_data, "error", None) for event in run.all_events]
    return "\n".join(error.to_string() for error in found if error is not None)


def until(condition: Any, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)  # noqa: TID251
