"""What a driver would stumble over is told before it tries, and what happens to a cluster afterwards."""

import dataclasses
import importlib.metadata
import logging
import platform
import threading
from collections.abc import Callable, Generator
from typing import Any

import dagster as dg
import pytest
from fault_world import FAST, Outcome, eventually, fields, left, resource, run_step, simulated
from scripted_server import ScriptedServer, answer
from typing_extensions import override

from dagster_ray.core import DagsterContext, Deadline, StepOutcome
from dagster_ray.kuberay import KubeRayInteractiveJob
from dagster_ray.kuberay._head.dashboard import greet
from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
from dagster_ray.kuberay._kubernetes.errors import ConflictError, ForbiddenError, NotFoundError
from dagster_ray.kuberay._kubernetes.fields import time_of
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
from dagster_ray.kuberay._status.cluster_state import Created, created
from dagster_ray.kuberay._status.errors import (
    ClusterGoneError,
    RayJobEndedError,
    TokenRequiredError,
    VersionMismatchError,
    WriteDeniedError,
)
from dagster_ray.kuberay._steps.creation import ClusterRequest
from dagster_ray.kuberay._steps.registration import register
from dagster_ray.kuberay._steps.step_cluster import StepCluster
from dagster_ray.kuberay._steps.wait import Reach
from dagster_ray.kuberay.groups import head_group
from dagster_ray.simulator import FakeRayNode, Fault, KubeletOptions, NodeOrder, Simulator
from dagster_ray.simulator._kubelet.nodes import CLIENT_PORT

pytestmark = pytest.mark.many_processes  # make test runs them

CANARY = "canary-5d41402abc4b"
RAY = importlib.metadata.version("ray")
TARGET = "RayJob default/job"


def greeted(reply: Any, token: str | None = None) -> None:
    with ScriptedServer(reply) as server:
        greet(TARGET, server.url, token, 10, logging.getLogger("test"))


def versions(ray: str, python: str) -> Any:
    return answer(200, {"data": {"rayVersion": ray, "pythonVersion": python}})


def test_a_cluster_of_our_versions_is_greeted() -> None:
    greeted(versions(RAY, platform.python_version()))


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_missing_or_wrong_is_told_and_never_quoted(status: int) -> None:
    with pytest.raises(TokenRequiredError) as caught:
        greeted(answer(status, "Unauthorized"), CANARY)
    assert str(status) in str(caught.value)
    assert CANARY not in str(caught.value)


def test_another_ray_is_told_with_both_versions() -> None:
    with pytest.raises(VersionMismatchError) as caught:
        greeted(versions("2.1.0", platform.python_version()))
    assert caught.value.problem == f"RayJob default/job runs Ray 2.1.0, but the step runs Ray {RAY}."


def test_another_python_is_told_unless_rays_own_variable_lets_it_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VersionMismatchError, match=r"runs Python 3\.7\.1"):
        greeted(versions(RAY, "3.7.1"))
    monkeypatch.setenv("RAY_IGNORE_VERSION_MISMATCH", "1")
    greeted(versions(RAY, "3.7.1"))


def test_a_dashboard_that_does_not_answer_keeps_nobody_from_connecting() -> None:
    greeted(answer(404, "404: Not Found"))


# On the simulator


class Mute(FakeRayNode):
    """A head whose client port is closed."""

    @override
    def address(self, port: int) -> tuple[str, int] | None:
        return None if port == CLIENT_PORT else super().address(port)


class Guarded(FakeRayNode):
    """A head that wants a token of its own, which its spec does not tell."""

    def __init__(self, order: NodeOrder) -> None:
        super().__init__(dataclasses.replace(order, token=CANARY))


def test_a_client_port_that_stays_closed_is_told_apart_from_a_slow_start() -> None:
    with simulated(kubelet_options=KubeletOptions(times=FAST, nodes=Mute)) as simulator:
        outcome = run_step(resource(simulator, timeout=3))
        assert not outcome.success
        assert "[dagster-ray: client-port-closed]" in outcome.log
        assert left(simulator) == []


def test_a_head_with_a_token_of_its_own_is_told() -> None:
    with simulated(kubelet_options=KubeletOptions(times=FAST, nodes=Guarded)) as simulator:
        outcome = run_step(resource(simulator))
        assert not outcome.success
        assert "[dagster-ray: token-required]" in outcome.log
        assert CANARY not in outcome.log
        assert left(simulator) == []


@pytest.fixture
def simulator() -> Generator[Simulator]:
    with simulated() as world:
        yield world


def with_token(simulator: Simulator) -> KubeRayInteractiveJob:
    group = head_group(cpus=1, memory="2Gi")
    cluster: dict[str, Any] = {"headGroupSpec": group, "workerGroupSpecs": [], "authOptions": {"mode": "token"}}
    return resource(simulator, spec={"rayClusterSpec": cluster})


def test_the_token_of_the_spec_is_read_from_its_secret(simulator: Simulator) -> None:
    outcome = run_step(with_token(simulator))
    assert outcome.success, outcome.log
    (secret,) = simulator.store.list("secrets")
    assert secret["data"]["auth_token"] not in outcome.log


def test_a_missing_right_to_read_the_token_is_named(simulator: Simulator) -> None:
    simulator.faults.deny("get", "secrets")
    outcome = run_step(with_token(simulator))
    assert not outcome.success
    assert "allow `get` on `secrets`" in outcome.log
    assert left(simulator) == []


@pytest.fixture
def api(simulator: Simulator) -> Generator[KubernetesApi]:
    opened = KubernetesApi.load(str(simulator.kubeconfig))
    yield opened
    opened.close()


def cluster_of(api: KubernetesApi, job: Created) -> StepCluster:
    """Return what holds a step's cluster once it is made."""
    cluster = StepCluster(api, Reach("auto", None, 60), dg.build_init_resource_context(), Deadline(30))
    cluster.use(job, ClusterRequest(RAYJOBS, (job.name,), dict(job.manifest)))
    return cluster


def made(simulator: Simulator) -> Created:
    assert run_step(resource(simulator, lifecycle={"connect": False, "cleanup": "never"})).success
    (job,) = simulator.store.list("rayjobs")
    return created(RAYJOBS, "default", job)


def test_a_driver_that_connects_is_written_into_the_rayjob(simulator: Simulator, api: KubernetesApi) -> None:
    job = made(simulator)
    api.get(RAYJOBS, "default", job.name, Deadline(10))  # which tells the time, as the step's POST does
    register(cluster_of(api, job), "01000000", Deadline(10))
    (rayjob,) = simulator.store.list("rayjobs")
    assert rayjob["spec"]["jobId"] == "01000000"
    assert time_of(rayjob["metadata"]["annotations"]["dagster/alive-at"])


def test_a_rayjob_that_goes_while_the_driver_connects_is_told(simulator: Simulator, api: KubernetesApi) -> None:
    job = made(simulator)
    simulator.store.delete("rayjobs", "default", job.name)
    with pytest.raises(ClusterGoneError):
        cluster_of(api, job).check()
    with pytest.raises(ClusterGoneError):
        register(cluster_of(api, job), "01000000", Deadline(10))


def test_a_rayjob_that_was_made_anew_under_the_name_is_not_ours(simulator: Simulator, api: KubernetesApi) -> None:
    job = dataclasses.replace(made(simulator), uid="another")
    with pytest.raises(ClusterGoneError):
        cluster_of(api, job).check()
    with pytest.raises(ClusterGoneError):
        register(cluster_of(api, job), "01000000", Deadline(10))


def test_an_api_server_that_is_away_does_not_end_an_attempt_to_connect(
    simulator: Simulator, api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dagster_ray.kuberay._steps.step_cluster._CHECK_SECONDS", 0.5)
    job = made(simulator)
    with simulator.faults.outage():
        cluster_of(api, job).check()


def test_a_rayjob_that_the_operator_has_ended_ends_the_attempts(simulator: Simulator, api: KubernetesApi) -> None:
    job = made(simulator)
    (rayjob,) = simulator.store.list("rayjobs")
    simulator.operator.freeze()
    simulator.store.replace_status(
        "rayjobs", {**rayjob, "status": {**rayjob["status"], "jobDeploymentStatus": "Failed", "reason": "AppFailed"}}
    )
    with pytest.raises(RayJobEndedError, match="AppFailed"):
        cluster_of(api, job).check()


# How a failed step ends


STRATEGY = {"onSuccess": {"policy": "DeleteCluster"}, "onFailure": {"policy": "DeleteNone"}}


def test_what_the_spec_says_for_a_failure_holds_although_ray_says_succeeded(
    simulator: Simulator, api: KubernetesApi
) -> None:
    cluster = resource(simulator, spec={"deletionStrategy": STRATEGY}, lifecycle={"connect": False, "cleanup": "never"})
    assert run_step(cluster).success
    (rayjob,) = simulator.store.list("rayjobs")
    job = created(RAYJOBS, "default", rayjob)
    step = cluster_of(api, job)
    step.record_outcome(StepOutcome.FAILED, Deadline(10), always=False)
    assert not step.may_exist, "the operator deletes it"
    (rayjob,) = simulator.store.list("rayjobs")
    assert rayjob["spec"]["deletionStrategy"]["onSuccess"] == {"policy": "DeleteNone"}
    assert rayjob["metadata"]["labels"]["dagster/outcome"] == "failed"


def test_an_outcome_that_is_denied_leaves_the_deletion_to_the_step(simulator: Simulator, api: KubernetesApi) -> None:
    job = made(simulator)
    simulator.faults.add(Fault(method="PATCH", status=422))
    step = cluster_of(api, job)
    step.record_outcome(StepOutcome.FAILED, Deadline(10), always=False)
    assert step.may_exist


# Heads that die


def test_a_head_that_dies_while_it_is_waited_for_is_replaced_by_the_next() -> None:
    """The first head never opens its client port; the operator makes a new one when it is gone."""
    made: list[FakeRayNode] = []

    def node(order: NodeOrder) -> FakeRayNode:
        made.append((FakeRayNode if made else Mute)(order))
        return made[-1]

    with simulated(kubelet_options=KubeletOptions(times=FAST, nodes=node)) as simulator:

        def kill() -> None:
            for pod in simulator.store.list("pods"):
                if pod.get("status", {}).get("podIP"):
                    simulator.kubelet.kill_pod("default", pod["metadata"]["name"])
                    unsubscribe()

        def look(kind: str, plural: str, obj: dict[str, Any]) -> None:
            if plural == "rayjobs" and obj.get("status", {}).get("jobDeploymentStatus") == "Waiting":
                threading.Thread(target=kill).start()

        unsubscribe = simulator.store.subscribe(look)
        outcome = run_step(resource(simulator))
        assert outcome.success, outcome.log
        assert [type(head) for head in made] == [Mute, FakeRayNode]


def connecting(simulator: Simulator, act: Callable[[str], object], timeout: float) -> Outcome:
    """Run a step whose driver tries to connect to a head without Ray; `act` gets the RayJob's name meanwhile."""

    class Disturbed(KubeRayInteractiveJob):
        @override
        def on_ready(self, context: DagsterContext) -> None:
            assert self.job_name is not None
            act(self.job_name)

    given = fields(simulator, lifecycle={"cleanup": "on_exception"}, timeout=timeout)
    return run_step(Disturbed(**given))


def kill_heads(simulator: Simulator) -> None:
    for pod in simulator.store.list("pods"):
        simulator.kubelet.kill_pod("default", pod["metadata"]["name"])


def test_a_head_that_dies_while_the_driver_connects_ends_the_step_at_its_deadline(simulator: Simulator) -> None:
    outcome = connecting(simulator, lambda _: kill_heads(simulator), timeout=3)
    assert not outcome.success
    assert "[dagster-ray: not-ready]" in outcome.log
    assert left(simulator) == []


def test_a_driver_that_connects_learns_the_next_head_from_the_raycluster(
    simulator: Simulator, api: KubernetesApi
) -> None:
    """The RayJob's copy of the status goes on showing the pod that was killed; the API server answers 404 for it."""
    job = made(simulator)
    waiting = cluster_of(api, job)
    waiting.wait().close()
    old = waiting.head_pod
    kill_heads(simulator)
    eventually(lambda: head_of(simulator) not in {old, ""})
    with pytest.raises(NotFoundError, match=f'pods "{old}" not found'):
        api.open_stream("default", str(old), 10001, 5)
    assert simulator.store.list("rayjobs")[0]["status"]["rayClusterStatus"]["head"]["podName"] == old
    waiting.check()
    assert waiting.head_pod == head_of(simulator)
    waiting.note(simulator.store.list("rayjobs")[0])
    assert waiting.head_pod == head_of(simulator), "the older copy does not bring the old pod back"


def head_of(simulator: Simulator) -> str:
    (raycluster,) = simulator.store.list("rayclusters")
    return str(raycluster["status"].get("head", {}).get("podName") or "")


def test_a_rayjob_that_is_deleted_while_the_driver_connects_ends_the_step_long_before(simulator: Simulator) -> None:
    outcome = connecting(simulator, lambda name: simulator.store.delete("rayjobs", "default", name), timeout=600)
    assert not outcome.success
    assert "[dagster-ray: cluster-gone]" in outcome.log
    assert left(simulator) == []


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(method="PATCH", status=503, times=3), id="503"),
        pytest.param(Fault(method="PATCH", status=429, retry_after=1, times=1), id="429 with Retry-After"),
        pytest.param(Fault(method="PATCH", reset=True, times=3), id="a connection that breaks"),
        pytest.param(Fault(method="PATCH", lose_answer=True, times=1), id="an answer that is lost"),
    ],
)
def test_the_job_id_is_written_although_the_api_server_is_away_for_a_while(
    simulator: Simulator, api: KubernetesApi, fault: Fault
) -> None:
    job = made(simulator)
    simulator.faults.add(fault)
    register(cluster_of(api, job), "01000000", Deadline(30))
    (rayjob,) = simulator.store.list("rayjobs")
    assert rayjob["spec"]["jobId"] == "01000000"
    assert fault.times == 0


@pytest.mark.parametrize("status", [400, 422])
def test_a_job_id_that_is_denied_is_told_in_the_servers_words(
    simulator: Simulator, api: KubernetesApi, status: int
) -> None:
    """A denial says nothing of the RayJob's life."""
    job = made(simulator)
    simulator.faults.add(Fault(method="PATCH", status=status))
    with pytest.raises(WriteDeniedError, match=rf"spec\.jobId\) could not be written into {job.target}: told to fail"):
        register(cluster_of(api, job), "01000000", Deadline(10))


def test_a_conflict_while_the_job_id_is_written_is_no_deletion(simulator: Simulator, api: KubernetesApi) -> None:
    job = made(simulator)
    simulator.faults.add(Fault(method="PATCH", status=409))
    with pytest.raises(ConflictError):
        register(cluster_of(api, job), "01000000", Deadline(10))


def test_a_name_that_an_earlier_rayjob_of_ours_still_has_is_waited_for(simulator: Simulator) -> None:
    old = made(simulator)
    labels, spec = old.manifest["metadata"]["labels"], old.manifest["spec"]
    metadata = {"name": "nightly", "namespace": "default", "labels": labels, "finalizers": ["example.com/slow"]}
    simulator.store.create("rayjobs", {"metadata": metadata, "spec": spec})
    simulator.store.delete("rayjobs", "default", "nightly")

    def let_it_go() -> None:
        eventually(lambda: [r for r in simulator.requests if "watch=true" in r.path and "nightly" in r.path])
        body: dict[str, Any] = {"metadata": {"finalizers": None}}
        simulator.store.patch("rayjobs", "default", "nightly", body, "application/merge-patch+json")

    thread = threading.Thread(target=let_it_go)
    thread.start()
    outcome = run_step(resource(simulator, metadata={"name": "nightly"}))
    thread.join()
    assert outcome.success, outcome.log
    assert "This step waits for its name." in outcome.log


def test_a_missing_right_to_write_the_job_id_is_named(simulator: Simulator, api: KubernetesApi) -> None:
    job = made(simulator)
    simulator.faults.deny("patch", "rayjobs")
    with pytest.raises(ForbiddenError, match=r"allow `patch` on `rayjobs\.ray\.io` in a Role of namespace default"):
        register(cluster_of(api, job), "01000000", Deadline(10))
