"""The operator over a store, with a clock that jumps."""

import pytest
from operator_world import World, container, group, raycluster, rayjob

from dagster_ray.simulator._api.statuses import Refused
from dagster_ray.simulator._operator.running import Limits


def test_an_interactive_job_goes_from_its_post_to_complete_and_its_cluster_goes() -> None:
    world = World()
    world.until_running()
    assert world.store.get("services", "ns", "job-head-svc") is not None

    world.jobs["01000000"] |= {"status": "SUCCEEDED", "end_time": 1_790_000_060_000}
    world.run(10)

    status = world.job()
    assert (status["jobDeploymentStatus"], status["jobStatus"], status["succeeded"]) == ("Complete", "SUCCEEDED", 1)
    assert "message" not in status
    assert not world.cluster()
    assert not world.pods()


def test_a_job_id_that_was_set_before_the_cluster_is_ready_is_taken_when_it_is() -> None:
    world = World()
    world.create(rayjob(jobId="01000000"))
    world.jobs["01000000"] = {"status": "RUNNING"}
    world.run(5)

    assert world.job()["jobDeploymentStatus"] == "Running"


@pytest.mark.parametrize(
    ("version", "state", "reason"),
    [
        pytest.param("1.3", "", "InvalidRayJobSpec", id="1.3 only tells"),
        pytest.param("1.4", "", "InvalidRayJobSpec", id="1.4 only tells"),
        pytest.param("1.5", "ValidationFailed", None, id="1.5 writes it"),
    ],
)
def test_an_invalid_rayjob(version: str, state: str, reason: str | None) -> None:
    world = World(version)
    world.create(rayjob(suspend=True))
    world.run(1)

    assert world.job().get("jobDeploymentStatus", "") == state
    events = [event for event in world.store.list("events") if event["type"] == "Warning"]
    assert {event["reason"] for event in events} == {"InvalidRayJobSpec"}
    if reason is not None:
        assert events[0]["count"] > 5


@pytest.mark.parametrize(
    ("version", "heads"),
    [("1.4", 1), ("1.5.0", 0), ("1.5.2", 0), ("1.6", 1), ("1.7", 1)],
    ids=str,
)
def test_a_lost_head_of_a_job_is_made_again_except_in_1_5(version: str, heads: int) -> None:
    world = World(version)
    world.until_running()
    lost = world.pods("head")[0]["metadata"]["name"]
    world.kubelet.kill_pod("ns", lost)
    world.jobs.clear()
    world.run(20)

    assert len(world.pods("head")) == heads
    assert world.job()["jobDeploymentStatus"] == "Running"
    assert world.cluster()["status"]["state"] == "ready"


def test_a_lost_head_of_a_cluster_without_a_job_is_made_again_in_1_5_too() -> None:
    world = World("1.5")
    world.create(raycluster())
    world.run(5)
    world.kubelet.kill_pod("ns", world.pods("head")[0]["metadata"]["name"])
    world.run(5)

    assert world.condition("HeadPodReady") == ("True", "HeadPodRunningAndReady", "")


@pytest.mark.parametrize(
    ("version", "ended"), [pytest.param("1.6", False, id="1.6 never"), pytest.param("1.7", True, id="1.7 after 300 s")]
)
def test_a_dashboard_that_never_answers_again_ends_the_job(version: str, ended: bool) -> None:
    world = World(version)
    world.until_running()
    world.dashboard_down = True
    world.run(400)

    assert (world.job()["jobDeploymentStatus"] == "Failed") is ended
    assert (world.job().get("reason") == "JobStatusCheckTimeoutExceeded") is ended


def test_the_deadlines_end_a_job() -> None:
    world = World()
    world.create(rayjob(preRunningDeadlineSeconds=8, shutdownAfterJobFinishes=True))
    world.run(15)

    status = world.job()
    assert (status["jobDeploymentStatus"], status["reason"]) == ("Failed", "PreRunningDeadlineExceeded")
    assert status["message"].endswith("StartTime: 2026-01-01 00:00:00 +0000 UTC. PreRunningDeadlineSeconds: 8")
    assert not world.cluster()


def test_a_failed_job_is_tried_again_with_a_new_cluster() -> None:
    world = World()
    world.create(rayjob(submissionMode="HTTPMode", entrypoint="false", backoffLimit=1))
    world.run(3)
    first = world.job()["rayClusterName"]
    world.jobs[world.job()["jobId"]] = {"status": "FAILED", "message": "no"}
    world.run(10)

    assert world.job()["failed"] == 1
    assert world.job()["rayClusterName"] != first
    assert world.job()["jobDeploymentStatus"] == "Running"


def test_a_suspended_job_loses_its_cluster_and_gets_a_new_one_afterwards() -> None:
    world = World()
    world.until_running()
    world.merge("rayjobs", "job", {"spec": {"suspend": True}})
    world.run(10)
    assert world.job()["jobDeploymentStatus"] == "Suspended"
    assert not world.cluster()

    world.merge("rayjobs", "job", {"spec": {"suspend": False}})
    world.run(10)
    assert world.job()["jobDeploymentStatus"] == "Running"


def test_a_deleted_running_job_is_stopped_and_everything_goes() -> None:
    world = World()
    world.until_running()
    world.store.delete("rayjobs", "ns", "job")
    world.run(2)

    assert world.calls[-1].path == "/api/jobs/01000000/stop"
    assert [world.store.list(plural) for plural in ("rayjobs", "rayclusters", "services", "pods")] == [[], [], [], []]


def test_a_job_without_its_submitter_gets_the_submitter_that_finishes_it() -> None:
    world = World()
    world.create(rayjob(submissionMode="K8sJobMode", entrypoint="true"))
    world.run(5)
    world.jobs[world.job()["jobId"]] = {"status": "SUCCEEDED"}
    world.run(12)

    assert world.job()["jobDeploymentStatus"] == "Complete"
    assert world.store.list("jobs")[0]["status"]["succeeded"] == 1


def test_a_frozen_operator_does_nothing_until_it_is_thawed() -> None:
    world = World()
    world.operator.freeze()
    world.create(rayjob())
    world.run(30)
    assert world.job() == {}

    world.operator.thaw()
    world.run(5)
    assert world.job()["jobDeploymentStatus"] == "Waiting"


def test_an_operator_that_watches_other_namespaces_says_nothing() -> None:
    world = World(namespaces=frozenset({"other"}))
    world.create(rayjob())
    world.run(10)

    assert world.job() == {}
    assert world.told() == []


def test_a_foreign_controller_is_left_alone() -> None:
    world = World()
    world.create(rayjob(managedBy="kueue.x-k8s.io/multikueue"))
    world.run(10)

    assert world.job() == {}


def test_a_refused_pod_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    create = world.store.create

    def refuse(plural: str, obj: object, **more: object) -> object:
        if plural == "pods":
            raise Refused(403, "Forbidden", 'pods "x" is forbidden: exceeded quota: small')
        return create(plural, obj, **more)  # pyright: ignore[reportArgumentType, reportCallIssue]

    with monkeypatch.context() as patched:
        patched.setattr(world.store, "create", refuse)
        world.create(raycluster())
        world.run(2)
        text = 'pods "x" is forbidden: exceeded quota: small'
        assert world.condition("ReplicaFailure") == ("True", "FailedCreateHeadPod", text)
        assert ("FailedToCreateHeadPod", text) in [(reason, said[-len(text) :]) for reason, said in world.told()]
    world.run(10)
    assert world.condition("ReplicaFailure") is None
    assert world.cluster()["status"]["state"] == "ready"


def test_worker_groups_follow_their_replicas() -> None:
    world = World()
    world.create(raycluster(workers=[group(replicas=2)]))
    world.run(10)
    assert len(world.pods("worker")) == 2
    assert world.cluster()["status"]["readyWorkerReplicas"] == 2

    spec = world.cluster()["spec"]
    spec["workerGroupSpecs"][0]["replicas"] = 1
    world.merge("rayclusters", "cluster", {"spec": spec})
    world.run(10)
    assert len(world.pods("worker")) == 1
    assert "DeletedWorkerPod" in [reason for reason, _ in world.told()]


def test_an_idle_head_with_an_autoscaler_gets_one_worker() -> None:
    world = World()
    obj = raycluster(workers=[group(replicas=0)], enableInTreeAutoscaling=True)
    obj["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = "0"
    world.create(obj)
    world.run(10)

    assert len(world.pods("worker")) == 1


@pytest.mark.parametrize(("version", "has_secret"), [("1.5.0", False), ("1.5.1", True), ("1.7", True)])
def test_token_authentication_makes_a_secret_since_1_5_1(version: str, has_secret: bool) -> None:
    world = World(version)
    world.create(raycluster(authOptions={"mode": "token"}))
    world.run(5)

    env = [item["name"] for item in world.pods("head")[0]["spec"]["containers"][0]["env"]]
    assert (world.store.get("secrets", "ns", "cluster") is not None) is has_secret
    assert ("RAY_AUTH_TOKEN" in env) is has_secret


def test_the_token_is_sent_to_the_dashboard_and_is_in_no_repr() -> None:
    world = World()
    obj = rayjob(jobId="01000000")
    obj["spec"]["rayClusterSpec"]["authOptions"] = {"mode": "token"}
    world.create(obj)
    world.run(5)

    token = world.calls[-1].token
    assert token is not None
    assert len(token) == 44
    assert token not in repr(world.calls[-1])


def test_suspending_a_cluster_takes_its_pods_and_keeps_its_service() -> None:
    world = World()
    world.create(raycluster())
    world.run(5)
    world.merge("rayclusters", "cluster", {"spec": {"suspend": True}})
    world.run(10)
    assert (world.pods(), world.cluster()["status"]["state"]) == ([], "suspended")
    assert len(world.store.list("services")) == 1

    world.merge("rayclusters", "cluster", {"spec": {"suspend": None}})
    world.run(10)
    assert world.pods() == []

    world.merge("rayclusters", "cluster", {"spec": {"suspend": False}})
    world.run(10)
    assert world.cluster()["status"]["state"] == "ready"


def test_an_operator_with_other_limits_keeps_them() -> None:
    world = World(limits=Limits(requeue_seconds=1.0, status_check_seconds=5.0))
    world.until_running()
    world.dashboard_down = True
    world.run(10)

    assert world.job()["message"].endswith("exceeded timeout of 5s")


def test_a_container_without_an_image_that_can_be_pulled_is_explained() -> None:
    world = World()
    obj = raycluster()
    obj["spec"]["headGroupSpec"]["template"]["spec"]["containers"] = [container(image="ray:missing")]
    world.create(obj)
    world.run(1)

    condition = world.condition("HeadPodReady")
    assert condition is not None
    assert condition[:2] == ("False", "ErrImagePull")
    assert "not found" in condition[2]

    world.run(5)  # between two attempts the kubelet backs off

    condition = world.condition("HeadPodReady")
    assert condition is not None
    assert condition[:2] == ("False", "ImagePullBackOff")
