"""Lines and tables of Ray Data and Ray Train, of jobs that were submitted."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from driver_runs import IN_PROCESS, execute
from forked_workers import ForkedWorkers, start_fork_server
from progress_jobs import JOB_ID
from ray_like_server import RayLike
from scripted_job_server import Server, client_of

from dagster_ray.core.errors import InvalidFieldError
from dagster_ray.pipes import PipesRayJobClient

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore:.*:Warning")
TRACKED = {"RAY_TRAIN_ENABLE_STATE_TRACKING": "1"}
QUIET = {"RAY_DATA_DISABLE_PROGRESS_BARS": "1", "RAY_COLOR_PREFIX": "0"}
DATASETS = {
    "datasets": [
        {"dataset": "train_1_0", "state": "FINISHED", "progress": 4, "total": 4, "start_time": 1.0, "end_time": 3.5}
    ]
}
ROW = "| **train_1_0** | finished | 4/4 |  | 2.5 |"


@pytest.fixture
def instance(tmp_path: Path) -> Generator[dg.DagsterInstance]:
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "home")) as found:
        yield found


def with_dashboard(server: Server, *actors: str) -> None:
    """Let a job server know of actors, and of a dataset of every job."""
    script = server.script

    def answer(method: str, path: str, body: bytes) -> tuple[int, object]:
        if path.startswith("/api/v0/actors"):
            found = [{"class_name": name, "state": "ALIVE"} for name in actors if f"filter_values={name}&" in path]
            return 200, {"data": {"result": {"result": found}}}
        if path == f"/api/data/datasets/{JOB_ID}":
            return 200, DATASETS
        return script(method, path, body)

    server.script = answer


def asked(server: Server) -> list[str]:
    """Return what was asked for progress."""
    paths = [path for _, path in server.calls]
    return [path for path in paths if path.startswith(("/api/v0/actors", "/api/data", "/api/train"))]


def tables_of(instance: dg.DagsterInstance, run_id: str) -> list[tuple[str, str, Any]]:
    """Return message, step and table of each event with one."""
    found: list[tuple[str, str, Any]] = []
    for entry in instance.all_logs(run_id):
        event = entry.dagster_event
        metadata: Any = {} if event is None else getattr(event.event_specific_data, "metadata", None) or {}
        if "dagster_ray/ray_data" in metadata:
            found.append((str(event and event.message), str(entry.step_key), metadata["dagster_ray/ray_data"].value))
    return found


@pytest.fixture
def workers(server: Server, tmp_path: Path) -> Generator[ForkedWorkers]:
    start_fork_server()
    found = ForkedWorkers(tmp_path / "ray", server)
    yield found
    found.close()


def in_cluster(instance: dg.DagsterInstance, workers: ForkedWorkers, progress: str) -> dg.JobExecutionResult:
    arguments: Any = (workers.url, progress)
    job = dg.build_reconstructable_job("progress_jobs", "job_of", arguments, {}, str(Path(__file__).parent))
    return execute(instance, job, IN_PROCESS)


def test_a_body_in_the_cluster_reports_what_it_uses(instance: dg.DagsterInstance, workers: ForkedWorkers) -> None:
    with_dashboard(workers.server, "_StatsActor")
    run = in_cluster(instance, workers, "report")
    assert run.success
    ((message, step, table),) = tables_of(instance, run.run_id)
    assert (message, step) == ("Progress on Ray for tests.", "reads")
    assert table.splitlines()[-1] == ROW
    variables = workers.bodies[0]["runtime_env"]["env_vars"]
    assert variables.items() >= (QUIET | TRACKED).items()


def test_a_body_in_the_cluster_reports_nothing_unless_it_shall(
    instance: dg.DagsterInstance, workers: ForkedWorkers
) -> None:
    with_dashboard(workers.server, "_StatsActor")
    run = in_cluster(instance, workers, "off")
    assert run.success
    assert tables_of(instance, run.run_id) == []
    assert asked(workers.server) == []
    variables = workers.bodies[0]["runtime_env"]["env_vars"]
    assert variables.items() >= QUIET.items()
    assert not variables.keys() & TRACKED.keys()


def as_driver(ray: RayLike) -> None:
    """Let jobs be drivers of Ray."""
    look: Callable[[str], dict[str, Any]] = ray.look
    ray.look = lambda name: look(name) | {"job_id": JOB_ID}  # type: ignore[method-assign]


def called(client: PipesRayJobClient, instance: dg.DagsterInstance, code: str, **job: Any) -> dg.ExecuteInProcessResult:
    """Run a script as a Pipes job of an op."""
    entrypoint = f'"{sys.executable}" -c "{code}"'

    @dg.op
    def works(context: dg.OpExecutionContext) -> None:
        client.run(context=context, ray_job={"entrypoint": entrypoint, **job})

    @dg.job
    def working() -> None:
        works()

    return working.execute_in_process(instance=instance, raise_on_error=False)


@pytest.mark.parametrize(
    ("code", "is_good"), [pytest.param("0", True, id="good"), pytest.param("raise SystemExit(3)", False, id="bad")]
)
def test_a_pipes_job_has_a_table_whatever_its_end(
    ray: RayLike, server: Server, instance: dg.DagsterInstance, code: str, is_good: bool
) -> None:
    as_driver(ray)
    with_dashboard(server, "_StatsActor")
    client = PipesRayJobClient(client_of(server, headers={"X-Proxy": "mine"}))
    run = called(client, instance, code)
    assert run.success is is_good
    ((message, step, table),) = tables_of(instance, run.run_id)
    assert message == f"Progress of the Ray job {next(iter(ray.jobs))}."
    assert step == "works"
    assert table.splitlines()[-1] == ROW
    headers = [sent for (_, path), sent in zip(server.calls, server.headers, strict=True) if path in asked(server)]
    assert {sent.get("X-Proxy") for sent in headers} == {"mine"}
    assert next(iter(ray.jobs.values()))["runtime_env"]["env_vars"].items() >= TRACKED.items()


def test_a_pipes_job_that_uses_neither_is_asked_about_twice(
    ray: RayLike, server: Server, instance: dg.DagsterInstance
) -> None:
    as_driver(ray)
    with_dashboard(server)
    assert called(PipesRayJobClient(client_of(server)), instance, "0").success
    assert [path.partition("filter_values=")[2].partition("&")[0] for path in asked(server)] == [
        "_StatsActor",
        "TrainStateActor",
    ]


def test_a_pipes_job_that_is_no_driver_is_not_asked_about(
    ray: RayLike, server: Server, instance: dg.DagsterInstance
) -> None:
    with_dashboard(server, "_StatsActor")
    assert called(PipesRayJobClient(client_of(server)), instance, "0").success
    assert asked(server) == []
    assert len(ray.jobs) == 1


@pytest.mark.parametrize(
    ("progress", "variables"), [pytest.param("off", QUIET, id="off"), pytest.param("bars", {}, id="bars")]
)
def test_the_bars_of_a_pipes_job_are_its_own_but_for_off(
    ray: RayLike, server: Server, instance: dg.DagsterInstance, progress: Any, variables: dict[str, str]
) -> None:
    as_driver(ray)
    with_dashboard(server, "_StatsActor")
    own = {"RAY_COLOR_PREFIX": "1"}
    client = PipesRayJobClient(client_of(server), progress=progress)
    assert called(client, instance, "0", runtime_env={"env_vars": own}).success
    assert asked(server) == []
    found = next(iter(ray.jobs.values()))["runtime_env"]["env_vars"]
    assert {name: text for name, text in found.items() if name.startswith("RAY_")} == {**variables, **own}


def test_a_wrong_value_is_an_error_that_names_the_field() -> None:
    wrong: Any = "bar"
    with pytest.raises(InvalidFieldError, match=r"`progress`.*bars") as raised:
        PipesRayJobClient("http://127.0.0.1:8265", progress=wrong)
    assert raised.value.field == "progress"
