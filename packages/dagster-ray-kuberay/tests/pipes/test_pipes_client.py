"""`PipesKubeRayJobClient` on the simulator without Ray: what is made, what is left, and what the user is told."""

import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from fault_world import eventually, operator_limits, with_late_worker
from pipes_world import PipesWorld, pipes_world, run_job

from dagster_ray.core import Lifecycle
from dagster_ray.kuberay import PipesKubeRayJobClient
from dagster_ray.kuberay.errors import InvalidSpecError
from dagster_ray.kuberay.groups import head_group
from dagster_ray.simulator import Fault

# Dagster's own Pipes code warns about itself with the context of an asset.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.many_processes,
]

JOB = {"entrypoint": "python work.py", "entrypoint_num_cpus": 1.0, "entrypoint_memory": 2 * 1024**3}


@pytest.fixture
def world() -> Generator[PipesWorld]:
    with pipes_world() as found:
        yield found


def test_a_job_gets_a_rayjob_that_follows_it(world: PipesWorld) -> None:
    with world.ending("SUCCEEDED"):
        ran = run_job(world.client(env_vars={"A": "b"}), JOB)
    assert ran.success, ran.log
    (rayjob,), (job,) = world.rayjobs(), world.jobs
    assert job["entrypoint_memory"] == 2 * 1024**3
    assert rayjob["spec"]["submissionMode"] == "InteractiveMode"
    assert rayjob["spec"]["jobId"] == job["submission_id"] == rayjob["metadata"]["name"]
    assert "entrypoint" not in rayjob["spec"]
    assert rayjob["spec"]["ttlSecondsAfterFinished"] == 60, "all is read, so the cluster need not wait for a retry"
    assert "ownerReferences" not in rayjob["metadata"]
    labels = rayjob["metadata"]["labels"]
    assert labels["app.kubernetes.io/managed-by"] == "dagster-ray"
    assert labels["dagster/step-key"] == "computed"
    assert ran.metadata["dagster_ray/rayjob"] == f"default/{rayjob['metadata']['name']}"
    eventually(lambda: world.rayjobs()[0]["status"].get("jobDeploymentStatus") == "Complete")


def test_updates_that_are_denied_cost_a_warning_and_no_job(world: PipesWorld) -> None:
    world.simulator.faults.add(Fault(method="PATCH", path="/rayjobs", status=400))
    with world.ending("SUCCEEDED"):
        ran = run_job(world.client(), JOB)
    assert ran.success, ran.log
    assert "its cluster lives longer than it should" in ran.log


def test_the_operator_limits_the_wait_for_a_worker_only_before_and_after_the_job(world: PipesWorld) -> None:
    """It sees the end of no job while a pod is missing."""
    client = world.options()
    spec = client["template"]["spec"]
    spec["rayClusterSpec"] = with_late_worker(spec["rayClusterSpec"])
    seen = operator_limits(world.simulator)
    with world.ending("SUCCEEDED"):
        ran = run_job(PipesKubeRayJobClient(**client), JOB)
    assert ran.success, ran.log
    assert seen == [90, None, 90]


@pytest.mark.parametrize("ttl", [0, 30, 7200])
def test_a_time_to_live_of_the_user_holds_once_all_is_read(world: PipesWorld, ttl: int) -> None:
    call = {**JOB, "template": {"spec": {"ttlSecondsAfterFinished": ttl}}}
    with world.ending("SUCCEEDED"):
        assert run_job(world.client(), call).success
    (made,) = world.at_submission
    assert made["spec"]["ttlSecondsAfterFinished"] == max(600, ttl)
    (rayjob,) = world.simulator.store.list("rayjobs")
    assert rayjob["spec"]["ttlSecondsAfterFinished"] == ttl


@pytest.mark.parametrize(("cleanup", "left"), [("on_exception", 0), ("always", 0), ("never", 1)])
def test_a_job_that_fails_fails_the_step_and_the_lifecycle_decides(world: PipesWorld, cleanup: Any, left: int) -> None:
    with world.ending("FAILED", driver_exit_code=3, message="it broke"):
        ran = run_job(world.client(lifecycle=Lifecycle(cleanup=cleanup)), JOB)
    assert not ran.success
    assert "[dagster-ray: ray-job-failed]" in ran.log
    assert "it broke" in ran.log
    eventually(lambda: len(world.rayjobs()) == left)


def test_always_deletes_after_success_too(world: PipesWorld) -> None:
    with world.ending("SUCCEEDED"):
        assert run_job(world.client(lifecycle=Lifecycle(cleanup="always")), JOB).success
    eventually(lambda: world.rayjobs() == [])


def test_what_the_spec_says_of_failures_is_left_to_the_operator(world: PipesWorld) -> None:
    strategy = {"onSuccess": {"policy": "DeleteCluster"}, "onFailure": {"policy": "DeleteNone"}}
    call = {**JOB, "template": {"spec": {"deletionStrategy": strategy}}}
    with world.ending("FAILED"):
        assert not run_job(world.client(), call).success
    assert len(world.rayjobs()) == 1


NOTHING: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "an unknown parameter": ({**JOB, "entrypoint_cpus": 1}, {}, "invalid-field"),
    "no entrypoint": ({"template": {}}, {}, "invalid-field"),
    "a field that has no place": (
        {"spec": {"entrypoint": "a", "submitterPodTemplate": {"spec": {"restartPolicy": "Never"}}}},
        {},
        "invalid-spec",
    ),
    "a context that is too large": (JOB, {"text": "".join(map(str, range(80_000)))}, "pipes-context-too-large"),
    "a cluster that does not exist": ({**JOB, "cluster_selector": "nowhere"}, {}, "invalid-spec"),
}


@pytest.mark.parametrize(("call", "extras", "code"), NOTHING.values(), ids=NOTHING)
def test_what_is_wrong_is_told_before_anything_is_made(
    world: PipesWorld, call: dict[str, Any], extras: dict[str, Any], code: str
) -> None:
    ran = run_job(world.client(), call, extras)
    assert not ran.success
    assert f"[dagster-ray: {code}]" in ran.log
    assert not [request for request in world.simulator.requests if request.method == "POST"]


OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "a phase switched off": ({"lifecycle": Lifecycle(connect=False)}, "lifecycle"),
    "no time": ({"timeout": 0}, "timeout"),
    "no time in a queue": ({"queue_timeout": -1}, "queue_timeout"),
    "an access that is none": ({"access": "tunnel"}, "access"),
    "a host that cannot be filled in": ({"head_host": "{pod}"}, "head_host"),
}


@pytest.mark.parametrize(("options", "field"), OPTIONS.values(), ids=OPTIONS)
def test_an_option_that_cannot_work_is_refused_when_the_client_is_made(options: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        PipesKubeRayJobClient(**options)
    assert caught.value.field == field


def test_a_misspelled_option_is_an_error_that_names_it() -> None:
    options: Any = {"timout": 5.0}
    with pytest.raises(TypeError, match="timout"):
        PipesKubeRayJobClient(**options)


def test_a_template_that_cannot_work_is_refused_when_the_client_is_made() -> None:
    with pytest.raises(ValueError, match="submitterPodTemplate"):
        PipesKubeRayJobClient({"spec": {"submitterPodTemplate": {"spec": {"restartPolicy": "Never"}}}})


def test_a_cluster_that_exists_runs_the_job_and_stays(world: PipesWorld) -> None:
    spec = {
        "rayVersion": "2.60.0",
        "headGroupSpec": {
            "rayStartParams": {},
            "template": {"spec": {"containers": [{"name": "ray-head", "image": "rayproject/ray:2.60.0"}]}},
        },
    }
    cluster = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "mine"}, "spec": spec}
    world.simulator.store.create("rayclusters", {**cluster, "metadata": {"name": "mine", "namespace": "default"}})
    with world.ending("FAILED"):
        ran = run_job(world.client(), {**JOB, "cluster_selector": {"ray.io/cluster": "mine"}})
    assert "[dagster-ray: ray-job-failed]" in ran.log, ran.log
    eventually(lambda: world.rayjobs() == [])
    (left,) = world.simulator.store.list("rayclusters")
    assert left["metadata"]["name"] == "mine"
    assert "deletionTimestamp" not in left["metadata"]


def test_a_job_that_was_of_no_use_to_its_step_is_not_followed(world: PipesWorld) -> None:
    """It succeeds for Ray, and reports nothing although the client requires it."""
    client = world.client(require_messages="always", lifecycle=Lifecycle(cleanup="never"))
    with world.ending("SUCCEEDED"):
        ran = run_job(client, JOB, retries=1)
    assert ran.log.count("[dagster-ray: pipes-messages-missing]") >= 2, ran.log
    first, second = world.jobs
    assert first["submission_id"] != second["submission_id"]
    verdicts = [rayjob["metadata"]["annotations"]["dagster/pipes-verdict"] for rayjob in world.rayjobs()]
    assert verdicts == ["bad", "bad"]


CHOSEN: dict[str, dict[str, Any]] = {"derived ids": {}, "a chosen id": {"submission_id": "nightly"}}


@pytest.mark.parametrize("chosen", CHOSEN.values(), ids=CHOSEN)
def test_a_retry_on_a_cluster_that_exists_gets_the_next_id(world: PipesWorld, chosen: dict[str, str]) -> None:
    """The RayJob of the first attempt is deleted; its job is still known to the cluster."""
    spec = {"headGroupSpec": head_group(cpus=1, memory="2Gi")}
    made = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "mine", "namespace": "default"}}
    world.simulator.store.create("rayclusters", {**made, "spec": spec})
    with world.ending("FAILED", "SUCCEEDED"):
        ran = run_job(world.client(), {**JOB, **chosen, "cluster_selector": "mine"}, retries=1)
    assert ran.success, ran.log
    first, second = (job["submission_id"] for job in world.jobs)
    assert second == ("nightly-2" if chosen else f"{first[:-1]}1")
    (rayjob,) = world.rayjobs()
    assert rayjob["spec"]["jobId"] == second


def test_an_api_server_that_is_away_while_the_job_runs_fails_nothing(world: PipesWorld) -> None:
    """Neither the watch, nor the job id that the operator is told."""
    gone = Fault(method="PATCH", status=503)
    world.simulator.faults.add(gone)
    done = threading.Event()

    def act() -> None:
        eventually(lambda: any(request.method == "PATCH" for request in world.simulator.requests))
        world.simulator.faults.drop_watches()
        world.simulator.faults.remove(gone)
        for job in world.jobs:
            job["status"] = "SUCCEEDED"
        done.set()

    thread = threading.Thread(target=act)
    thread.start()
    ran = run_job(world.client(), JOB)
    thread.join()
    assert done.is_set()
    assert ran.success, ran.log


def test_a_step_that_follows_its_job_shows_that_it_lives(world: PipesWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dagster_ray.kuberay._steps.step_cluster.ALIVE_SECONDS", 0.05)

    def patches() -> int:
        return sum(request.method == "PATCH" for request in world.simulator.requests)

    seen: list[dict[str, str]] = []

    def act() -> None:
        eventually(lambda: world.jobs and world.rayjobs()[0]["spec"].get("jobId"))
        before = patches()
        eventually(lambda: patches() > before + 2)
        seen.append(world.rayjobs()[0]["metadata"]["annotations"])
        for job in world.jobs:
            job["status"] = "SUCCEEDED"

    thread = threading.Thread(target=act)
    thread.start()
    ran = run_job(world.client(), JOB)
    thread.join()
    assert ran.success, ran.log
    assert "dagster/alive-at" in seen[0]
    names = [one.name for one in threading.enumerate()]
    assert "dagster-ray heartbeat" not in names


def test_a_rayjob_that_somebody_deletes_ends_the_step(world: PipesWorld) -> None:
    def act() -> None:
        eventually(lambda: world.jobs and world.rayjobs()[0]["spec"].get("jobId"))
        world.simulator.store.delete("rayjobs", "default", world.rayjobs()[0]["metadata"]["name"])

    thread = threading.Thread(target=act)
    thread.start()
    ran = run_job(world.client(), JOB)
    thread.join()
    assert not ran.success
    assert "[dagster-ray: ray-job-lost]" in ran.log


@pytest.mark.parametrize("version", ["1.3.2", "1.5.1"])
def test_older_operators_follow_the_job_as_well(version: str) -> None:
    with pipes_world(version) as world, world.ending("SUCCEEDED"):
        ran = run_job(world.client(), JOB)
        assert ran.success, ran.log
        eventually(lambda: world.rayjobs()[0]["status"].get("jobDeploymentStatus") == "Complete")


def test_a_head_that_cannot_run_is_told_with_the_reason(world: PipesWorld) -> None:
    head = head_group(cpus=1, memory="2Gi", image="crashing:1")
    cluster: dict[str, Any] = {"headGroupSpec": head, "workerGroupSpecs": []}
    call: dict[str, Any] = {**JOB, "template": {"spec": {"rayClusterSpec": cluster}}}
    ran = run_job(world.client(), call)
    assert not ran.success
    assert "[dagster-ray: cannot-start]" in ran.log
    eventually(lambda: world.rayjobs() == [])


def test_a_sidecar_that_crashes_again_and_again_keeps_no_job_from_the_head(world: PipesWorld) -> None:
    head = head_group(cpus=1, memory="2Gi")
    head["template"]["spec"]["containers"].append({"name": "fluent-bit", "image": "crashing:1"})
    cluster: dict[str, Any] = {"headGroupSpec": head, "workerGroupSpecs": []}
    call: dict[str, Any] = {**JOB, "template": {"spec": {"rayClusterSpec": cluster}}}
    with world.ending("SUCCEEDED"):
        ran = run_job(world.client(), call)
    assert ran.success, ran.log


def test_the_evidence_of_a_job_that_failed_is_kept_before_its_rayjob_is_deleted(
    world: PipesWorld, tmp_path: Path
) -> None:
    with world.ending("FAILED", message="the entrypoint ended with 1"):
        ran = run_job(
            world.client(evidence=str(tmp_path)), {**JOB, "runtime_env": {"env_vars": {"A": "canary-1234abcd"}}}
        )
    assert not ran.success
    (index,) = tmp_path.rglob("index.md")
    text = index.read_text(encoding="utf-8")
    assert "the entrypoint ended with 1" in text.partition("## Files")[0]
    assert "The driver was the Ray job " in text
    assert f"Evidence of the failure was written to {index}" in ran.log
    assert world.rayjobs() == []
    assert [path for path in index.parent.rglob("*.*") if "canary" in path.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize(
    ("node", "kept", "unread"),
    [
        pytest.param({"driver_node_id": "n"}, ["the last line"], "", id="a driver that ran"),
        pytest.param({}, [], "the driver's log could not be read: LookupError: the job has no", id="no driver yet"),
    ],
)
def test_the_evidence_of_a_job_has_the_end_of_its_log_or_says_why_not(
    world: PipesWorld, tmp_path: Path, node: dict[str, str], kept: list[str], unread: str
) -> None:
    """Ray serves a log only to those who name the node of the driver."""
    spec = {"headGroupSpec": head_group(cpus=1, memory="2Gi")}
    world.simulator.store.create("rayclusters", {"metadata": {"name": "a", "namespace": "default"}, "spec": spec})
    eventually(lambda: world.heads and world.heads[0].ready)
    world.heads[0].driver_log = "the last line"
    with world.ending("FAILED", **node):
        run_job(world.client(evidence=str(tmp_path)), {**JOB, "cluster_selector": {"ray.io/cluster": "a"}})
    (index,) = tmp_path.rglob("index.md")
    assert [path.read_text(encoding="utf-8").strip() for path in index.parent.glob("driver.log")] == kept
    told = index.read_text(encoding="utf-8").partition("## Not read")[2]
    assert unread in told
    assert ("the driver's log" in told) == (not kept)


@pytest.mark.parametrize(
    "driver",
    [pytest.param({"job_id": "02000000"}, id="a job with a driver"), pytest.param({}, id="a job without one")],
)
def test_the_evidence_of_a_job_on_a_cluster_of_others_has_its_own_tasks_only(
    world: PipesWorld, tmp_path: Path, driver: dict[str, str]
) -> None:
    spec = {"headGroupSpec": head_group(cpus=1, memory="2Gi")}
    others = {"metadata": {"name": "others", "namespace": "default"}, "spec": spec}
    world.simulator.store.create("rayclusters", others)
    eventually(lambda: world.heads and world.heads[0].ready)
    rows = [{"name": "square", "job_id": "01000000"}, {"name": "cube", "job_id": "02000000"}]
    world.heads[0].rows["tasks"] += [{"task_id": row["name"], "state": "FAILED", **row} for row in rows]
    call = {**JOB, "cluster_selector": {"ray.io/cluster": "others"}}
    with world.ending("FAILED", **driver):
        run_job(world.client(evidence=str(tmp_path)), call)
    (index,) = tmp_path.rglob("index.md")
    kept = [path.read_text(encoding="utf-8") for path in index.parent.glob("tasks.yaml")]
    assert ["cube" in text for text in kept] == ([True] if driver else [])
    assert not any("square" in path.read_text(encoding="utf-8") for path in index.parent.rglob("*.*"))


def test_evidence_of_a_job_that_cannot_be_written_costs_one_warning(world: PipesWorld, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with world.ending("FAILED"):
        ran = run_job(world.client(evidence=str(tmp_path / "file" / "kept")), JOB)
    assert ran.log.count("the evidence of the failure could not be written") == 1
    assert "[dagster-ray: ray-job-failed]" in ran.log
    assert world.rayjobs() == []
