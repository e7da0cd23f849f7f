"""`driver="cluster"` on KubeRay: an attempt after a crash goes on with the body that runs, and nothing is left over.

Workers run as processes of this machine. With real Ray heads: tests-integration/test_driver_kuberay.py.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import driver_steps
import pytest
from driver_steps import SPEC, reconstructable
from driver_world import IN_PROCESS, DriverWorld, driver_world
from fault_world import eventually, operator_limits, with_late_worker

from dagster_ray.kuberay import RayClusterConfig
from dagster_ray.kuberay._kubernetes.fields import time_of
from dagster_ray.kuberay._spec.manifests import RenderInput, render_raycluster

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore:.*:Warning"),
    pytest.mark.many_processes,
]

SHARED: dict[str, Any] = {"cluster_sharing": {"enabled": True, "ttl_seconds": 3600}}
ALWAYS: dict[str, Any] = {"lifecycle": {"cleanup": "always", "connect": False}}
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
        pytest.param("RayJob", {"lifecycle": {"cleanup": "always", "connect": False}}, {}, id="interactive, always"),
        pytest.param(
            "RayCluster", {"lifecycle": {"cleanup": "always", "connect": False}}, {}, id="a cluster of its own"
        ),
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

    with world.meanwhile(lambda: "line 9" in world.lines, kill):
        run = world.execute(reconstructable("slow", kind, world.fields(**fields), world.folder))
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
    text = json.dumps([*seen, *world.bodies])
    assert "step_worker" in text
    assert not [word for word in (str(world.folder / "home"), "DAGSTER_HOME", "sqlite") if word in text]
    if kind == "RayJob" and left:
        (rayjob,) = world.objects("rayjobs")
        assert rayjob["spec"]["jobId"] == world.bodies[0]["submission_id"]
        assert rayjob["spec"]["ttlSecondsAfterFinished"] == 60
        eventually(lambda: world.objects("rayjobs")[0]["status"].get("jobStatus") == "SUCCEEDED")


def test_an_attempt_after_a_crash_during_the_start_uses_the_cluster_that_comes(world: DriverWorld) -> None:
    world.opened.clear()
    (world.folder / "go").touch()

    def kill() -> None:
        world.kill_step()
        eventually(lambda: len(world.kinds("STEP_WORKER_STARTED")) == 2)
        world.opened.set()

    with world.meanwhile(lambda: world.heads and world.kinds("STEP_WORKER_STARTED"), kill):
        run = world.execute(reconstructable("slow", "RayJob", world.fields(), world.folder))
    assert run.success
    assert (world.notes, len(world.heads), len(world.objects("rayjobs"))) == (["body"], 1, 1)


@pytest.mark.parametrize("kind", ["RayJob", "RayCluster"])
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
    run = world.execute(reconstructable("slow,other", "RayJob", world.fields(), world.folder), IN_PROCESS)
    assert run.success
    assert (len(world.bodies), len(world.heads)) == (2, 1)
    (rayjob,) = world.objects("rayjobs")
    assert rayjob["spec"]["jobId"] == world.bodies[-1]["submission_id"]
    assert "preRunningDeadlineSeconds" not in rayjob["spec"]
    eventually(lambda: world.objects("rayjobs")[0]["status"].get("jobDeploymentStatus") == "Complete")


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
    errors = [getattr(event.event_specific_data, "error", None) for event in run.all_events]
    assert "ray-job-" in "".join(error.to_string() for error in errors if error is not None)
    assert len(world.objects("rayjobs")) == 1


@pytest.mark.parametrize("phase", ["wait", "body"])
def test_a_termination_leaves_neither_job_nor_cluster(world: DriverWorld, phase: str) -> None:
    """While the cluster starts, and while the body runs."""
    if phase == "wait":
        world.opened.clear()
    arguments = [str(world.folder / "home"), json.dumps(world.fields()), str(world.folder)]
    with subprocess.Popen([sys.executable, "-W", "ignore", driver_steps.__file__, *arguments]) as step:
        try:
            eventually(lambda: world.heads if phase == "wait" else "line 9" in world.lines)
            step.send_signal(signal.SIGTERM)
            step.wait(60)
        finally:
            step.kill()
    assert (world.objects("rayjobs"), world.objects("rayclusters")) == ([], [])
    assert world.notes == ([] if phase == "wait" else ["body"])
    assert world.kinds("STEP_UP_FOR_RETRY", "STEP_SUCCESS") == []
