"""`driver="cluster"` on KubeRay: an attempt after a crash goes on with the body that runs, and nothing is left over.

Workers run as processes of this machine.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
import os
import signal
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import driver_steps
import pytest
from driver_steps import SPEC, reconstructable
from driver_world import IN_PROCESS, DriverWorld, driver_world
from fault_world import eventually, operator_limits, with_late_worker
from forked_workers import FORKED_STEPS, ForkedWorkers, forked

from dagster_ray.core.failures.record import kept_of_run
from dagster_ray.kuberay import KubeRayCluster, KubeRayInteractiveJob, RayClusterConfig
from dagster_ray.kuberay._jobs import watch
from dagster_ray.kuberay._kubernetes.fields import time_of
from dagster_ray.kuberay._spec.manifests import RenderInput, render_raycluster
from dagster_ray.simulator import Fault

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore:.*:Warning"),
    pytest.mark.many_processes,
]

SHARED: dict[str, Any] = {"cluster_sharing": {"enabled": True, "ttl_seconds": 3600}}
ALWAYS: dict[str, Any] = {"lifecycle": {"cleanup": "always", "connect": False}}
# What the simulator gives each pod: the way of steps inside of Kubernetes.
DIRECT: dict[str, Any] = {"access": "direct", "head_host": "{pod_ip}"}
ADOPTED: dict[str, Any] = {"ray_cluster": {"metadata": {"name": "theirs"}, "spec": SPEC}}


@pytest.fixture
def world(tmp_path: Path) -> Generator[DriverWorld]:
    with driver_world(tmp_path) as found:
        yield found


def make_theirs(world: DriverWorld) -> None:
    wish = RenderInput(name="theirs", namespace="default", image="rayproject/ray", ray_version="2.60.0")
    manifest = render_raycluster(RayClusterConfig(spec=SPEC).plain(), wish)  # pyright: ignore[reportArgumentType]
    world.simulator.store.create("rayclusters", manifest)


@pytest.mark.parametrize(
    ("kind", "fields", "left"),
    [
        pytest.param("RayJob", {}, {"rayjobs": 1, "rayclusters": 1}, id="interactive"),
        pytest.param("RayJob", ALWAYS, {}, id="interactive, always", marks=pytest.mark.weekly),
        pytest.param("RayCluster", ALWAYS, {}, id="a cluster of its own"),
        pytest.param("RayCluster", SHARED, {"rayclusters": 1}, id="shared"),
        pytest.param("RayCluster", ADOPTED, {"rayclusters": 1}, id="adopted"),
        pytest.param("RayCluster", {"pool": {"size": 1, "max_size": 2}}, {"rayclusters": 1}, id="of a pool"),
    ],
)
def test_an_attempt_after_a_crash_goes_on_with_the_body_that_runs(
    world: DriverWorld, kind: str, fields: Mapping[str, Any], left: Mapping[str, int]
) -> None:
    """One submission, one materialization, each line once, in one cluster."""
    if fields is ADOPTED:
        make_theirs(world)
    seen: list[Mapping[str, Any]] = []

    def kill() -> None:
        seen.extend([*world.objects("rayjobs"), *world.objects("rayclusters")])
        world.kill_step()
        eventually(lambda: world.kinds("STEP_RESTARTED"))
        (world.folder / "go").touch()

    config = {**FORKED_STEPS, "loggers": {"console": {"config": {"name": "canary-4711"}}}}
    with world.meanwhile(lambda: "line 9" in world.lines, kill):
        run = world.execute(reconstructable("slow", kind, world.fields(**fields), world.folder), config)
    assert run.success
    assert (len(world.bodies), world.notes, len(world.heads)) == (1, ["body"], 1)
    assert world.lines == [f"line {n}" for n in range(20)]
    assert world.kinds("STEP_START", "STEP_RESTARTED", "ASSET_MATERIALIZATION", "STEP_SUCCESS") == [
        "STEP_START",
        "STEP_RESTARTED",
        "ASSET_MATERIALIZATION",
        "STEP_SUCCESS",
    ]
    assert {name: len(found) for name in ("rayjobs", "rayclusters") if (found := world.objects(name))} == left
    assert all("ownerReferences" not in one["metadata"] or one["kind"] == "RayCluster" for one in seen)
    # The operator would end a body that runs while a worker is still missing.
    assert all("preRunningDeadlineSeconds" not in one["spec"] for one in seen if one["kind"] == "RayJob")
    text = json.dumps([*seen, *world.bodies, *world.told])
    assert "step_worker" in text
    secrets = (str(world.folder / "home"), "DAGSTER_HOME", "sqlite", "canary-4711")
    assert not [word for word in secrets if word in text]
    if kind == "RayJob" and left:
        (rayjob,) = world.objects("rayjobs")
        assert rayjob["spec"]["jobId"] == world.bodies[0]["submission_id"]
        assert rayjob["spec"]["ttlSecondsAfterFinished"] == 60
        eventually(lambda: world.objects("rayjobs")[0]["status"].get("jobStatus") == "SUCCEEDED")


def test_an_attempt_after_a_crash_during_the_start_uses_the_cluster_that_comes(world: DriverWorld) -> None:
    world.gates.opened.clear()
    (world.folder / "go").touch()

    def kill() -> None:
        world.kill_step()
        eventually(lambda: len(world.kinds("STEP_WORKER_STARTED")) == 2)
        world.gates.opened.set()

    with world.meanwhile(lambda: world.heads and world.kinds("STEP_WORKER_STARTED"), kill):
        run = world.execute(reconstructable("slow", "RayJob", world.fields(), world.folder))
    assert run.success
    assert (world.notes, len(world.heads), len(world.objects("rayjobs"))) == (["body"], 1, 1)


@pytest.mark.parametrize("kind", ["RayJob", pytest.param("RayCluster", marks=pytest.mark.weekly)])
def test_a_body_that_fails_runs_again_on_a_cluster_of_its_own(world: DriverWorld, kind: str) -> None:
    """The next attempt begins before the first one has deleted its cluster."""
    run = world.execute(reconstructable("fails", kind, world.fields(), world.folder))
    assert not run.success
    assert world.notes == ["body", "body"]
    assert [body["submission_id"][-2:] for body in world.bodies] == ["-0", "-1"]
    assert len(world.heads) == 2
    assert (world.objects("rayjobs"), world.objects("rayclusters")) == ([], [])


def test_a_body_that_fails_at_last_leaves_evidence_and_holds_its_cluster(world: DriverWorld) -> None:
    """The attempt before it leaves its evidence as well, and no cluster."""
    more = {"evidence": str(world.folder / "kept"), "hold_on_failure": 900}
    run = world.execute(reconstructable("fails", "RayJob", world.fields(**more), world.folder))
    assert not run.success
    pages = [path.read_text(encoding="utf-8") for path in (world.folder / "kept").rglob("index.md")]
    assert len(pages) == 2
    assert {body["submission_id"] for body in world.bodies} == {
        body["submission_id"] for body in world.bodies if any(body["submission_id"] in page for page in pages)
    }
    (rayjob,) = world.objects("rayjobs")
    assert rayjob["spec"]["ttlSecondsAfterFinished"] == 900
    assert time_of(rayjob["metadata"]["annotations"]["dagster/held-until"])
    assert any("because of hold_on_failure" in entry.user_message for entry in world.logs)
    eventually(lambda: world.objects("rayjobs")[0]["status"].get("jobDeploymentStatus") == "Complete")


def test_steps_of_one_process_share_a_cluster_that_ends_after_the_last_one(world: DriverWorld) -> None:
    (world.folder / "go").touch()
    fields = world.fields(hours=True)
    run = world.execute(reconstructable("slow,other", "RayJob", fields, world.folder), IN_PROCESS)
    assert run.success
    assert (len(world.bodies), len(world.heads)) == (2, 1)
    events = [entry.dagster_event for entry in world.logs if entry.dagster_event is not None]
    (figures,) = [event for event in events if (event.message or "").startswith("Figures of ")]
    assert figures.engine_event_data.metadata["dagster_ray/shared"].value is True
    (rayjob,) = world.objects("rayjobs")
    assert rayjob["spec"]["jobId"] == world.bodies[-1]["submission_id"]
    assert "preRunningDeadlineSeconds" not in rayjob["spec"]
    eventually(lambda: world.objects("rayjobs")[0]["status"].get("jobDeploymentStatus") == "Complete")


@pytest.mark.parametrize(
    ("steps", "bodies"),
    [
        pytest.param("broken,other", [True, False], id="another step ran later"),
        pytest.param("fails_once,broken_at_last", [False, False, True], id="a step before it was tried again"),
    ],
)
def test_evidence_names_the_job_of_the_step_that_failed(world: DriverWorld, steps: str, bodies: list[bool]) -> None:
    """By that job, tasks and actors are chosen on a cluster that others use as well."""
    fields = world.fields(evidence=str(world.folder / "kept"))
    run = world.execute(reconstructable(steps, "RayJob", fields, world.folder), IN_PROCESS)
    assert not run.success
    (page,) = (world.folder / "kept").rglob("index.md")
    text = page.read_text(encoding="utf-8")
    assert [body["submission_id"] in text for body in world.bodies] == bodies


def test_each_step_that_failed_has_evidence_of_its_own_job(world: DriverWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what Ray knows of all jobs, each bundle has what is about its own."""
    submitted = ForkedWorkers.submit

    def submit(workers: ForkedWorkers, body: Mapping[str, Any]) -> tuple[int, object]:
        answer = submitted(workers, body)
        job_id = f"0{len(workers.jobs)}000000"
        workers.jobs[str(body["submission_id"])]["job_id"] = job_id
        row = {"task_id": job_id, "name": f"task of {job_id}", "state": "FAILED", "job_id": job_id}
        world.heads[0].rows["tasks"].append(row)
        return answer

    monkeypatch.setattr(ForkedWorkers, "submit", submit)
    fields = world.fields(evidence=str(world.folder / "kept"))
    run = world.execute(reconstructable("broken,broken_at_last", "RayJob", fields, world.folder), IN_PROCESS)
    assert not run.success
    kept = dict(kept_of_run(world.instance, run.run_id))
    named: list[str] = []
    for step in ("broken", "broken_at_last"):
        folder = Path(kept[step].place).parent
        index = (folder / "index.md").read_text(encoding="utf-8")
        (job,) = [one for one in world.told if one["submission_id"] in index]
        tasks = (folder / "tasks.yaml").read_text(encoding="utf-8")
        assert [one["job_id"] for one in world.told if one["job_id"] in tasks] == [job["job_id"]]
        assert (folder / "driver.log").is_file()
        named.append(job["submission_id"])
    assert named == [body["submission_id"] for body in world.bodies]


@pytest.mark.parametrize("steps", ["other", "slow,other"])
def test_a_cluster_whose_worker_never_came_is_ended_by_its_operator(world: DriverWorld, steps: str) -> None:
    """It sees the end of no body while a pod is missing."""
    (world.folder / "go").touch()
    seen = operator_limits(world.simulator)
    fields = world.fields(ray_job={"spec": {"rayClusterSpec": with_late_worker(SPEC)}})
    run = world.execute(reconstructable(steps, "RayJob", fields, world.folder), IN_PROCESS)
    assert run.success
    assert seen == [150, None, 150]


def test_the_death_of_the_head_ends_the_attempt_by_a_typed_error_and_the_next_one_starts_anew(
    world: DriverWorld,
) -> None:
    def kill() -> None:
        (pod,) = world.simulator.store.list("pods")
        world.simulator.kubelet.kill_pod("default", str(pod["metadata"]["name"]))
        (world.folder / "go").touch()

    with world.meanwhile(lambda: "line 9" in world.lines, kill):
        run = world.execute(reconstructable("slow", "RayJob", world.fields(), world.folder))
    assert run.success
    assert world.notes == ["body", "body"]
    assert "ray-job-" in world.errors
    assert len(world.objects("rayjobs")) == 1


def test_a_retry_within_the_process_goes_to_the_same_cluster_which_has_not_ended_with_the_first_body(
    world: DriverWorld,
) -> None:
    """The operator ends a RayJob with the job that it knows of, so it hears of the last one only."""
    job = reconstructable("fails_once", "RayJob", world.fields(), world.folder)
    assert world.execute(job, IN_PROCESS).success
    assert (world.notes, len(world.heads)) == (["body", "body"], 1)
    (rayjob,) = world.objects("rayjobs")
    assert rayjob["spec"]["jobId"] == world.bodies[-1]["submission_id"]
    assert world.bodies[-1]["submission_id"].endswith("-1")
    assert "dagster/outcome" not in rayjob["metadata"]["labels"]


def test_what_a_cluster_that_is_gone_would_still_say_after_the_steps_end_is_not_waited_for(world: DriverWorld) -> None:
    arguments = (str(world.folder / "home"), "lingers", world.fields(), str(world.folder))
    with forked(driver_steps.host, *arguments) as process:
        eventually(lambda: world.kinds("STEP_SUCCESS"))
        (rayjob,) = world.objects("rayjobs")
        world.simulator.store.delete("rayjobs", "default", rayjob["metadata"]["name"])
        process.join(60)
        assert process.exitcode == 0
    assert [run.status.value for run in world.instance.get_runs()] == ["SUCCESS"]


def test_a_head_that_comes_back_at_another_address_ends_the_attempt_long_before_the_patience_with_a_job_server(
    world: DriverWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_SILENT_SECONDS", 1.0)
    monkeypatch.setattr(watch, "_LOOK_SECONDS", 0.5)

    def kill() -> None:
        (pod,) = world.simulator.store.list("pods")
        world.simulator.kubelet.kill_pod("default", str(pod["metadata"]["name"]))
        eventually(lambda: len(world.heads) == 2)
        (world.folder / "go").touch()

    # The retry waits so long for the head that is gone.
    fields = world.fields(**ALWAYS, **DIRECT, timeout=20.0)
    with world.meanwhile(lambda: "line 9" in world.lines, kill):
        run = world.execute(reconstructable("slow", "RayCluster", fields, world.folder), IN_PROCESS)
    assert not run.success, "the in-process executor has no other cluster for a retry"
    assert world.notes == ["body"]
    assert "[dagster-ray: ray-job-lost]" in world.errors
    assert "the head pod " in world.errors
    assert world.objects("rayclusters") == []


def test_other_software_in_the_image_is_one_sentence_before_any_code_runs(world: DriverWorld) -> None:
    """It is not tried again, and leaves no cluster."""
    other = world.folder / "dagster_ray_core-0.0.1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: dagster-ray-core\nVersion: 0.0.1\n")
    fields = world.fields(runtime_env={"py_modules": [str(other)]})
    run = world.execute(reconstructable("slow", "RayJob", fields, world.folder), IN_PROCESS)
    assert not run.success
    assert "[dagster-ray: driver-start]" in world.errors
    assert "dagster-ray is 0.0.1 in the cluster and " in world.errors
    assert (world.notes, len(world.bodies), world.kinds("STEP_UP_FOR_RETRY")) == ([], 1, [])
    assert (world.objects("rayjobs"), world.objects("rayclusters")) == ([], [])


def test_a_policy_that_denies_updates_costs_no_body(world: DriverWorld) -> None:
    world.simulator.faults.add(Fault(method="PATCH", status=422))
    (world.folder / "go").touch()
    job = reconstructable("slow", "RayJob", world.fields(preflight="off"), world.folder)
    assert world.execute(job, IN_PROCESS).success
    assert world.notes == ["body"]
    assert any("the operator may end it while a body runs" in entry.user_message for entry in world.logs)


def test_a_limit_that_could_not_be_lifted_for_several_steps_is_lifted_later(
    world: DriverWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dagster_ray.kuberay._jobs.driver._PAUSE_SECONDS", 0.1)
    world.simulator.faults.add(Fault(method="PATCH", path="/rayjobs/", status=422))
    lifted: list[bool] = []

    def wait_until_lifted() -> None:
        world.simulator.faults.clear()
        try:
            eventually(lambda: "preRunningDeadlineSeconds" not in world.objects("rayjobs")[0]["spec"])
            lifted.append(True)
        finally:
            (world.folder / "go").touch()

    with world.meanwhile(lambda: "line 9" in world.lines, wait_until_lifted):
        job = reconstructable("slow,other", "RayJob", world.fields(preflight="off"), world.folder)
        assert world.execute(job, IN_PROCESS).success
    assert lifted


def test_a_job_that_could_not_be_registered_while_it_ran_is_registered_at_the_end(world: DriverWorld) -> None:
    """Its operator would keep the cluster. The job ends before the next of its attempts, which are 10 s apart."""
    world.simulator.faults.add(Fault(method="PATCH", path="/rayjobs/", status=422))

    def end() -> None:
        world.simulator.faults.clear()
        (world.folder / "go").touch()

    with world.meanwhile(lambda: "line 9" in world.lines, end):
        job = reconstructable("slow", "RayJob", world.fields(preflight="off"), world.folder)
        assert world.execute(job).success
    (rayjob,) = world.objects("rayjobs")
    assert rayjob["spec"]["jobId"] == world.bodies[0]["submission_id"]
    eventually(lambda: world.objects("rayjobs")[0]["status"].get("jobDeploymentStatus") == "Complete")


# Terminations

GRACE_SECONDS = 30
"""terminationGracePeriodSeconds of a pod, by default."""


@pytest.mark.parametrize("resource", [KubeRayInteractiveJob, KubeRayCluster])
def test_a_canceled_step_leaves_half_of_its_pods_grace_period_to_the_deletion(
    resource: type[KubeRayInteractiveJob | KubeRayCluster],
) -> None:
    """Its job is stopped, and then read, within the same time each."""
    assert 2 * resource(driver="cluster").job_settings.termination_seconds <= GRACE_SECONDS / 2


def create(world: DriverWorld) -> None:
    """The POST is under way."""
    eventually(lambda: any(one.method == "POST" and "rayjobs" in one.path for one in world.simulator.requests))


def wait(world: DriverWorld) -> None:
    """The head is there and does not answer."""
    eventually(lambda: world.heads)


def body(world: DriverWorld) -> None:
    """The body runs."""
    eventually(lambda: "line 9" in world.lines)


def drain(world: DriverWorld) -> None:
    """The job has ended, and its last lines cannot be read."""
    body(world)
    world.gates.unreadable.set()
    (world.folder / "go").touch()
    eventually(lambda: any("is SUCCEEDED after" in entry.user_message for entry in world.logs))


@pytest.mark.parametrize(
    ("reach", "notes"),
    [
        pytest.param(create, [], id="create"),
        pytest.param(wait, [], id="wait"),
        pytest.param(body, ["body"], id="body"),
        pytest.param(drain, ["body"], id="drain"),
    ],
)
def test_a_termination_leaves_neither_job_nor_cluster(
    world: DriverWorld, reach: Callable[[DriverWorld], None], notes: list[str]
) -> None:
    if reach is create:
        world.simulator.faults.add(Fault(method="POST", path="rayjobs", delay_seconds=2))
    if reach is wait:
        world.gates.opened.clear()
    arguments = (str(world.folder / "home"), "slow", world.fields(), str(world.folder))
    with forked(driver_steps.host, *arguments) as process:
        reach(world)
        os.kill(process.pid or 0, signal.SIGTERM)
        process.join(60)
        assert process.exitcode is not None
    assert (world.objects("rayjobs"), world.objects("rayclusters")) == ([], [])
    assert world.notes == notes
    assert world.kinds("STEP_UP_FOR_RETRY", "STEP_SUCCESS") == []


# Steps in pods


def test_a_step_that_is_a_pod_of_its_own_is_killed_and_goes_on(world: DriverWorld) -> None:
    """By an executor that starts `dagster api execute_step` for each step, as that of dagster-k8s does."""

    def kill() -> None:
        world.kill_step()
        eventually(lambda: world.kinds("STEP_RESTARTED"))
        (world.folder / "go").touch()

    job = reconstructable("slow", "RayJob", world.fields(), world.folder, in_pods=True)
    with world.meanwhile(lambda: "line 9" in world.lines, kill):
        run = world.execute(job, {"execution": {"config": {}}})
    assert run.success
    assert (len(world.bodies), world.notes, len(world.heads)) == (1, ["body"], 1)
    assert world.lines == [f"line {n}" for n in range(20)]
    assert world.kinds("ASSET_MATERIALIZATION", "STEP_SUCCESS") == ["ASSET_MATERIALIZATION", "STEP_SUCCESS"]
