"""Whose failure the error of a step is, and whether the step is tried again."""

from collections.abc import Sequence

import pytest
from dagster._utils.error import serializable_error_info_from_exc_info

from dagster_ray.core.errors import ConnectFailedError, DagsterRayError, InvalidFieldError, NotReadyError
from dagster_ray.core.failures import FailureClass
from dagster_ray.core.failures.causes import ErrorFacts, Judgement, Loss, is_retried, judged
from dagster_ray.core.failures.reading import facts_of, facts_of_info

USER: FailureClass = "user"
INFRASTRUCTURE: FailureClass = "infrastructure"
CONFIGURATION: FailureClass = "configuration"
R = "ray.exceptions."
SPOT_HEAD = Loss("preempted", "pod a-head on node n is taken away", is_head=True)
SPOT_WORKER = Loss("preempted", "pod a-worker on node n is taken away")
DRAINED = Loss("evicted", "pod a-worker on node n is taken away: EvictionByEvictionAPI")
NO_NODE = Loss("node-lost", "pod a-worker on node n: node is not ready")
REPLACED = Loss("head-replaced", "the head pod a-head was replaced", is_head=True)
OOM_HEAD = Loss("out-of-memory", "container ray-head of pod a-head was killed for want of memory", is_head=True)
FULL_DISK = Loss("out-of-storage", "pod a-worker on node n: usage exceeds the total limit of containers 1Gi")
OOM_WORKER = Loss("out-of-memory", "container ray-worker of pod a-worker was killed for want of memory")
CRASH_TEXT = (
    "The worker died unexpectedly while executing this task. Potential root causes: (1) The process is killed by "
    "SIGKILL by OOM killer due to high memory usage. (2) ray stop --force is called."
)
LOST_NODE = "Task failed because the node it was running on is dead or unavailable. Node IP: 10.0.0.1"
BROKEN = "Failed during this or a previous request. Exception that broke the connection: <StatusCode.UNAVAILABLE>"


def error(type_: str, text: str = "", declared: FailureClass | None = None) -> tuple[ErrorFacts, ...]:
    return (ErrorFacts(type_, text, declared),)


DEAD_PROCESS = error(R + "ActorDiedError", "The actor is dead because its worker process has died. exit code 2")
CRASH = error(R + "WorkerCrashedError", CRASH_TEXT)
MINE = error("builtins.RuntimeError", "training failed")
CAUSES: dict[str, tuple[tuple[ErrorFacts, ...], Sequence[Loss], FailureClass]] = {
    # The step's own code
    "a bug": (error("builtins.ValueError", "no"), (), USER),
    "a bug while a worker is taken away": (error("builtins.ValueError", "no"), (SPOT_WORKER,), USER),
    "a bug in a task": (error(R + "RayTaskError(ValueError)") + error("builtins.ValueError", "no"), (), USER),
    "a bug in a task on a cluster that loses its head": (
        error(R + "RayTaskError(KeyError)") + error("builtins.KeyError", "no"),
        (SPOT_HEAD,),
        USER,
    ),
    "a connection of the step's own": (error("requests.exceptions.ConnectionError", "Max retries"), (SPOT_HEAD,), USER),
    "a refused connection of the step's own": (error("builtins.ConnectionRefusedError", "111"), (), USER),
    "an actor that the step has killed": (
        error(R + "ActorDiedError", "The actor is dead because it was killed by `ray.kill`."),
        (SPOT_WORKER,),
        USER,
    ),
    "an actor whose constructor fails": (
        error(R + "ActorDiedError", "The actor died because of an error raised in its creation task"),
        (SPOT_WORKER,),
        USER,
    ),
    "a task that was cancelled": (error(R + "TaskCancelledError", "Task was cancelled"), (SPOT_WORKER,), USER),
    "ray.get with a timeout": (error(R + "GetTimeoutError", "Get timed out"), (SPOT_WORKER,), USER),
    "an object that was freed": (error(R + "ObjectFreedError", "manually freed"), (), USER),
    "too many calls": (error(R + "PendingCallsLimitExceeded", ""), (), USER),
    "a worker that crashed": (CRASH, (), USER),
    "an actor whose process died": (DEAD_PROCESS, (), USER),
    # Memory
    "Ray's memory monitor": (error(R + "OutOfMemoryError", "Task was killed due to the node running low"), (), USER),
    "an actor that the memory monitor ended": (
        error(R + "ActorDiedError", "killed: the node was running low on memory"),
        (SPOT_WORKER,),
        USER,
    ),
    "a worker's pod without memory": (CRASH, (OOM_WORKER,), USER),
    "a worker's pod without disk": (CRASH, (FULL_DISK,), USER),
    "a worker without memory, whose node is then drained": (CRASH, (DRAINED, OOM_WORKER), USER),
    "a head without memory, whose node is then taken away": (CRASH, (SPOT_HEAD, OOM_HEAD), USER),
    "a head without memory": (error("builtins.ConnectionError", BROKEN), (OOM_HEAD,), USER),
    "a node that died because its pod had no memory": (error(R + "NodeDiedError", LOST_NODE), (OOM_WORKER,), USER),
    "a job that was lost with a head without memory": (
        error("dagster_ray.pipes.errors.JobLostError", "lost", INFRASTRUCTURE),
        (OOM_HEAD,),
        USER,
    ),
    # Nodes
    "a worker that crashed with its spot node": (CRASH, (SPOT_WORKER,), INFRASTRUCTURE),
    "an actor whose process died with a node that is drained": (DEAD_PROCESS, (DRAINED,), INFRASTRUCTURE),
    "a node that died": (error(R + "NodeDiedError", LOST_NODE), (), INFRASTRUCTURE),
    "a node that died, of a task": (
        error(R + "RayTaskError(NodeDiedError)") + error(R + "NodeDiedError", LOST_NODE),
        (NO_NODE,),
        INFRASTRUCTURE,
    ),
    "an actor whose node died": (
        error(R + "ActorDiedError", "The actor died because its node has died. Node Id: 7"),
        (),
        INFRASTRUCTURE,
    ),
    "an actor whose node was preempted": (
        error(R + "ActorDiedError", "the actor's node was preempted: drained"),
        (),
        INFRASTRUCTURE,
    ),
    "an actor that does not answer": (
        error(R + "ActorUnavailableError", "The actor 1 is unavailable"),
        (),
        INFRASTRUCTURE,
    ),
    "a raylet that died": (error(R + "LocalRayletDiedError", "The task's local raylet died."), (), INFRASTRUCTURE),
    "an object that was lost": (error(R + "ObjectLostError", "lost due to node failure."), (), INFRASTRUCTURE),
    "an object that cannot be made again": (
        error(R + "ObjectReconstructionFailedError", "it was created by ray.put"),
        (),
        INFRASTRUCTURE,
    ),
    "an owner that went with its node": (error(R + "OwnerDiedError", "owner has exited"), (NO_NODE,), INFRASTRUCTURE),
    "an owner that crashed": (error(R + "OwnerDiedError", "The object's owner has exited."), (), USER),
    "an own error from a lost node": (MINE + error(R + "NodeDiedError", LOST_NODE), (), INFRASTRUCTURE),
    # The head
    "a connection that broke": (error("builtins.ConnectionError", BROKEN), (), INFRASTRUCTURE),
    "a connection that broke with a spot head": (
        error("builtins.ConnectionError", BROKEN),
        (SPOT_HEAD,),
        INFRASTRUCTURE,
    ),
    "a connection that broke, and a worker without memory": (
        error("builtins.ConnectionError", BROKEN),
        (OOM_WORKER,),
        INFRASTRUCTURE,
    ),
    "a client that could not reconnect": (
        error("builtins.ConnectionError", "Failed to reconnect within the reconnection grace period (30s)"),
        (REPLACED,),
        INFRASTRUCTURE,
    ),
    "a job that was lost": (error("dagster_ray.pipes.errors.JobLostError", "gone", INFRASTRUCTURE), (), INFRASTRUCTURE),
    "a job that failed": (error("dagster_ray.pipes.errors.RayJobFailedError", "exit code 1", USER), (SPOT_HEAD,), USER),
    "a job whose supervisor went with its node": (
        error("dagster_ray.pipes.errors.RayJobFailedError", "Job supervisor actor died: unknown", USER),
        (SPOT_WORKER,),
        INFRASTRUCTURE,
    ),
    # What somebody wrote down
    "an environment whose package Ray has dropped": (
        error(R + "RuntimeEnvSetupError", "Failed to download runtime_env file package gcs://_ray_pkg_1.zip"),
        (),
        INFRASTRUCTURE,
    ),
    "an environment that cannot be made": (error(R + "RuntimeEnvSetupError", "pip failed"), (), CONFIGURATION),
    "a missing token": (error(R + "AuthenticationError", "no token"), (), CONFIGURATION),
    "an error of ours, from a lost node": (
        error("dagster_ray.core.errors.InvalidFieldError", "x", CONFIGURATION) + error(R + "NodeDiedError", ""),
        (),
        CONFIGURATION,
    ),
}


def test_there_are_enough_causes() -> None:
    assert len(CAUSES) >= 40


@pytest.mark.parametrize("name", CAUSES)
def test_each_cause_has_a_class_and_only_infrastructure_is_tried_again(name: str) -> None:
    errors, losses, expected = CAUSES[name]
    judgement = judged(errors, lambda: losses)
    assert judgement.failure_class == expected
    assert judgement.why
    assert is_retried(judgement, done=0, allowed=1) is (expected == INFRASTRUCTURE)
    assert not is_retried(judgement, done=0, allowed=0)
    assert not is_retried(judgement, done=2, allowed=2)


def test_pods_are_not_asked_where_the_words_are_enough() -> None:
    def asked() -> Sequence[Loss]:
        raise AssertionError("nobody needs them")

    assert judged(error("builtins.ValueError", "no"), asked).failure_class == USER
    assert judged(error(R + "OutOfMemoryError", ""), asked).failure_class == USER


def test_the_reason_is_the_pod_where_it_explains_more() -> None:
    assert judged(CRASH, lambda: (SPOT_WORKER,)) == Judgement("infrastructure", SPOT_WORKER.sentence)
    assert judged(CRASH, lambda: (SPOT_WORKER, OOM_HEAD)) == Judgement("user", OOM_HEAD.sentence)
    assert judged(error("builtins.ValueError", "a\n b"), lambda: ()).why == "ValueError: a b"


def judged_both_ways(raised: BaseException) -> set[FailureClass]:
    """Judge an error as it was raised, and as Dagster has stored it."""
    with pytest.raises(type(raised)) as caught:
        raise raised
    info = serializable_error_info_from_exc_info((caught.type, caught.value, caught.tb))
    return {judged(facts, lambda: ()).failure_class for facts in (facts_of(raised), facts_of_info(info))}


def caused(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


def met(outer: Exception, inner: Exception) -> Exception:
    outer.__context__ = inner
    return outer


def task_error(cause: Exception, last_line: str) -> Exception:
    from ray.exceptions import RayTaskError

    return RayTaskError("f", f"ray::f() (pid=1)\n{last_line}", cause).as_instanceof_cause()


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ErrorFacts("ModuleNotFoundError", "No module named 'features'"), id="through Ray Client"),
        pytest.param(
            ErrorFacts(
                "ray.exceptions.ActorDiedError",
                "The actor died because of an error raised in its creation task: ModuleNotFoundError: ...",
            ),
            id="in an actor",
        ),
    ],
)
def test_a_module_that_the_cluster_lacks_is_explained(error: ErrorFacts) -> None:
    found = judged([error], tuple)
    assert found.failure_class == "user"
    assert "must be in the cluster's image, or be sent by runtime_env" in found.why


def test_errors_are_read_as_raised_and_as_stored_alike() -> None:
    pytest.importorskip("ray", reason="the errors are Ray's own")
    from ray.exceptions import NodeDiedError, RuntimeEnvSetupError

    lost = NodeDiedError(LOST_NODE)
    assert judged_both_ways(lost) == {INFRASTRUCTURE}
    assert judged_both_ways(caused(RuntimeError("mine"), lost)) == {INFRASTRUCTURE}
    assert judged_both_ways(task_error(lost, f"ray.exceptions.NodeDiedError: {LOST_NODE}")) == {INFRASTRUCTURE}
    assert judged_both_ways(task_error(ValueError("no"), "ValueError: no")) == {USER}
    assert judged_both_ways(RuntimeEnvSetupError("no")) == {CONFIGURATION}
    assert judged_both_ways(ConnectionError(BROKEN)) == {INFRASTRUCTURE}
    assert judged_both_ways(InvalidFieldError("a", "b", "c")) == {CONFIGURATION}
    assert judged_both_ways(RuntimeError("")) == {USER}


def test_a_fault_in_the_handling_of_a_lost_node_is_a_fault() -> None:
    pytest.importorskip("ray", reason="the errors are Ray's own")
    from ray.exceptions import NodeDiedError

    assert judged_both_ways(met(KeyError("no"), NodeDiedError(LOST_NODE))) == {USER}


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        pytest.param(NotReadyError("a", 1, "b"), INFRASTRUCTURE, id="a deadline"),
        pytest.param(NotReadyError("a", 1, "b", cause_class="configuration"), CONFIGURATION, id="a known reason"),
        pytest.param(ConnectFailedError("a", "b", 1, "ConnectionError: refused"), INFRASTRUCTURE, id="no connection"),
        pytest.param(ConnectFailedError("a", "b", 1, "RuntimeError: Version mismatch"), CONFIGURATION, id="versions"),
        pytest.param(ConnectFailedError("a", "b", 1, "ValueError: no"), CONFIGURATION, id="an argument"),
    ],
)
def test_fields_decide_where_an_error_has_more_than_one_cause(raised: DagsterRayError, expected: FailureClass) -> None:
    assert raised.failure_class == expected
    assert judged(facts_of(raised), lambda: ()).failure_class == expected
