"""What a wait knows after each thing that it sees: which head, what is wrong, and since when that is hopeless."""

from collections.abc import Callable
from typing import Any

import pytest
from diagnosis_objects import container, event, explained, pod

from dagster_ray.core import DagsterRayError
from dagster_ray.kuberay._diagnosis.diagnosis import Diagnosis
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, RAYJOBS
from dagster_ray.kuberay._status.cluster_state import Ended, Starting, created
from dagster_ray.kuberay._steps.wait_state import Do, Fail, Pause, Sought, Step, WaitState

ENDPOINTS = {"client": "10001", "dashboard": "8265"}
SPEC = {"headGroupSpec": {"template": {"spec": {"containers": [{"name": "ray-head"}, {"name": "fluent-bit"}]}}}}
NOT_FOUND = "manifest unknown"


def cluster_status(name: str, *, address: str | None = "10.0.0.7", reason: str = "", message: str = "") -> Any:
    head = {"serviceName": f"{name}-head-svc", "podName": f"{name}-head"}
    condition = {"type": "HeadPodReady", "status": "False", "reason": reason, "message": message}
    return {
        "head": head if address is None else {**head, "podIP": address},
        "endpoints": ENDPOINTS,
        "conditions": [condition] if reason else [],
    }


def rayjob(word: str | None = None, cluster: str = "", mirrored: Any = None, **spec: Any) -> dict[str, Any]:
    """A RayJob as an operator writes it; one up to 1.5.0 mirrors nothing."""
    whole: dict[str, Any] = {"metadata": {"name": "train", "uid": "u"}, "spec": {"rayClusterSpec": SPEC, **spec}}
    if word is None:
        return whole
    status: dict[str, Any] = {
        "jobDeploymentStatus": word,
        "rayClusterName": cluster,
        "rayClusterStatus": mirrored or {"head": {}},
    }
    return {**whole, "status": status}


def raycluster(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": SPEC, "status": cluster_status(name, **more)}


def waiting(*seen: dict[str, Any]) -> WaitState:
    """Return a wait that has seen a RayJob at each second from 0 on."""
    state = WaitState(created(RAYJOBS, "ns", rayjob()))
    for second, manifest in enumerate(seen):
        state.note(manifest, float(second))
    return state


def needs_watch(state: WaitState, at_seconds: float, *, missing: str | None = None, tried: float = 0.0) -> bool:
    if tried or missing:
        assert state.next(at_seconds - tried, 60) is Do.DIAL
        state.dialed(False, missing)
    return state.needs_cluster_watch(at_seconds)


# Which head


def test_a_cluster_that_a_queue_takes_back_is_followed_by_the_one_that_it_admits_next() -> None:
    state = waiting(rayjob("Initializing", "first", cluster_status("first")))
    assert state.cluster == "first"
    assert needs_watch(state, 10) is False

    state.note(rayjob("Suspended"), 11)
    assert (state.cluster, state.head, state.diagnosis) == (None, None, None)

    state.note(rayjob("Initializing", "second", cluster_status("second", address="10.0.0.8")), 12)
    assert state.head is not None
    assert (state.cluster, state.head.pod, state.head.pod_ip) == ("second", "second-head", "10.0.0.8")


def test_an_operator_that_mirrors_nothing_has_the_next_cluster_watched_as_well() -> None:
    state = waiting(rayjob("Initializing", "first"))
    assert [needs_watch(state, at) for at in (1.0, 1.6)] == [False, True]
    state.watched()
    state.note_cluster(raycluster("first"), 2)

    state.note(rayjob("Suspended"), 20)
    state.note(rayjob("Initializing", "second"), 30)
    assert [needs_watch(state, at) for at in (31.0, 31.6)] == [False, True]
    state.watched()
    assert needs_watch(state, 40) is False
    state.note_cluster(raycluster("second"), 33)
    assert state.head is not None
    assert state.head.pod == "second-head"


def test_another_cluster_is_followed_although_nothing_was_seen_between() -> None:
    """A watch that was away for a while tells the last state alone."""
    state = waiting(rayjob("Initializing", "first", cluster_status("first")), rayjob("Waiting", "second"))
    assert state.head is not None
    assert (state.cluster, state.head.pod) == ("second", None)
    assert needs_watch(state, 1.1), "the copy stands still once the RayJob is Waiting"


def test_what_a_watch_says_of_the_former_cluster_is_void() -> None:
    state = waiting(rayjob("Initializing", "first"), rayjob("Initializing", "second"))
    state.note_cluster(raycluster("first"), 2)
    assert state.head is not None
    assert (state.cluster, state.head.pod) == ("second", None)


def test_a_cluster_that_is_watched_knows_more_than_the_rayjobs_copy() -> None:
    state = waiting(rayjob("Initializing", "first"))
    state.watched()
    state.note_cluster(raycluster("first", address="10.0.0.9"), 2)
    state.note(rayjob("Waiting", "first", cluster_status("first", address=None)), 3)
    assert state.head is not None
    assert state.head.pod_ip == "10.0.0.9"


def test_another_object_of_the_same_name_is_not_what_is_awaited() -> None:
    another = rayjob("Waiting", "other", cluster_status("other"))
    another["metadata"]["uid"] = "another"
    state = waiting(rayjob("Initializing", "first"))

    state.note(another, 1, deleted=True)
    assert (state.cluster, isinstance(state.state, Starting)) == ("first", True)
    state.note(another, 2)
    assert isinstance(state.state, Ended)
    assert state.state.is_deleted
    assert state.cluster == "first"


WAITING = rayjob("Waiting", "c", cluster_status("c"))


@pytest.mark.parametrize(
    ("seen", "more", "needed"),
    [
        pytest.param(WAITING, {}, False, id="a head with an address"),
        pytest.param(WAITING, {"missing": "c-head"}, True, id="whose pod is gone"),
        pytest.param(WAITING, {"missing": "another"}, False, id="another pod is gone"),
        pytest.param(WAITING, {"tried": 2.0}, True, id="that does not answer"),
        pytest.param(rayjob("Initializing", "c", cluster_status("c")), {"tried": 60.0}, False, id="that only starts"),
    ],
)
def test_a_head_that_may_have_been_replaced_is_looked_up_in_the_cluster(
    seen: dict[str, Any], more: dict[str, Any], needed: bool
) -> None:
    assert needs_watch(waiting(seen), 60, **more) is needed


def test_what_the_cluster_told_after_the_wait_outweighs_the_rayjobs_copy() -> None:
    state = waiting(WAITING)
    state.note_head_of_cluster(raycluster("c", address="10.0.0.9"))
    state.note_head(rayjob("Running", "c", cluster_status("c")))
    assert state.head is not None
    assert state.head.pod_ip == "10.0.0.9"


# What is wrong, and since when


def pulling(attempts: int, message: str = NOT_FOUND) -> Diagnosis | None:
    """What pods and events say of a head whose image cannot be pulled."""
    events = [event("Failed", f'Failed to pull image "x": {message}', count=attempts)] if attempts else []
    return explained([pod("head", container(waiting=("ErrImagePull", message)))], events)


def crashing(restarts: int, name: str = "ray-head", exit_code: int = 1, reason: str = "Error") -> Diagnosis | None:
    """What pods say of a head with a container that crashes again and again."""
    last = {"exitCode": exit_code, "reason": reason}
    status = container(name=name, waiting=("CrashLoopBackOff", "back-off 10s"), last=last, restarts=restarts)
    return explained([pod("head", status, spec=SPEC["headGroupSpec"]["template"]["spec"])], [])


def refused(message: str) -> Diagnosis | None:
    return explained([], [event("FailedToCreateHeadPod", message, about="RayCluster", name="c")])


WEBHOOK = 'admission webhook "w" denied the request: policies are not ready'
RBAC = 'User "op" cannot create resource "pods" in API group "" in the namespace "ns"'
TOO_SMALL = "exceeded quota: q, requested: cpu=8, used: cpu=0, limited: cpu=4"
PAGE = "error parsing HTTP 503 response body: invalid character '<' looking for beginning of value"

# What is found each second, and for how many seconds it is not hopeless; None: never.
LASTING: dict[str, tuple[Diagnosis | None, float | None]] = {
    "an image that one attempt did not find": (pulling(1), 25),
    "an image that two attempts did not find": (pulling(2), 0),
    "an image whose attempts may not be read": (pulling(0), 25),
    "a registry that wants credentials": (pulling(9, "no basic auth credentials"), 120),
    "a registry that forbids": (pulling(9, "unexpected status code https://cdn/blob: 403 Forbidden"), 120),
    "a registry's error page": (pulling(9, PAGE), None),
    "a layer that is cut": (pulling(9, "failed to extract layer sha256:ab: archive/tar: invalid tar header"), None),
    "a registry that is away": (pulling(9, "dial tcp 10.0.0.1:443: i/o timeout"), None),
    "a head that crashed for the second time": (crashing(1), 180),
    "a head that was restarted five times": (crashing(5), 0),
    "a head without its command, once": (crashing(1, exit_code=127), 30),
    "a head without its command, twice": (crashing(2, exit_code=127), 0),
    "a head without memory, twice": (crashing(2, exit_code=137, reason="OOMKilled"), 60),
    "a head without memory, three times": (crashing(3, exit_code=137, reason="OOMKilled"), 0),
    "a sidecar that crashes": (crashing(99, "fluent-bit"), None),
    "a webhook's denial": (refused(WEBHOOK), 60),
    "the operator's rights": (refused(RBAC), 60),
    "a quota that is too small": (refused(TOO_SMALL), 10),
    "nothing": (None, None),
}


@pytest.mark.parametrize(("found", "seconds"), LASTING.values(), ids=LASTING)
def test_what_is_wrong_is_hopeless_once_it_has_lasted(found: Diagnosis | None, seconds: float | None) -> None:
    state = waiting(rayjob("Initializing", "c", cluster_status("c", address=None)))
    hopeless_at: list[int] = []
    for second in range(1, 1000):
        state.looked(found, second)
        if state.is_hopeless(second):
            hopeless_at.append(second - 1)
    assert hopeless_at[:1] == ([] if seconds is None else [seconds])


def test_what_was_seen_with_a_break_begins_anew() -> None:
    state = waiting(rayjob("Initializing", "c"))
    for at, found in [(0, pulling(0)), (20, pulling(0, PAGE)), (24, pulling(0)), (48, pulling(0))]:
        state.looked(found, at)
        assert not state.is_hopeless(at)
    assert state.is_hopeless(49)


def test_what_the_heads_condition_says_is_not_hopeless_at_first_sight() -> None:
    message = f"containers with unready status: [ray-head]; ray-head: {NOT_FOUND}"
    state = waiting(rayjob("Initializing", "c", cluster_status("c", reason="ErrImagePull", message=message)))
    assert state.diagnosis is not None
    assert state.diagnosis.code == "image-not-found"
    assert [state.is_hopeless(at) for at in (0.0, 24.0, 25.0)] == [False, False, True]


@pytest.mark.parametrize(
    "message",
    [
        "containers with unready status: [fluent-bit]; fluent-bit: back-off 5m0s",
        "containers with unready status: [fluent-bit]; back-off 10s restarting failed container=fluent-bit pod=c-head",
        "containers with unready status: [fluent-bit ray-head]; fluent-bit: back-off 5m0s",
    ],
)
def test_what_the_heads_condition_says_of_a_sidecar_is_never_hopeless(message: str) -> None:
    state = waiting(rayjob("Initializing", "c", cluster_status("c", reason="CrashLoopBackOff", message=message)))
    assert [state.is_hopeless(at) for at in (0.0, 10_000.0)] == [False, False]


def test_a_name_that_is_none_is_hopeless_at_once() -> None:
    message = "containers with unready status: [ray-head]; ray-head: couldn't parse image name"
    state = waiting(rayjob("Initializing", "c", cluster_status("c", reason="InvalidImageName", message=message)))
    assert state.is_hopeless(0)


def test_what_pods_said_stays_until_somebody_looks_again() -> None:
    """Up to KubeRay 1.5.0 a cluster's status tells nothing of images, and its changes refute nothing."""
    state = WaitState(created(RAYCLUSTERS, "ns", {**raycluster("c"), "status": {}}))
    state.note(raycluster("c", address=None), 0)
    state.looked(pulling(1), 10)
    assert not state.is_hopeless(10)
    state.note(raycluster("c", address="10.0.0.7"), 12)
    assert state.diagnosis is not None
    assert state.needs_look(13)
    state.looked(None, 13)
    assert state.diagnosis is None


def test_something_that_may_be_fatal_is_looked_at_soon_and_then_less_often() -> None:
    state = waiting(rayjob("Initializing", "c", cluster_status("c", reason="ErrImagePull", message=NOT_FOUND)))
    looked: list[int] = []
    for second in range(1, 100):
        if state.needs_look(second):
            state.looked(pulling(0), second)
            looked.append(second)
    assert looked == [1, 3, 7, 15, 31, 51, 71, 91]


def test_what_is_called_fatal_was_just_looked_at() -> None:
    state = waiting(rayjob("Initializing", "c"))
    state.looked(pulling(0), 10)
    assert [state.is_fresh(at) for at in (10.0, 12.0)] == [True, False]
    state.note(rayjob("Initializing", "c", cluster_status("c")), 12.0)
    assert not state.is_fresh(12.0)


# What is done next

READY = rayjob("Waiting", "c", cluster_status("c"))
STARTS = rayjob("Initializing", "c", cluster_status("c", address=None))
HAS_ADDRESS = rayjob("Initializing", "c", cluster_status("c"))
NO_NAME = cluster_status("c", address=None, reason="InvalidImageName", message="couldn't parse image name")
HOPELESS = rayjob("Initializing", "c", NO_NAME)
QUEUED = rayjob("Suspended")
REFUSED = explained([], [event("InvalidRayClusterSpec", "no such field", about="RayCluster", name="c")])
PLACE, BUDGET = "10.0.0.7:10001", 30.0

Said = Callable[[WaitState, float], object]


def told(manifest: dict[str, Any], *, deleted: bool = False) -> Said:
    return lambda state, at: state.note(manifest, at, deleted=deleted)


def found(diagnosis: Diagnosis | None) -> Said:
    return lambda state, at: state.looked(diagnosis, at)


def found_last(diagnosis: Diagnosis | None) -> Said:
    return lambda state, at: state.looked_last(diagnosis, at, PLACE, BUDGET)


def answers(state: WaitState, _: float) -> None:
    state.dialed(True)


def silent(state: WaitState, _: float) -> None:
    state.dialed(False)


def nothing(_state: WaitState, _: float) -> None:
    """Time passes."""


def read(state: WaitState, _: float) -> None:
    state.log_read("the last line")


def words(step: Step) -> str:
    """A step as the table below writes it."""
    match step:
        case Pause(seconds):
            return f"pause {seconds:g}"
        case Fail(error):
            assert isinstance(error, DagsterRayError)
            return f"fail {error.code}"
        case _:
            return step.name


FORWARDED, UNREADY = Sought(direct=False), cluster_status("c", reason="ContainersNotReady")
WORKERS, SHORT_QUEUE = Sought(needs_workers=True), Sought(queue_seconds=60)

# What is sought; then at which second what is seen, and the step that follows.
STEPS: dict[str, tuple[Sought, list[tuple[float, Said, str]]]] = {
    "a head that answers at once is returned without a pause": (
        Sought(),
        [(0, told(READY), "DIAL"), (0.1, answers, "RETURN")],
    ),
    "a head without an address is not dialed": (Sought(), [(0, told(STARTS), "pause 0.2")]),
    "a head that is silent is dialed after each pause": (
        Sought(),
        [(0, told(HAS_ADDRESS), "DIAL"), (1, silent, "pause 0.2"), (1.2, nothing, "DIAL"), (1.3, silent, "pause 0.2")],
    ),
    "through the API server it is dialed at once if nothing is said of its container": (
        FORWARDED,
        [(0, told(HAS_ADDRESS), "DIAL"), (1, silent, "pause 0.5"), (1.5, nothing, "DIAL")],
    ),
    "a head that starts is dialed through the API server seldom, and once it is ready": (
        FORWARDED,
        [
            (0, told(rayjob("Initializing", "c", UNREADY)), "pause 0.5"),
            (5, nothing, "pause 0.5"),
            (6, nothing, "DIAL"),
            (6, silent, "pause 0.5"),
            (7, nothing, "pause 0.5"),
            (8, told(READY), "DIAL"),
            (8, answers, "RETURN"),
        ],
    ),
    "nothing is dialed before the workers are there": (
        WORKERS,
        [(0, told(HAS_ADDRESS), "pause 0.2"), (1, told(READY), "DIAL"), (1, answers, "RETURN")],
    ),
    "a RayJob that does not tell where the head is has its cluster watched": (
        Sought(),
        [(0, told(rayjob("Initializing", "c")), "pause 0.2"), (1.6, nothing, "WATCH_CLUSTER")],
    ),
    "a quiet wait looks after ten seconds, then after twenty": (
        Sought(),
        [
            (0, told(STARTS), "pause 0.2"),
            (10, nothing, "LOOK"),
            (10, found(None), "pause 0.2"),
            (19, nothing, "pause 0.2"),
            (20, nothing, "LOOK"),
        ],
    ),
    "what has failed": (Sought(), [(0, told(rayjob("Failed", "c")), "fail rayjob-ended")]),
    "what was deleted": (Sought(), [(0, told(READY, deleted=True), "fail cluster-gone")]),
    "what the operator has refused": (Sought(), [(0, told(rayjob("ValidationFailed")), "fail spec-refused")]),
    "a job that has succeeded has ended": (Sought(), [(0, told(rayjob("Complete", "c")), "fail rayjob-ended")]),
    "or is a goal": (
        Sought(even_if_complete=True),
        [(0, told(rayjob("Complete", "c", cluster_status("c"))), "DIAL"), (0, answers, "RETURN")],
    ),
    "what is hopeless is looked at, then its log is read, then it is an error": (
        Sought(),
        [(0, told(HOPELESS), "LOOK"), (0, found(None), "READ_LOG"), (9, read, "fail cannot-start")],
    ),
    "a look that finds it well again": (
        Sought(),
        [
            (0, told(STARTS), "pause 0.2"),
            (1, found(pulling(0)), "pause 0.2"),
            (27, nothing, "LOOK"),
            (27, found(None), "pause 0.2"),
        ],
    ),
    "a wait for workers dials a head before it calls it hopeless": (
        WORKERS,
        [(0, told(HAS_ADDRESS), "pause 0.2"), (9, found(pulling(2)), "DIAL"), (9, answers, "pause 0.2")],
    ),
    "and gives it up if it is silent": (
        WORKERS,
        [(0, told(HAS_ADDRESS), "pause 0.2"), (9, found(pulling(2)), "DIAL"), (9, silent, "READ_LOG")],
    ),
    "a queue is looked at after ten seconds, then after twenty": (
        Sought(),
        [
            (0, told(QUEUED), "pause 0"),
            (10, nothing, "LOOK"),
            (10, found(None), "pause 0"),
            (29, nothing, "pause 0"),
            (30, nothing, "LOOK"),
        ],
    ),
    "a queue that takes too long": (
        SHORT_QUEUE,
        [(0, told(QUEUED), "pause 0"), (59, nothing, "LOOK"), (60, nothing, "fail queue-timeout")],
    ),
    "a queue that admits the cluster": (
        SHORT_QUEUE,
        [(0, told(QUEUED), "pause 0"), (59, told(READY), "DIAL"), (59, answers, "RETURN")],
    ),
    "what a queue takes back may stay there as long again": (
        SHORT_QUEUE,
        [
            (0, told(QUEUED), "pause 0"),
            (50, told(STARTS), "pause 0.2"),
            (55, told(QUEUED), "pause 0"),
            (114, nothing, "LOOK"),
            (115, nothing, "fail queue-timeout"),
        ],
    ),
}


@pytest.mark.parametrize(("sought", "told_and_done"), STEPS.values(), ids=STEPS)
def test_what_follows_from_what_is_seen(sought: Sought, told_and_done: list[tuple[float, Said, str]]) -> None:
    state, steps = WaitState(created(RAYJOBS, "ns", rayjob()), sought), list[str]()
    for at, said, _ in told_and_done:
        said(state, at)
        steps.append(words(state.next(at, remaining_seconds=3600)))
    assert steps == [step for _, _, step in told_and_done]


# What is seen before the deadline and found after it, and the error with a part of its text.
LATE: dict[str, tuple[Sought, dict[str, Any], Diagnosis | None, str, str]] = {
    "no operator": (Sought(), rayjob(), None, "operator-silent", "within 30 s"),
    "a head that is made": (Sought(), STARTS, None, "not-ready", "the cluster is being made"),
    "a head with the reason": (Sought(), STARTS, pulling(0), "not-ready", NOT_FOUND),
    "what the operator may not create": (Sought(), STARTS, REFUSED, "spec-refused", "no such field"),
    "a port that is closed": (Sought(), READY, None, "client-port-closed", PLACE),
    "a dashboard that is silent": (Sought(is_dashboard=True), READY, None, "not-ready", f"{PLACE} does not answer"),
}


@pytest.mark.parametrize(("sought", "seen", "why", "code", "part"), LATE.values(), ids=LATE)
def test_after_the_deadline_it_is_looked_at_once_more_and_the_log_is_read(
    sought: Sought, seen: dict[str, Any], why: Diagnosis | None, code: str, part: str
) -> None:
    state = WaitState(created(RAYJOBS, "ns", rayjob()), sought)
    state.note(seen, 0)
    if state.next(30, 0) is Do.DIAL:
        state.dialed(False)
    assert state.next(30, 0) is Do.LAST_LOOK
    found_last(why)(state, 31)
    if (step := state.next(31, 0)) is Do.READ_LOG:
        state.log_read("the last line")
        step = state.next(32, 0)
    assert isinstance(step, Fail)
    assert words(step) == f"fail {code}"
    assert part in str(step.error)
    assert ("the last line" in str(step.error)) is (code not in {"operator-silent", "spec-refused"})


@pytest.mark.parametrize("direct", [True, False])
def test_a_head_that_answers_in_the_last_moment_is_returned(direct: bool) -> None:
    state = WaitState(created(RAYJOBS, "ns", rayjob()), Sought(direct))
    state.note(rayjob("Initializing", "c", UNREADY), 29)
    assert state.next(30, 0) is Do.DIAL
    state.dialed(True)
    assert state.next(30, 0) is Do.RETURN


def test_a_pause_ends_with_the_deadline() -> None:
    assert waiting(STARTS).next(1, 0.05) == Pause(0.05)


def test_queues_add_up() -> None:
    state = waiting()
    for at, manifest in [(5.0, QUEUED), (8.0, STARTS), (20.0, QUEUED), (24.0, READY), (99.0, READY)]:
        state.note(manifest, at)
        state.next(at, 60)
    assert state.queued_seconds == 7


def test_what_a_look_has_found_in_a_queue_holds_until_the_next_one() -> None:
    state, why = waiting(QUEUED), pulling(0)
    state.looked(why, 10)
    state.note({**QUEUED, "metadata": {**QUEUED["metadata"], "annotations": {"looked": "at"}}}, 11)
    assert state.diagnosis == why
    assert state.is_queued
    state.note(STARTS, 12)
    assert state.diagnosis != why


def test_a_line_is_logged_for_each_change_and_now_and_then() -> None:
    state = waiting(STARTS)
    lines = [state.line(at) for at in (0.0, 29.0, 30.0)]
    assert lines == ["the cluster is being made; head pod c-head", None, f"still waiting after 30 s: {lines[0]}"]
    state.note(READY, 31)
    assert state.line(31) == "the operator says Waiting; head pod c-head"
