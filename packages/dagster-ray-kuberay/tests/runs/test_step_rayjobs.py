"""The RayJobs of a run's steps, by what the API server says of them: no operator, no heads, no processes."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false

from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from driver_steps import SPEC
from fault_world import eventually

from dagster_ray.core import instance_id_of
from dagster_ray.core.errors import InvalidFieldError
from dagster_ray.kuberay._collector.candidate import candidate_of
from dagster_ray.kuberay._collector.plan import judge
from dagster_ray.kuberay._collector.run_facts import InstanceFacts, Keep, Remove, Rules, RunFacts
from dagster_ray.kuberay._kubernetes.fields import time_text
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
from dagster_ray.kuberay._runs.run_cluster import context_of
from dagster_ray.kuberay._runs.step_rayjobs import StepRayJobs
from dagster_ray.kuberay._runs.worker_rayjobs import WorkerRayJob
from dagster_ray.kuberay.errors import ClusterGoneError, NameTakenError, QueueTimeoutError, SpecRefusedError
from dagster_ray.pipes.errors import JobLostError, JobNotFoundError, JobServerUnavailableError, RayJobFailedError
from dagster_ray.simulator import Fault, Simulator

ID = "dagster-0123abcd-0123456789ab-0"
IN_PROGRESS, OVER = RunFacts(is_finished=False), RunFacts(is_finished=True, seconds_since_end=3600.0)


class World:
    """A simulator without an operator, and the RayJobs of a run there."""

    def __init__(self, simulator: Simulator, instance: dg.DagsterInstance, **fields: Any) -> None:
        self.simulator, self.run, self.instance = simulator, dg.DagsterRun("job"), instance
        given = {"kubeconfig_file": str(simulator.kubeconfig), "ray_job": {"spec": {"rayClusterSpec": SPEC}}}
        template = WorkerRayJob.of({**given, "preflight": "off", **fields})
        self.jobs = StepRayJobs(template, context_of(instance, self.run))

    def submit(self, submission_id: str = ID) -> None:
        body = {"entrypoint": "e", "submission_id": submission_id, "metadata": {"dagster/step-key": "[a] b"}}
        self.jobs.send(self.jobs.prepare(body))

    def become(self, job: str, deployment: str, **more: str) -> None:
        (rayjob,) = self.rayjobs
        status = {"jobStatus": job, "jobDeploymentStatus": deployment, **more}
        self.simulator.store.replace_status("rayjobs", {**rayjob, "status": status})

    @property
    def rayjobs(self) -> list[Any]:
        found = self.simulator.store.list("rayjobs")
        return [item for item in found if "deletionTimestamp" not in item["metadata"]]

    def status(self) -> str:
        return self.jobs.details(ID).status

    def comes_to(self, status: str) -> None:
        def has_come() -> bool:
            with suppress(JobServerUnavailableError):
                return self.status() == status
            return False

        eventually(has_come)

    def error(self) -> Exception:
        """Return the error that a step fails with whose job has failed."""
        details = self.jobs.details(ID)
        return self.jobs.explained(RayJobFailedError(ID, details.status, details.message, None, ()))


@contextmanager
def world_of(**fields: Any) -> Generator[World]:
    with Simulator(operator=False) as simulator, dg.DagsterInstance.ephemeral() as instance:
        found = World(simulator, instance, **fields)
        try:
            yield found
        finally:
            found.jobs.end(is_final=False)


@pytest.fixture
def world() -> Generator[World]:
    with world_of() as found:
        yield found


def test_a_rayjob_is_named_after_its_job_and_labeled_with_run_and_step(world: World) -> None:
    world.submit()
    (rayjob,) = world.rayjobs
    labels, annotations, spec = rayjob["metadata"]["labels"], rayjob["metadata"]["annotations"], rayjob["spec"]
    assert rayjob["metadata"]["name"] == spec["jobId"] == ID
    assert (labels["dagster/run-id"], annotations["dagster/step-key"]) == (world.run.run_id, "[a] b")
    assert (spec["submissionMode"], spec["shutdownAfterJobFinishes"]) == ("HTTPMode", True)
    assert labels["dagster/cleanup"] == "always"
    assert "dagster/driver" not in labels


def test_a_lost_answer_makes_no_second_rayjob(world: World) -> None:
    world.simulator.faults.add(Fault("POST", "rayjobs", lose_answer=True, times=1))
    world.submit()
    assert len(world.rayjobs) == 1
    assert world.status() == "PENDING"


def test_a_submission_that_got_no_answer_is_sent_again_and_is_one_rayjob(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"entrypoint": "e", "submission_id": ID, "metadata": {"dagster/step-key": "s"}}
    submission, asking = world.jobs.prepare(body), world.jobs._asking
    with monkeypatch.context() as impatient, world.simulator.faults.outage():
        impatient.setattr(world.jobs, "_asking", lambda: asking(0.5))
        with pytest.raises(JobServerUnavailableError):
            world.jobs.send(submission)
    assert world.jobs.server.answers == 0
    for _ in range(2):  # the first of them may have been carried out, too
        world.jobs.send(submission)
    assert len(world.rayjobs) == 1


def test_a_rayjob_of_somebody_else_is_left_as_it_is(world: World) -> None:
    theirs = {"metadata": {"name": ID, "namespace": "default"}, "spec": {"rayClusterSpec": {}}}
    world.simulator.store.create("rayjobs", theirs)
    with pytest.raises(NameTakenError):
        world.submit()
    assert len(world.rayjobs) == 1


@pytest.mark.parametrize(
    ("job", "deployment", "expected"),
    [
        pytest.param("", "Initializing", "PENDING", id="its cluster comes up"),
        pytest.param("RUNNING", "Running", "RUNNING", id="running"),
        pytest.param("SUCCEEDED", "Complete", "SUCCEEDED", id="succeeded"),
        pytest.param("FAILED", "Failed", "FAILED", id="failed"),
        pytest.param("RUNNING", "Failed", "FAILED", id="past its deadline"),
    ],
)
def test_the_watch_tells_how_a_step_is_without_another_request(
    world: World, job: str, deployment: str, expected: str
) -> None:
    world.submit()
    eventually(lambda: world.jobs._watch is not None and world.jobs._watch.is_open)
    before = len(world.simulator.requests)
    world.become(job, deployment)
    world.comes_to(expected)
    assert [one.path for one in world.simulator.requests[before:] if "watch" not in one.path] == []


def test_a_rayjob_that_is_refused_is_told_in_the_words_of_the_operator(world: World) -> None:
    world.submit()
    world.become("", "ValidationFailed", reason="ValidationFailed", message="the spec is odd")
    world.comes_to("FAILED")
    error = world.error()
    assert isinstance(error, SpecRefusedError)
    assert "the spec is odd" in str(error)


def test_what_the_head_says_of_a_failed_job_is_told_as_it_is(world: World) -> None:
    world.submit()
    world.become("FAILED", "Failed", reason="AppFailed", message="exit code 3: no data")
    world.comes_to("FAILED")
    assert isinstance(world.error(), RayJobFailedError)
    assert "exit code 3: no data" in str(world.error())


def test_a_rayjob_that_a_queue_holds_for_too_long_fails_its_step_and_is_deleted() -> None:
    with world_of(queue="team", queue_timeout=0.2) as world:
        world.submit()
        assert world.rayjobs[0]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
        world.become("", "Suspended")
        world.comes_to("FAILED")
        assert isinstance(world.error(), QueueTimeoutError)
        assert world.rayjobs == []


def test_a_job_that_is_not_submitted_in_time_fails_its_step_and_its_rayjob_is_deleted() -> None:
    with world_of(timeout=0.2) as world:
        world.submit()
        world.comes_to("FAILED")
        assert "KubeRay operator" in str(world.error())
        assert world.rayjobs == []


def test_a_rayjob_that_was_submitted_since_it_was_seen_is_not_deleted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def the_fault(*_: object, may_read: bool) -> Exception:
        return ValueError(may_read)

    def seen_before(*_: object) -> Any:
        return seen

    world.submit()
    world.status()
    monkeypatch.setattr("dagster_ray.kuberay._runs.step_start.StepStart.fault", the_fault)
    seen = world.jobs._seen[ID]
    world.become("RUNNING", "Running")
    monkeypatch.setattr(world.jobs, "_last", seen_before)
    assert world.status() == "PENDING"
    assert len(world.rayjobs) == 1
    monkeypatch.undo()
    world.comes_to("RUNNING")


def test_a_job_whose_cluster_a_queue_takes_back_is_lost_and_does_not_run_again(world: World) -> None:
    world.submit()
    world.become("RUNNING", "Running")
    world.comes_to("RUNNING")
    world.become("", "Suspended")
    world.comes_to("FAILED")
    error = world.error()
    assert isinstance(error, JobLostError)
    assert "lost its cluster" in str(error)
    assert world.rayjobs == []


def test_a_rayjob_that_somebody_deletes_is_lost(world: World) -> None:
    world.submit()
    world.become("RUNNING", "Running")
    world.comes_to("RUNNING")
    world.simulator.store.delete("rayjobs", "default", ID)

    def is_lost() -> bool:
        try:
            return isinstance(world.error(), ClusterGoneError)  # it has a finalizer
        except JobNotFoundError:
            return True

    eventually(is_lost)
    lost = world.jobs.explained(JobLostError(ID, "the Kubernetes API", "it was forgotten"))
    assert "deleted by somebody else" in str(lost)


def test_how_a_job_ended_stays_known_when_its_rayjob_is_deleted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    going, note = list[str](), world.jobs._note

    def noted(rayjob: Any, *, deleted: bool) -> None:
        going.extend(["going"] if "deletionTimestamp" in rayjob["metadata"] else [])
        note(rayjob, deleted=deleted)

    monkeypatch.setattr(world.jobs, "_note", noted)
    world.submit()
    finalizers = {"metadata": {"finalizers": ["ray.io/rayjob-finalizer"]}}
    world.simulator.store.patch("rayjobs", "default", ID, finalizers, "application/merge-patch+json")
    world.become("SUCCEEDED", "Complete")
    world.comes_to("SUCCEEDED")
    world.simulator.store.delete("rayjobs", "default", ID)
    eventually(lambda: world.status() and going)
    assert world.status() == "SUCCEEDED"


def test_another_worker_of_the_run_finds_the_rayjobs_and_misses_what_is_not_there(world: World) -> None:
    world.submit()
    world.become("RUNNING", "Running")
    other = StepRayJobs(world.jobs._template, world.jobs._context)
    try:
        assert other.details(ID).status == "RUNNING"
        with pytest.raises(JobNotFoundError):
            other.details("dagster-0123abcd-0123456789ab-7")
        lost = other.explained(JobLostError("dagster-0123abcd-0123456789ab-7", "the Kubernetes API", ""))
        assert "before it was created" in str(lost)
    finally:
        other.end(is_final=False)
    assert len(world.rayjobs) == 1


def test_an_api_server_that_is_away_says_nothing_of_a_step(world: World) -> None:
    world.submit()
    world.become("RUNNING", "Running")
    world.comes_to("RUNNING")
    world.simulator.faults.add(Fault("GET", "rayjobs", status=503))
    world.simulator.faults.cut_watches()

    def is_away() -> bool:
        try:
            world.jobs.details(ID)
        except JobServerUnavailableError:
            return True
        return False

    eventually(is_away)
    world.simulator.faults.clear()
    world.comes_to("RUNNING")


def test_the_end_of_a_run_deletes_what_has_not_ended_and_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dagster_ray.kuberay._runs.step_rayjobs._LAST_SECONDS", 0.2)
    world.submit("dagster-0123abcd-0123456789ab-1")
    world.become("SUCCEEDED", "Complete")
    label = {"app.kubernetes.io/managed-by": "dagster-ray", "dagster/run-id": world.run.run_id, "dagster/step-key": "s"}
    other: dict[str, Any] = {"metadata": {"name": "of-a-resource", "namespace": "default", "labels": label}}
    world.simulator.store.create("rayjobs", {**other, "spec": {"submissionMode": "InteractiveMode", "jobId": ""}})
    worker: dict[str, Any] = {"metadata": {"name": "dagster-run-x", "namespace": "default", "labels": label}}
    worker["spec"] = {"submissionMode": "HTTPMode", "jobId": f"dagster-run-{world.run.run_id}"}
    world.simulator.store.create("rayjobs", worker)
    world.submit()
    world.jobs.end(is_final=True)
    left = {item["metadata"]["name"] for item in world.rayjobs}
    assert left == {"dagster-0123abcd-0123456789ab-1", "of-a-resource", "dagster-run-x"}


@pytest.mark.parametrize(
    ("word", "job", "run", "has_own_id", "expected"),
    [
        pytest.param("Running", "RUNNING", IN_PROGRESS, True, Keep, id="its run is in progress"),
        pytest.param("Initializing", "", IN_PROGRESS, True, Keep, id="its cluster comes up in a run in progress"),
        pytest.param("Running", "RUNNING", OVER, True, Remove, id="its run is over"),
        pytest.param("Running", "RUNNING", OVER, False, Keep, id="its run is over, in a database that may be a copy"),
        pytest.param("Initializing", "", OVER, True, Remove, id="its cluster comes up, and its run is over"),
        pytest.param("Complete", "SUCCEEDED", OVER, True, Keep, id="it has ended, and the operator deletes"),
    ],
)
def test_the_cleanup_deletes_the_rayjob_of_a_dead_run_and_no_live_one(
    world: World, word: str, job: str, run: RunFacts, expected: type, *, has_own_id: bool
) -> None:
    world.submit()
    (made,) = world.rayjobs
    facts = InstanceFacts(instance_id_of(world.instance), {world.run.run_id: run}, has_own_id=has_own_id)
    now = datetime.now(UTC)
    created = time_text(now - timedelta(hours=2))
    spec = {key: value for key, value in made["spec"].items() if key != "preRunningDeadlineSeconds"}
    status = {"jobDeploymentStatus": word, "jobStatus": job, "startTime": created}
    seen = {**made, "metadata": {**made["metadata"], "creationTimestamp": created}, "spec": spec, "status": status}
    assert isinstance(judge(candidate_of(RAYJOBS, seen), facts, now, Rules()), expected)


def test_what_kuberay_cannot_submit_is_refused_before_anything_is_sent(world: World) -> None:
    body = {"entrypoint": "e", "submission_id": ID, "metadata": {"dagster/step-key": "s"}}
    submission = world.jobs.prepare({**body, "runtime_env": {"working_dir": "./src"}})
    with pytest.raises(InvalidFieldError, match="working_dir"):
        world.jobs.send(submission)
    assert world.rayjobs == []
