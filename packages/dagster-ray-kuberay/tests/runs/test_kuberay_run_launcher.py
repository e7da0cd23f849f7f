"""`KubeRayRunLauncher` on the simulator: a run's worker is the job of a RayJob, and nothing is left over."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false

import json
import threading
from collections.abc import Generator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from driver_steps import SPEC
from driver_world import DriverWorld, driver_world
from fault_world import eventually
from run_jobs import reconstructable

from dagster_ray.core import instance_id_of
from dagster_ray.core.errors import InvalidFieldError
from dagster_ray.kuberay import KubeRayRunLauncher
from dagster_ray.kuberay._collector.candidate import candidate_of
from dagster_ray.kuberay._collector.plan import judge
from dagster_ray.kuberay._collector.run_facts import InstanceFacts, Keep, Remove, Rules, RunFacts
from dagster_ray.kuberay._kubernetes.fields import time_text
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
from dagster_ray.kuberay._runs.run_cluster import context_of
from dagster_ray.kuberay._runs.run_launcher import RayJobsOfRuns
from dagster_ray.kuberay._runs.worker_rayjob import details_of, rayjob_name, with_worker
from dagster_ray.kuberay._runs.worker_rayjobs import WorkerRayJob
from dagster_ray.kuberay._steps.step_cluster import StepCluster
from dagster_ray.kuberay.errors import RayJobEndedError
from dagster_ray.simulator import Simulator

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore:.*:Warning")]
CANCELED, SUCCESS = dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.SUCCESS


@pytest.fixture
def world(tmp_path: Path) -> Generator[DriverWorld]:
    with driver_world(tmp_path) as found:
        yield found


@pytest.fixture
def instance(world: DriverWorld) -> Generator[dg.DagsterInstance]:
    home = world.folder / "launching"
    home.mkdir()
    spec = {"rayClusterSpec": SPEC, "ttlSecondsAfterFinished": 0}
    kuberay = {"kubeconfig_file": str(world.simulator.kubeconfig), "ray_job": {"spec": spec}}
    config = {"ray": {"metadata": {"team": "ml"}}, "kuberay": kuberay}
    launcher = {"module": "dagster_ray.kuberay", "class": "KubeRayRunLauncher", "config": config}
    (home / "dagster.yaml").write_text(json.dumps({"run_launcher": launcher, "telemetry": {"enabled": False}}))
    with dg.DagsterInstance.from_config(str(home)) as found:
        yield found


def launch(instance: dg.DagsterInstance, folder: Path, name: str, **tags: str) -> str:
    job = reconstructable(name, folder, "in_process")
    run = instance.create_run_for_job(job.get_definition(), job_code_origin=job.get_python_origin(), tags=tags)
    instance.run_launcher.launch_run(LaunchRunContext(run, None))
    return run.run_id


def run_of(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run


@pytest.mark.many_processes
def test_a_run_whose_worker_is_the_job_of_a_rayjob(world: DriverWorld, instance: dg.DagsterInstance) -> None:
    tag = {"dagster-ray/config": json.dumps({"num_cpus": 1, "runtime_env": {"env_vars": {"A": "1"}}})}
    run_id = launch(instance, world.folder, "waiting", **tag)
    eventually((world.folder / "waits").exists)
    assert instance.run_launcher.check_run_worker_health(run_of(instance, run_id)).status == WorkerStatus.RUNNING
    (body,) = world.bodies
    assert (body["entrypoint_num_cpus"], body["runtime_env"]["env_vars"]["A"]) == (1, "1")
    assert (body["metadata"]["team"], body["metadata"]["dagster/run-id"]) == ("ml", run_id)
    (world.folder / "go").touch()
    eventually(lambda: run_of(instance, run_id).is_finished)
    assert run_of(instance, run_id).status == SUCCESS
    eventually(lambda: not world.objects("rayclusters"))
    assert instance.run_launcher.check_run_worker_health(run_of(instance, run_id)).status == WorkerStatus.SUCCESS
    events = [entry.dagster_event for entry in instance.all_logs(run_id) if entry.dagster_event is not None]
    told = [event.engine_event_data.metadata for event in events if "worker is the Ray job" in str(event.message)]
    assert told[0]["dagster_ray/rayjob"].value == rayjob_name(f"dagster-run-{run_id}")


@pytest.mark.many_processes
def test_a_worker_that_dies_is_told_with_the_end_of_its_log_and_leaves_nothing(
    world: DriverWorld, instance: dg.DagsterInstance
) -> None:
    run_id = launch(instance, world.folder, "waiting")
    eventually((world.folder / "waits").exists)
    workers = world.heads[0].workers
    assert workers is not None
    workers.end(f"dagster-run-{run_id}")
    eventually(lambda: not world.objects("rayclusters"))
    found = instance.run_launcher.check_run_worker_health(run_of(instance, run_id))
    assert (found.status, "ended as FAILED" in str(found.msg)) == (WorkerStatus.FAILED, True)
    assert "FAILED" in str(instance.run_launcher.get_run_worker_debug_info(run_of(instance, run_id)))


@pytest.mark.many_processes
def test_a_run_that_is_terminated_by_graphql_is_canceled_and_leaves_nothing(
    world: DriverWorld, instance: dg.DagsterInstance
) -> None:
    run_id = launch(instance, world.folder, "waiting")
    eventually((world.folder / "waits").exists)
    assert terminated(instance, run_id) == "TerminateRunSuccess"
    eventually(lambda: run_of(instance, run_id).is_finished)
    assert run_of(instance, run_id).status == CANCELED
    eventually(lambda: not world.objects("rayclusters"))


def terminated(instance: dg.DagsterInstance, run_id: str) -> str:
    """Terminate a run as the webserver's page does; return the type of the answer."""
    pytest.importorskip("dagster_graphql", reason="Dagster's GraphQL is not installed")
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import EmptyWorkspaceTarget
    from dagster_graphql.test.utils import execute_dagster_graphql

    mutation = "mutation T($id: String!) { terminateRun(runId: $id) { __typename } }"
    with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as context:
        result = execute_dagster_graphql(context.create_request_context(), mutation, {"id": run_id})
    return str(result.data["terminateRun"]["__typename"])


def test_a_run_that_is_terminated_before_its_worker_is_there_is_canceled_and_leaves_nothing(
    world: DriverWorld, instance: dg.DagsterInstance
) -> None:
    world.gates.opened.clear()
    run_id = launch(instance, world.folder, "waiting")
    eventually(lambda: world.heads)
    assert instance.run_launcher.terminate(run_id)
    assert run_of(instance, run_id).status == CANCELED
    assert not instance.run_launcher.terminate(run_id)
    ends = [
        entry for entry in instance.all_logs(run_id) if entry.dagster_event_type == dg.DagsterEventType.RUN_CANCELED
    ]
    assert len(ends) == 1
    eventually(lambda: not world.objects("rayclusters") and not world.objects("rayjobs"))


@pytest.mark.parametrize(
    ("word", "hours", "has_own_id", "expected"),
    [
        pytest.param("Running", 2, False, Keep, id="a copy of the database cannot tell that the worker is dead"),
        pytest.param("Running", 2, True, Remove, id="an instance with its own id can"),
        pytest.param("Initializing", 0.5, False, Keep, id="its cluster is coming up"),
        pytest.param("Initializing", 2, False, Remove, id="its cluster has not come up, and no operator ends it"),
        pytest.param("Suspended", 2, False, Keep, id="in a queue"),
    ],
)
def test_a_worker_outlives_the_end_of_its_run_in_a_copy_of_the_database(
    word: str, hours: float, has_own_id: bool, expected: type
) -> None:
    with Simulator(operator=False) as simulator, dg.DagsterInstance.ephemeral() as instance:
        run = dg.DagsterRun("job")
        fields = {"kubeconfig_file": str(simulator.kubeconfig), "ray_job": {"spec": {"rayClusterSpec": SPEC}}}
        template = WorkerRayJob.of(fields)
        body = {"entrypoint": "e", "submission_id": f"dagster-run-{run.run_id}", "metadata": {}}
        with closing(template.open(context_of(instance, run))) as cluster:
            made = template.request(cluster, body).manifest
        facts = InstanceFacts(
            instance_id_of(instance),
            {run.run_id: RunFacts(is_finished=True, seconds_since_end=3600.0)},
            has_own_id=has_own_id,
        )
    now = datetime.now(UTC)
    created = time_text(now - timedelta(hours=hours))
    metadata = {**made["metadata"], "uid": "u", "resourceVersion": "1", "creationTimestamp": created}
    spec = {key: value for key, value in made["spec"].items() if key != "preRunningDeadlineSeconds"}
    seen = {**made, "metadata": metadata, "spec": spec, "status": {"jobDeploymentStatus": word, "startTime": created}}
    assert isinstance(judge(candidate_of(RAYJOBS, seen), facts, now, Rules()), expected)


def test_a_worker_that_has_started_since_it_was_looked_at_is_not_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    with Simulator(operator=False) as simulator:
        fields = {"kubeconfig_file": str(simulator.kubeconfig), "ray_job": {"spec": {"rayClusterSpec": SPEC}}}
        workers = RayJobsOfRuns(WorkerRayJob.of({**fields, "preflight": "off"}))
        body = {"entrypoint": "e", "submission_id": "s", "metadata": {}}
        _, _, name = workers.submit(body, context_of(None, None)).partition("/")
        read, status = workers._read, {"jobStatus": "FAILED", "jobDeploymentStatus": "Failed"}

        def read_before_it_starts(cluster: StepCluster, submission_id: str) -> Mapping[str, Any]:
            found = read(cluster, submission_id)
            simulator.store.replace_status("rayjobs", {**simulator.store.list("rayjobs")[0], "status": status})
            return found

        monkeypatch.setattr(workers, "_read", read_before_it_starts)
        with pytest.raises(RayJobEndedError):
            workers.stop("s")
        assert [item["metadata"]["name"] for item in simulator.store.list("rayjobs")] == [name]
        assert not workers.never_started


def test_a_worker_that_is_being_suspended_is_deleted_once_it_is() -> None:
    with Simulator(operator=False) as simulator:
        fields = {"kubeconfig_file": str(simulator.kubeconfig), "ray_job": {"spec": {"rayClusterSpec": SPEC}}}
        workers = RayJobsOfRuns(WorkerRayJob.of({**fields, "preflight": "off"}))
        workers.submit({"entrypoint": "e", "submission_id": "s", "metadata": {}}, context_of(None, None))

        def become(job: str, deployment: str) -> None:
            status = {"jobStatus": job, "jobDeploymentStatus": deployment}
            simulator.store.replace_status("rayjobs", {**simulator.store.list("rayjobs")[0], "status": status})

        become("RUNNING", "Suspending")
        later = threading.Timer(1.0, become, ("", "Suspended"))
        later.start()
        assert workers.stop("s")
        later.join()
        assert workers.never_started == {"s"}
        assert not [item for item in simulator.store.list("rayjobs") if "deletionTimestamp" not in item["metadata"]]


def test_what_kuberay_cannot_submit_is_refused() -> None:
    body: dict[str, Any] = {"entrypoint": "e", "submission_id": "s", "metadata": {}}
    with pytest.raises(InvalidFieldError, match=r"ray\.memory"):
        with_worker({}, {**body, "entrypoint_memory": 10})
    with pytest.raises(InvalidFieldError, match=r"ray\.runtime_env\.working_dir` is '\./src'"):
        with_worker({}, {**body, "runtime_env": {"working_dir": "./src"}})
    with pytest.raises(InvalidFieldError, match=r"ray\.memory"):
        KubeRayRunLauncher({"memory": 10}, {})
    with pytest.raises(InvalidFieldError, match=r"ray\.runtime_env\.py_modules"):
        KubeRayRunLauncher({"runtime_env": {"py_modules": ["./src"]}}, {})
    with pytest.raises(InvalidFieldError, match=r"ray\.num_cpus"):
        KubeRayRunLauncher({"num_cpus": -1}, {})


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param({}, "PENDING", id="nobody has seen it"),
        pytest.param({"jobDeploymentStatus": "Suspended"}, "PENDING", id="in a queue"),
        pytest.param({"jobDeploymentStatus": "Initializing", "jobStatus": ""}, "PENDING", id="its cluster comes up"),
        pytest.param({"jobDeploymentStatus": "Running", "jobStatus": "PENDING"}, "PENDING", id="submitted"),
        pytest.param({"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}, "RUNNING", id="running"),
        pytest.param({"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}, "SUCCEEDED", id="succeeded"),
        pytest.param({"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}, "STOPPED", id="stopped"),
        pytest.param({"jobDeploymentStatus": "Failed", "jobStatus": "FAILED"}, "FAILED", id="failed"),
        pytest.param({"jobDeploymentStatus": "Failed", "jobStatus": "RUNNING"}, "FAILED", id="past its deadline"),
        pytest.param({"jobDeploymentStatus": "ValidationFailed"}, "FAILED", id="refused"),
        pytest.param({"jobDeploymentStatus": "Resting", "jobStatus": ""}, "PENDING", id="a word that KubeRay may add"),
    ],
)
def test_the_status_of_a_rayjob_says_how_its_worker_is(status: dict[str, str], expected: str) -> None:
    assert details_of({"spec": {"jobId": "s"}, "status": status}).status == expected
    assert details_of({"metadata": {"deletionTimestamp": "t"}, "status": status}).status == "STOPPED"
