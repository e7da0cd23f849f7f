"""`driver="cluster"`: what a run tells is what it tells when its bodies run in the step's own process.

The job server here runs each worker as a process of this machine. With a real Ray head: `examples/backend_address`.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from cutting_proxy import cutting_proxy
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository
from driver_runs import IN_PROCESS, execute, execute_selected, host, messages, reconstructable, runs, same, told, until
from forked_workers import FORKED_STEPS, ForkedWorkers, forked
from watched_ray import watched

from dagster_ray.core import RayResource

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore:.*:Warning")
HERE = Path(__file__).parent
EXECUTORS = [pytest.param(IN_PROCESS, id="in process"), pytest.param(FORKED_STEPS, id="multiprocess")]
SLOW_EXECUTORS = [EXECUTORS[0], pytest.param(FORKED_STEPS, id="multiprocess", marks=pytest.mark.weekly)]


def in_cluster(
    instance: dg.DagsterInstance, workers: ForkedWorkers, folder: Path, name: str, config: Any = IN_PROCESS
) -> dg.JobExecutionResult:
    return execute(instance, reconstructable(name, workers.url, "cluster", folder), config)


def ends(instance: dg.DagsterInstance, run: Any) -> list[str]:
    return [
        kind for kind, *_ in told(instance, run.run_id) if kind in {"STEP_SUCCESS", "STEP_FAILURE", "STEP_UP_FOR_RETRY"}
    ]


@pytest.mark.parametrize("config", SLOW_EXECUTORS)
def test_assets_checks_and_their_versions(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path, config: Any
) -> None:
    here, there = runs(instance, workers.url, tmp_path, "assets", config)
    assert (here.success, there.success) == (True, True)
    assert len(workers.bodies) == 4
    quiet = {"RAY_DATA_DISABLE_PROGRESS_BARS": "1", "RAY_COLOR_PREFIX": "0"}
    assert all(quiet.items() <= body["runtime_env"]["env_vars"].items() for body in workers.bodies)
    same(instance, tmp_path, here, there, steps_at_the_same_time=config is not IN_PROCESS)
    selected: dict[str, Any] = {"asset_selection": [dg.AssetKey("down")]}
    here, there = runs(instance, workers.url, tmp_path, "assets", config, **selected)
    same(instance, tmp_path, here, there, steps_at_the_same_time=config is not IN_PROCESS)


@pytest.mark.parametrize(
    ("selected", "config"),
    [
        pytest.param(([], ["many"]), IN_PROCESS, id="one check and no asset"),
        pytest.param(([], ["many"]), FORKED_STEPS, id="one check and no asset, multiprocess"),
        pytest.param((["odd"], []), IN_PROCESS, id="an asset without its checks"),
        pytest.param((["even"], ["few"]), IN_PROCESS, id="an asset with one of its checks"),
    ],
)
def test_only_the_selected_checks_run(
    instance: dg.DagsterInstance,
    workers: ForkedWorkers,
    tmp_path: Path,
    selected: tuple[list[str], list[str]],
    config: Any,
) -> None:
    """Of an op that makes two assets and four checks."""
    assets, checks = selected
    ran: list[dg.JobExecutionResult] = []
    for driver, how in (("step", IN_PROCESS), ("cluster", config)):
        (tmp_path / driver).mkdir()
        job = reconstructable("numbers", workers.url, driver, tmp_path / driver)
        keys = {dg.AssetCheckKey(dg.AssetKey("even"), name) for name in checks}
        ran.append(execute_selected(instance, job, how, {dg.AssetKey(name) for name in assets}, keys))
    found = told(instance, ran[1].run_id)
    assert [data["check_name"] for kind, _, data in found if kind == "ASSET_CHECK_EVALUATION"] == checks
    assert (ran[1].success, len(workers.bodies)) == (True, 1)
    same(instance, tmp_path, *ran)


@pytest.mark.parametrize("config", SLOW_EXECUTORS)
def test_dynamic_outputs_and_several_outputs(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path, config: Any
) -> None:
    here, there = runs(instance, workers.url, tmp_path, "dynamic", config)
    assert (here.success, there.success) == (True, True)
    same(instance, tmp_path, here, there, steps_at_the_same_time=config is not IN_PROCESS)


def test_retries_failures_and_hooks(instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path) -> None:
    here, there = runs(instance, workers.url, tmp_path, "retries", IN_PROCESS)
    assert (here.success, there.success) == (False, False)
    same(instance, tmp_path, here, there)
    hooks = [sorted((tmp_path / driver / "hooks").read_text().splitlines()) for driver in ("step", "cluster")]
    assert hooks[0] == ["failure gives_up enough", "success asks_for_a_retry", "success fails_once"]
    assert hooks[1][0].endswith("Failure: enough")
    assert hooks[1][1:] == hooks[0][1:]


@pytest.mark.parametrize("config", EXECUTORS)
def test_a_resource_that_fails_in_the_cluster_fails_the_step_by_its_policy(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path, config: Any
) -> None:
    run = in_cluster(instance, workers, tmp_path, "broken_resource", config)
    assert ends(instance, run) == ["STEP_UP_FOR_RETRY", "STEP_FAILURE"]
    assert "ConnectionError: no database here" in messages(run)
    assert "driver-setup" in messages(run)
    assert "CheckError" not in messages(run)


@pytest.mark.parametrize("config", EXECUTORS)
def test_a_worker_that_dies_is_tried_again_by_the_policy(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path, config: Any
) -> None:
    run = in_cluster(instance, workers, tmp_path, "dies", config)
    assert ends(instance, run) == ["STEP_UP_FOR_RETRY", "STEP_SUCCESS"]
    assert [body["submission_id"][-2:] for body in workers.bodies] == ["-0", "-1"]
    assert "ray-job-failed" in messages(run)


@pytest.mark.parametrize("driver", ["step", "cluster"])
def test_lost_nodes_are_retried_beside_the_policy_wherever_the_body_runs(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path, driver: str
) -> None:
    """Two retries because of nodes and one by the policy, in any order; neither takes from the other."""
    pytest.importorskip("ray", reason="the errors are Ray's own")
    job = reconstructable("loser", workers.url, driver, tmp_path)
    lifecycle = {"connect": False, "retry_infrastructure": 2}
    ray = {"config": {"url": workers.url, "driver": driver, "lifecycle": lifecycle}}
    run = execute(instance, job, {**IN_PROCESS, "resources": {"ray_cluster": ray}})
    assert run.success, messages(run)
    assert ends(instance, run) == [*["STEP_UP_FOR_RETRY"] * 3, "STEP_SUCCESS"]
    assert "ValueError: the step's own error" in messages(run)
    entries = [entry.dagster_event for entry in instance.all_logs(run.run_id) if entry.dagster_event is not None]
    classes = [
        str(event.engine_event_data.metadata["dagster_ray/failure_class"].value)
        for event in entries
        if event.is_engine_event and "dagster_ray/failure_class" in event.engine_event_data.metadata
    ]
    assert classes == ["infrastructure", "user", "infrastructure"]
    delays = [event.step_retry_data.seconds_to_wait for event in entries if event.is_step_up_for_retry]
    assert delays == [None, 0.25, None]
    assert len(workers.bodies) == (4 if driver == "cluster" else 0)


def test_outputs_with_keys_that_only_their_worker_could_load_are_refused(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    run = execute(instance, reconstructable("dynamic", workers.url, "cluster", tmp_path, base=""))
    assert "step-not-movable" in messages(run)
    assert "no `base_dir` is given" in messages(run)
    assert workers.bodies == []


def test_a_job_that_no_other_process_can_load_is_refused(workers: ForkedWorkers) -> None:
    @dg.asset
    def here(ray_cluster: RayResource) -> None: ...

    run = dg.materialize([here], resources={"ray_cluster": watched(workers.url, "cluster")}, raise_on_error=False)
    assert "step-not-movable" in messages(run)
    assert workers.bodies == []


@pytest.mark.parametrize(
    "count", [pytest.param(300, id="300 lines"), pytest.param(10_000, id="10000 lines", marks=pytest.mark.weekly)]
)
def test_lines_arrive_whole_and_in_order_and_no_secret_is_seen(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    talks = {"ops": {"talks": {"config": {"lines": count}}}}
    config = {**IN_PROCESS, **talks, "resources": {"loud": {"config": {"path": "canary-4711"}}}}
    run = in_cluster(instance, workers, tmp_path, "talker", config)
    lines = [text for kind, _, text in told(instance, run.run_id) if kind == "LOG"]
    assert lines == [f"line {n}" for n in range(count)]
    sent = json.dumps(workers.bodies)
    assert "step_worker" in sent
    for secret in ("canary-4711", str(tmp_path / "home"), "DAGSTER_HOME", "sqlite"):
        assert secret not in sent


def test_connections_that_are_cut_at_any_byte_lose_and_double_nothing(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    """Calls of the job server, whose answers are short, and what the job has written."""
    target = ("127.0.0.1", workers.server.server_port)
    with (
        cutting_proxy(target, longest=9_000, seed=7, mostly_short=True) as calls,
        cutting_proxy(target, longest=9_000, seed=11) as files,
    ):
        workers.agent = files.url
        run = execute(instance, reconstructable("talker", calls.url, "cluster", tmp_path))
        assert (calls.cuts > 3, files.cuts > 3) == (True, True)
    assert run.success, messages(run)
    assert len(workers.bodies) == 1
    found = told(instance, run.run_id)
    assert [text for kind, _, text in found if kind == "LOG"] == [f"line {n}" for n in range(300)]
    assert [kind for kind, *_ in found if kind != "LOG"] == ["STEP_START", "STEP_OUTPUT", "STEP_SUCCESS"]


def test_events_that_cannot_be_read_fail_the_step_by_its_policy(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    """Of the first job; the disk of its node is full, for example."""
    answer = workers.server.script

    def script(method: str, path: str, body: bytes) -> tuple[int, object]:
        is_file = "/logs/" in path and f"{workers.bodies[0]['submission_id']}.jsonl" in path
        return (500, "No space left on device") if is_file else answer(method, path, body)

    workers.server.script = script
    ray = {"url": workers.url, "driver": "cluster", "lifecycle": {"connect": False}, "drain_seconds": 1.0}
    config = {**IN_PROCESS, "resources": {"ray_cluster": {"config": ray}}}
    run = in_cluster(instance, workers, tmp_path, "counter", config)
    assert ends(instance, run) == ["STEP_UP_FOR_RETRY", "STEP_SUCCESS"]
    assert len(workers.bodies) == 2
    assert "driver-events-missing" in messages(run)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        pytest.param("counter", ["counts"], id="a body that runs"),
        pytest.param("fan", ["fans", "one[k0]", "one[k1]", "rest"], id="dynamic outputs of which one is stored"),
    ],
)
def test_a_killed_process_of_the_step_is_followed_by_one_that_goes_on(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path, name: str, steps: list[str]
) -> None:
    """SIGKILL amid the lines: one submission, each line once, one success, and what the step has made is used."""

    def kill() -> None:
        def lines() -> list[Any]:
            found = [instance.all_logs(run.run_id) for run in instance.get_runs()]
            return [entry for each in found for entry in each]

        until(lambda: any(entry.user_message == "line 9" for entry in lines()))
        started = [entry.dagster_event for entry in lines() if entry.dagster_event is not None]
        pid = next(e.pid for e in started if e.event_type_value == "STEP_WORKER_STARTED")
        os.kill(int(pid or 0), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    run = in_cluster(instance, workers, tmp_path, name, FORKED_STEPS)
    killer.join()
    everything = told(instance, run.run_id)
    assert run.success, messages(run)
    assert sorted(step for kind, step, _ in everything if kind == "STEP_SUCCESS") == steps
    found = [each for each in everything if each[1] == steps[0]]
    assert (len(workers.bodies), (tmp_path / "attempts").read_text()) == (1, "x")
    assert [text for kind, _, text in found if kind == "LOG"] == [
        f"line {n}" for n in range(40 if name == "counter" else 200)
    ]
    kinds = [kind for kind, *_ in found]
    assert [kind for kind in kinds if "START" in kind] == ["STEP_START", "STEP_RESTARTED"]
    assert kinds.count("STEP_OUTPUT") == (1 if len(steps) == 1 else 2)


@pytest.mark.parametrize(
    ("name", "status", "stored", "executor"),
    [
        pytest.param("sleeper", "STOPPED", 1, IN_PROCESS, id="a body that sleeps"),
        pytest.param(
            "sleeper", "STOPPED", 1, FORKED_STEPS, id="a body that sleeps, multiprocess", marks=pytest.mark.weekly
        ),
        pytest.param("flooder", "STOPPED", 300, IN_PROCESS, id="a body whose lines come faster than they are stored"),
        pytest.param(
            "burster", "SUCCEEDED", 300, IN_PROCESS, id="a body that has ended, and many lines are not stored yet"
        ),
    ],
)
def test_a_termination_ends_the_worker_and_the_step_is_not_tried_again(
    workers: ForkedWorkers, tmp_path: Path, *, name: str, status: str, stored: int, executor: Any
) -> None:
    """Once so many entries are `stored`."""
    ray = {"url": workers.url, "driver": "cluster", "lifecycle": {"connect": False}, "termination_seconds": 5.0}
    config = {**executor, "resources": {"ray_cluster": {"config": ray}}}
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "home")) as instance:

        def is_due() -> bool:
            if status not in {"STOPPED", *(workers.look(each)["status"] for each in workers.jobs)}:
                return False
            newest = [instance.get_records_for_run(run.run_id, limit=1, ascending=False) for run in instance.get_runs()]
            return (tmp_path / "asleep").exists() and newest[0].records[0].storage_id >= stored

        with forked(host, str(tmp_path / "home"), name, workers.url, str(tmp_path), config) as process:
            until(is_due)
            os.kill(process.pid or 0, signal.SIGTERM)
            process.join(60)
            assert process.exitcode is not None
        run = instance.get_runs()[0]
        assert ends(instance, run) == ["STEP_FAILURE"]
        assert (len(workers.bodies), (tmp_path / "attempts").read_text()) == (1, "x")
        assert [text for kind, _, text in told(instance, run.run_id) if kind == "LOG" and text != "more"] == ["asleep"]
        until(lambda: {workers.look(name)["status"] for name in workers.jobs} == {status})


def test_the_working_folder_is_uploaded_with_the_code_and_its_pointer(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker runs what was sent: a file of the code location that changes afterwards is not what it loads."""
    project = tmp_path / "project"
    (project / "inner").mkdir(parents=True)
    (project / "value.py").write_text("VALUE = 'sent'\n")
    source = (HERE / "uploaded_job.py").read_text()
    file = project / "inner" / "definitions.py"
    file.write_text(source.replace("URL", workers.url).replace("FOLDER", str(tmp_path)))
    monkeypatch.chdir(project)
    repository = ReconstructableRepository.for_file(str(file), "the_job", str(project))
    run = execute(instance, ReconstructableJob(repository, "uploaded"))
    assert run.success, messages(run)
    (seen,) = [text for kind, _, text in told(instance, run.run_id) if kind == "LOG"]
    place = Path(seen.partition(" from ")[2])
    assert seen.startswith("sent from ")
    assert project not in place.parents
    (body,) = workers.bodies
    assert body["runtime_env"]["working_dir"].startswith("gcs://")
    modules = {entry.name for uri in body["runtime_env"]["py_modules"] for entry in workers.stored[uri[6:]].iterdir()}
    assert {"dagster_ray", f"step-{body['submission_id']}"} <= modules
    assert any(name.startswith("dagster_ray_core-") for name in modules)
