"""What a failed step leaves in a folder before its cluster is deleted: six causes, and no secrets."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from fault_world import FAST, fields, simulated

from dagster_ray.core import RayResource
from dagster_ray.kuberay import KubeRayCluster, KubeRayInteractiveJob
from dagster_ray.kuberay.groups import head_group
from dagster_ray.simulator import Fault, KubeletOptions, Simulator

BROKEN = "Failed during this or a previous request. Exception that broke the connection: <StatusCode.UNAVAILABLE>"
CANARY = "canary-5d41402abc4b2a76"


@pytest.fixture
def simulator() -> Generator[Simulator]:
    with simulated() as world:
        yield world


@dataclass(frozen=True)
class Told:
    """What a failed step has left."""

    log: str
    metadata: dict[str, Any]
    """Of the event that links the evidence; empty if there is none."""
    files: dict[str, str]
    """The files of the bundle."""

    @property
    def summary(self) -> str:
        return str(self.metadata["dagster_ray/evidence_summary"])

    @property
    def cause(self) -> str:
        return self.summary.splitlines()[0]


def failed(
    simulator: Simulator,
    folder: Path,
    happens: Callable[[Simulator], BaseException] = lambda _: ValueError("told to fail"),
    *,
    kind: type[KubeRayInteractiveJob] | type[KubeRayCluster] = KubeRayInteractiveJob,
    **more: Any,
) -> Told:
    """Run a step that fails, with what happens in it; return what it has left."""

    @dg.asset
    def model(ray_cluster: RayResource) -> None:
        raise happens(simulator)

    given = fields(simulator, **{"evidence": str(folder / "kept"), **more})
    if kind is KubeRayCluster:
        given["ray_cluster"] = {"spec": given.pop("ray_job")["spec"]["rayClusterSpec"]}
    with dg.DagsterInstance.ephemeral() as instance:
        resources = {"ray_cluster": kind(**given)}
        result = dg.materialize([model], resources=resources, instance=instance, raise_on_error=False)
        entries = instance.all_logs(result.run_id)
    assert not result.success
    events = [entry.dagster_event for entry in entries if entry.dagster_event is not None]
    told = [
        {key: value.value for key, value in event.engine_event_data.metadata.items()}
        for event in events
        if event.is_engine_event and "dagster_ray/evidence" in event.engine_event_data.metadata
    ]
    assert len(told) <= 1
    root = Path(str(told[0]["dagster_ray/evidence"])).parent if told else folder
    files = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}
    return Told("\n".join(str(entry) for entry in entries), told[0] if told else {}, files if told else {})


def kept_objects(simulator: Simulator) -> list[str]:
    """Return the names of what the step has made and not deleted."""
    made = [*simulator.store.list("rayjobs"), *simulator.store.list("rayclusters")]
    owned = [one for one in made if not one["metadata"].get("ownerReferences")]
    return [one["metadata"]["name"] for one in owned if "deletionTimestamp" not in one["metadata"]]


# Six causes


def out_of_memory(simulator: Simulator) -> BaseException:
    (pod,) = simulator.store.list("pods")
    end = {"terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": pod["metadata"]["creationTimestamp"]}}
    simulator.operator.freeze()
    status = {**pod["status"], "containerStatuses": [{"name": "ray-head", "restartCount": 1, "lastState": end}]}
    simulator.store.replace_status("pods", {**pod, "status": status})
    return ConnectionError(BROKEN)


def head_lost(simulator: Simulator) -> BaseException:
    (pod,) = simulator.store.list("pods")
    about = {"kind": "Pod", "namespace": "default", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
    event = {"reason": "TaintManagerEviction", "message": "Marking for deletion Pod", "type": "Normal"}
    event |= {"metadata": {"name": f"{about['name']}.1", "namespace": "default"}, "involvedObject": about}
    simulator.store.create("events", event)
    simulator.kubelet.kill_pod("default", about["name"])
    return ConnectionError(BROKEN)


def exception_in_a_task(simulator: Simulator) -> BaseException:
    rows = {
        "task_id": "c8ef45ccd0112571ffffffffffffffffffffffff01000000", "name": "square", "state": "FAILED",
        "job_id": "01000000", "error_type": "TASK_EXECUTION_EXCEPTION", "type": "NORMAL_TASK",
        "error_message": "ray::square() (pid=7)\nValueError: odd number 3\n",
        "runtime_env_info": {"serialized_runtime_env": f'{{"env_vars": {{"KEY": "{CANARY}"}}}}'},
    }  # fmt: skip
    (cluster,) = simulator.store.list("rayclusters")
    simulator.kubelet.fake_rows("default", cluster["metadata"]["name"])["tasks"].append(rows)
    task_error = type("RayTaskError(ValueError)", (ValueError,), {})
    return task_error("ray::square() (pid=7)\nValueError: odd number 3")


def nothing(simulator: Simulator) -> BaseException:
    return AssertionError("the step does not begin")


HUGE: dict[str, Any] = {
    "rayClusterSpec": {"headGroupSpec": head_group(cpus=1000, memory="2Gi"), "workerGroupSpecs": []}
}
CAUSES: dict[str, tuple[Callable[[Simulator], BaseException], dict[str, Any], str]] = {
    "a bad image": (nothing, {"image": "registry.example.com/missing:1", "timeout": 4}, "missing:1"),
    "memory that ran out": (out_of_memory, {}, "container ray-head of pod"),
    "a lost head": (head_lost, {}, "the head was lost: pod dagster-"),
    "an exception in a task": (exception_in_a_task, {}, "task square failed"),
    "a cluster that fits on no node": (nothing, {"spec": HUGE, "timeout": 4}, "Insufficient cpu"),
    "a queue": (nothing, {"spec": {"suspend": True}, "queue": "team-a", "queue_timeout": 1}, "team-a"),
}


@pytest.mark.many_processes
@pytest.mark.parametrize(("happens", "more", "words"), CAUSES.values(), ids=CAUSES)
def test_the_summary_names_the_cause(
    simulator: Simulator,
    tmp_path: Path,
    happens: Callable[[Simulator], BaseException],
    more: dict[str, Any],
    words: str,
) -> None:
    told = failed(simulator, tmp_path, happens, **more)
    assert words in told.cause, told.summary
    assert len(told.summary.splitlines()) <= 10
    assert told.files["index.md"].startswith("# Why `model` failed")
    assert told.summary in told.files["index.md"]
    assert {"rayjob.yaml", "error.txt", "versions.json"} <= told.files.keys()
    assert kept_objects(simulator) == []


@pytest.mark.many_processes
def test_tasks_of_a_shared_cluster_are_nobodys_while_the_job_is_not_known(simulator: Simulator, tmp_path: Path) -> None:
    sharing = {"enabled": True}
    told = failed(simulator, tmp_path, exception_in_a_task, kind=KubeRayCluster, cluster_sharing=sharing)
    assert "tasks.yaml" not in told.files
    assert "task square" not in told.summary
    assert "Ray's tasks could not be read: the job's id in Ray is not known" in told.files["index.md"]


# What must not be in it


@pytest.mark.many_processes
def test_no_file_has_a_credential(tmp_path: Path) -> None:
    """A canary is where users have credentials, each place with one of its own, and in what a container prints."""
    said = f"GET /x Authorization: Bearer {CANARY}1\nlogging in as https://me:{CANARY}2@example.com with {CANARY}5\n"
    options = KubeletOptions(times=FAST, crash_log=said)
    with simulated(kubelet_options=options) as simulator:
        told = failed(
            simulator,
            tmp_path,
            nothing,
            image="rayproject/ray:crashing",
            env_vars={
                "REGISTRY_TOKEN": f"{CANARY}3",
                "DATABASE": f"postgres://me:{CANARY}4@db/x",
                "PLAIN": f"{CANARY}5",
            },
            runtime_env={"env_vars": {"API_KEY": f"{CANARY}6"}},
            metadata={"annotations": {"example.com/password": f"{CANARY}7"}},
            timeout=6,
        )
    assert any(name.endswith(".log") for name in told.files), told.files.keys()
    assert [name for name, text in told.files.items() if CANARY in text] == []
    assert CANARY not in told.summary
    assert "REGISTRY_TOKEN" in told.files["rayjob.yaml"]
    assert "logging in as https://(redacted)@example.com" in "".join(told.files.values())


@pytest.mark.many_processes
def test_runtime_environments_of_tasks_are_left_out(simulator: Simulator, tmp_path: Path) -> None:
    told = failed(simulator, tmp_path, exception_in_a_task)
    assert "odd number 3" in told.files["tasks.yaml"]
    assert [name for name, text in told.files.items() if CANARY in text] == []


# What cannot be done


@pytest.mark.many_processes
@pytest.mark.parametrize("kind", [KubeRayInteractiveJob, KubeRayCluster])
def test_evidence_that_cannot_be_written_costs_one_warning(
    simulator: Simulator, tmp_path: Path, kind: type[KubeRayInteractiveJob] | type[KubeRayCluster]
) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    told = failed(simulator, tmp_path, kind=kind, evidence=str(tmp_path / "file" / "kept"))
    assert told.metadata == {}
    assert told.log.count("the evidence of the failure could not be") == 1
    assert "ValueError: told to fail" in told.log
    assert kept_objects(simulator) == []


@pytest.mark.many_processes
def test_what_may_not_be_read_is_named_and_the_rest_is_there(simulator: Simulator, tmp_path: Path) -> None:
    simulator.faults.add(Fault(method="GET", path=r"/pods\?", status=403))
    simulator.faults.add(Fault(method="GET", path=r"/events\?", status=403))
    told = failed(simulator, tmp_path, kind=KubeRayCluster)
    assert "pods could not be read:" in told.files["index.md"]
    assert "events could not be read:" in told.files["index.md"]
    assert "ValueError: told to fail" in told.cause
    assert "state: ready" in told.files["raycluster.yaml"]


@pytest.mark.many_processes
def test_a_step_that_succeeds_leaves_nothing(simulator: Simulator, tmp_path: Path) -> None:
    @dg.asset
    def model(ray_cluster: RayResource) -> None: ...

    cluster = KubeRayInteractiveJob(**fields(simulator, evidence=str(tmp_path / "kept")))
    assert dg.materialize([model], resources={"ray_cluster": cluster}).success
    assert not (tmp_path / "kept").exists()
