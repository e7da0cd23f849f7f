"""Bad input and bad luck around the set-up of a step, on the simulator: what the user sees, and what is left behind."""

import re
import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest
from fault_world import TIMEOUT_SECONDS, eventually, left, resource, run_step, simulated

from dagster_ray.kuberay._spec.manifests import render_rayjob
from dagster_ray.simulator import Fault, Simulator

pytestmark = pytest.mark.many_processes  # make test runs them

RAYJOBS = r"/rayjobs"


@pytest.fixture
def simulator() -> Generator[Simulator]:
    with simulated() as world:
        yield world


def test_without_faults_a_step_needs_three_requests_before_its_driver(simulator: Simulator) -> None:
    """The first is asked once a process; the last is the job id, when a driver is connected."""
    outcome = run_step(resource(simulator, access="direct", head_host="{pod_ip}"))
    assert outcome.success, outcome.log
    first = [(request.method, request.path.partition("?")[0].rpartition("/")[2]) for request in simulator.requests]
    assert first[:3] == [("POST", "selfsubjectrulesreviews"), ("POST", "rayjobs"), ("GET", "rayjobs")]
    assert len(simulator.requests) <= 5, "a head that is ready in no time is looked up in the RayCluster"
    assert len(left(simulator)) == 2


# The API server is away for a while

AWAY: dict[str, list[Fault]] = {
    "503 before the POST": [Fault(method="POST", path=RAYJOBS, status=503, times=3)],
    "429 with Retry-After": [Fault(method="POST", path=RAYJOBS, status=429, retry_after=1, times=1)],
    "resets before the POST": [Fault(method="POST", path=RAYJOBS, reset=True, times=3)],
    "the answer of the POST is lost": [Fault(method="POST", path=RAYJOBS, lose_answer=True, times=1)],
    "the answer is lost, then 503": [
        Fault(method="POST", path=RAYJOBS, lose_answer=True, times=1),
        Fault(method="POST", path=RAYJOBS, status=503, times=2),
    ],
    "the watch is refused with 503": [Fault(method="GET", path="watch=true", status=503, times=3)],
    "the watch breaks": [Fault(method="GET", path="watch=true", reset=True, times=3)],
    "port-forwards are refused": [Fault(method="GET", path="portforward", status=503, times=3)],
}


@pytest.mark.parametrize("faults", AWAY.values(), ids=AWAY)
def test_an_api_server_that_comes_back_costs_nothing_but_time(simulator: Simulator, faults: list[Fault]) -> None:
    for fault in faults:
        simulator.faults.add(fault)
    outcome = run_step(resource(simulator))
    assert outcome.success, outcome.log
    assert len(simulator.store.list("rayjobs")) == 1
    assert all(fault.times == 0 for fault in faults)


def test_an_outage_that_lasts_is_named_when_the_deadline_has_passed(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dagster_ray.core._resource._CLEANUP_SECONDS", 2.0)
    simulator.faults.add(Fault(status=503))
    outcome = run_step(resource(simulator, timeout=2))
    assert not outcome.success
    assert "[dagster-ray: kubernetes-unavailable]" in outcome.log
    assert left(simulator) == []


def test_a_cleanup_holds_through_an_outage(simulator: Simulator) -> None:
    simulator.faults.add(Fault(method="DELETE", status=503, times=3))
    outcome = run_step(resource(simulator), fails=True)
    assert not outcome.success
    assert left(simulator) == []


def during_wait(simulator: Simulator, act: Callable[[], None]) -> threading.Thread:
    """Do something as soon as a RayJob is watched."""

    def look() -> None:
        eventually(lambda: any("watch=true" in request.path for request in simulator.requests))
        act()

    thread = threading.Thread(target=look)
    thread.start()
    return thread


@pytest.mark.parametrize("fault", ["drop_watches", "expire_watches"])
def test_a_watch_that_ends_is_taken_up_again(fault: str) -> None:
    with simulated(operator=False) as simulator:

        def act() -> None:
            getattr(simulator.faults, fault)()
            simulator.operator.start()

        thread = during_wait(simulator, act)
        outcome = run_step(resource(simulator))
        thread.join()
        simulator.operator.stop()
        assert outcome.success, outcome.log
        watches = [request for request in simulator.requests if "watch=true" in request.path]
        assert len(watches) >= 2


def test_a_rayjob_that_somebody_deletes_during_the_wait_ends_it() -> None:
    with simulated(operator=False) as simulator:

        def act() -> None:
            (job,) = simulator.store.list("rayjobs")
            simulator.store.delete("rayjobs", "default", job["metadata"]["name"])

        thread = during_wait(simulator, act)
        outcome = run_step(resource(simulator))
        thread.join()
        assert not outcome.success
        assert "[dagster-ray: cluster-gone]" in outcome.log
        assert left(simulator) == []


# What is missing or refused


def test_an_operator_that_does_not_run_is_named() -> None:
    with simulated(operator=False) as simulator:
        outcome = run_step(resource(simulator, timeout=1))
        assert not outcome.success
        assert "[dagster-ray: operator-silent]" in outcome.log
        assert left(simulator) == []


def test_crds_that_are_not_installed_are_named(simulator: Simulator) -> None:
    simulator.faults.without_crds = True
    outcome = run_step(resource(simulator))
    assert not outcome.success
    assert "[dagster-ray: kind-not-installed]" in outcome.log


def test_a_namespace_that_does_not_exist_is_named(simulator: Simulator) -> None:
    outcome = run_step(resource(simulator, metadata={"namespace": "nowhere"}))
    assert not outcome.success
    assert "Namespace nowhere does not exist: Kubernetes refused to create rayjobs.ray.io" in outcome.log
    assert "kubectl create namespace nowhere" in outcome.log


@pytest.mark.parametrize("verb", ["create", "watch"])
def test_a_right_that_is_missing_is_named(simulator: Simulator, verb: str) -> None:
    simulator.faults.deny(verb, "rayjobs")
    outcome = run_step(resource(simulator, preflight="off"))
    assert not outcome.success
    assert f"allow `{verb}` on `rayjobs.ray.io` in a Role of namespace default" in outcome.log
    assert left(simulator) == []


def test_a_missing_right_to_list_after_410_is_named(simulator: Simulator) -> None:
    """A watch that has expired begins again with a list, which until then nobody needed."""
    simulator.faults.deny("list", "rayjobs")
    simulator.operator.stop()
    thread = during_wait(simulator, simulator.faults.expire_watches)
    outcome = run_step(resource(simulator, timeout=600, preflight="off"))
    thread.join()
    assert not outcome.success
    assert "allow `list` on `rayjobs.ray.io` in a Role of namespace default" in outcome.log
    assert left(simulator) == []


def test_a_missing_right_to_read_what_a_lost_answer_has_made_is_named(simulator: Simulator) -> None:
    simulator.faults.deny("get", "rayjobs")
    simulator.faults.add(Fault(method="POST", path=RAYJOBS, lose_answer=True, times=1))
    outcome = run_step(resource(simulator, preflight="off"))
    assert not outcome.success
    assert "allow `get` on `rayjobs.ray.io` in a Role of namespace default" in outcome.log


def test_a_missing_right_to_forward_ports_is_named_at_once(simulator: Simulator) -> None:
    simulator.faults.deny("create", "pods/portforward")
    outcome = run_step(resource(simulator, timeout=600, preflight="off"))
    assert not outcome.success
    assert "allow `create` on `pods/portforward` in a Role of namespace default" in outcome.log
    assert left(simulator) == []


def test_a_missing_right_to_delete_is_said_and_the_rayjob_is_named(simulator: Simulator) -> None:
    simulator.faults.deny("delete", "rayjobs")
    outcome = run_step(resource(simulator, preflight="off"), fails=True)
    assert "allow `delete` on `rayjobs.ray.io`" in outcome.log
    assert len(simulator.store.list("rayjobs")) == 1


def test_a_missing_right_to_look_closer_keeps_nobody_from_waiting(simulator: Simulator) -> None:
    simulator.faults.deny("list", "pods")
    simulator.faults.deny("list", "events")
    outcome = run_step(resource(simulator, timeout=6, spec={"rayClusterSpec": unschedulable()}))
    assert "[dagster-ray: not-ready]" in outcome.log
    assert left(simulator) == []


def unschedulable() -> dict[str, Any]:
    from dagster_ray.kuberay.groups import head_group

    return {"headGroupSpec": head_group(cpus=10_000, memory="2Gi"), "workerGroupSpecs": []}


@pytest.mark.parametrize("version", ["1.4.2", "1.7.0"])
def test_a_head_that_fits_nowhere_is_waited_for_and_explained(version: str) -> None:
    with simulated(version) as simulator:
        outcome = run_step(resource(simulator, timeout=3, spec={"rayClusterSpec": unschedulable()}))
        assert not outcome.success
        assert "Unschedulable" in outcome.log
        assert "Insufficient cpu" in outcome.log
        assert "[dagster-ray: not-ready]" in outcome.log
        assert left(simulator) == []


@pytest.mark.parametrize("version", ["1.4.2", "1.7.0"])
def test_an_image_that_does_not_exist_is_named_long_before_the_deadline(version: str) -> None:
    with simulated(version) as simulator:
        outcome = run_step(resource(simulator, image="rayproject/ray:missing", timeout=600))
        assert not outcome.success
        assert re.search(r"cannot start \((ErrImagePull|ImagePullBackOff)\)", outcome.log)
        assert "rayproject/ray:missing: not found" in outcome.log
        assert "[dagster-ray: cannot-start]" in outcome.log
        assert left(simulator) == []


def test_a_head_that_crashes_again_and_again_shows_its_last_lines(simulator: Simulator) -> None:
    outcome = run_step(resource(simulator, image="rayproject/ray:crashing", timeout=600))
    assert not outcome.success
    assert "cannot start (CrashLoopBackOff)" in outcome.log
    assert "No module named 'ray'" in outcome.log
    assert left(simulator) == []


@pytest.mark.parametrize("version", ["1.4.2", "1.7.0"])
def test_a_spec_that_only_the_operator_refuses_is_told_in_its_words(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1.4 tells it by an event alone. Neither the rules at load nor those of preflight have seen the manifest."""
    monkeypatch.setattr("dagster_ray.kuberay._steps.requests.render_rayjob", with_negative_deadline)
    with simulated(version) as simulator:
        outcome = run_step(resource(simulator, timeout=600, preflight="off"))
        assert not outcome.success
        assert "activeDeadlineSeconds must be a positive integer" in outcome.log
        assert "[dagster-ray: spec-refused]" in outcome.log
        assert left(simulator) == []


def with_negative_deadline(*args: Any) -> dict[str, Any]:
    """Render what the rules at load would refuse."""
    manifest = render_rayjob(*args)
    manifest["spec"]["activeDeadlineSeconds"] = -1
    return manifest


# Names


def test_a_name_that_belongs_to_somebody_else_is_left_alone(simulator: Simulator) -> None:
    foreign = {"metadata": {"name": "nightly", "namespace": "default"}, "spec": {"suspend": True}}
    simulator.store.create("rayjobs", foreign)
    outcome = run_step(resource(simulator, metadata={"name": "nightly"}))
    assert not outcome.success
    assert "[dagster-ray: name-taken]" in outcome.log
    assert [job["metadata"]["name"] for job in simulator.store.list("rayjobs")] == ["nightly"]


# Older operators


def strategy(on_success: str, on_failure: str) -> dict[str, Any]:
    return {
        "deletionStrategy": {"onSuccess": {"policy": on_success}, "onFailure": {"policy": on_failure}},
        "ttlSecondsAfterFinished": 3600,
    }


@pytest.mark.parametrize("version", ["1.3.2", "1.4.2", "1.5.2"])
def test_an_older_operator_gets_the_portable_form(version: str) -> None:
    with simulated(version) as simulator:
        outcome = run_step(resource(simulator, spec=strategy("DeleteSelf", "DeleteSelf")))
        assert outcome.success, outcome.log
        (job,) = simulator.store.list("rayjobs")
        assert "deletionStrategy" not in job["spec"]
        assert "preRunningDeadlineSeconds" not in job["spec"]
        assert (job["spec"]["shutdownAfterJobFinishes"], job["spec"]["ttlSecondsAfterFinished"]) == (True, 3600)


def test_an_older_operator_does_not_get_what_has_no_portable_form() -> None:
    with simulated("1.4.2") as simulator:
        outcome = run_step(resource(simulator, spec=strategy("DeleteCluster", "DeleteWorkers")))
        assert not outcome.success
        assert "sets `spec.deletionStrategy`" in outcome.log
        assert left(simulator) == []


def test_what_a_server_does_not_know_is_asked_once_a_process() -> None:
    with simulated("1.4.2") as simulator:
        for _ in range(2):
            assert run_step(resource(simulator)).success
        posts = [r for r in simulator.requests if r.method == "POST" and "/rayjobs" in r.path]
        assert len(posts) == 3


# Queues


def test_a_queue_is_shown_and_has_a_deadline_of_its_own(simulator: Simulator) -> None:
    suspended = {"spec": {"suspend": True}, "queue": "team-a", "queue_timeout": 1.0}
    outcome = run_step(resource(simulator, **suspended))
    assert not outcome.success
    assert "the queue 'team-a' has not admitted it yet" in outcome.log
    assert "[dagster-ray: queue-timeout]" in outcome.log
    assert left(simulator) == []


def test_a_rayjob_that_the_queue_admits_goes_on(simulator: Simulator) -> None:
    def admit() -> None:
        (job,) = simulator.store.list("rayjobs")
        body = {"spec": {"suspend": False}}
        simulator.store.patch("rayjobs", "default", job["metadata"]["name"], body, "application/merge-patch+json")

    thread = during_wait(simulator, admit)
    outcome = run_step(resource(simulator, spec={"suspend": True}, queue="team-a", timeout=TIMEOUT_SECONDS))
    thread.join()
    assert outcome.success, outcome.log
