"""Why a cluster does not come up: what comes first, what is old, and what is no diagnosis."""

from typing import Any

import pytest
from diagnosis_objects import READY, Object, asks, container, event, explained, pod, rayjob, unscheduled

from dagster_ray.kuberay._diagnosis.cluster_facts import events_of
from dagster_ray.kuberay._diagnosis.diagnosis import explain_head
from dagster_ray.kuberay._diagnosis.images import image_trouble
from dagster_ray.kuberay._status.cluster_state import Head

NOT_FOUND = 'failed to resolve reference "docker.io/rayproject/ray:missing": not found'
REFUSED = "dial tcp 10.0.0.1:443: connect: connection refused"
CPU = "0/1 nodes are available: 1 Insufficient cpu."

HEADS: dict[str, tuple[Head | None, tuple[str, bool] | None]] = {
    "no head yet": (None, None),
    "starting": (Head("c", reason="ContainersNotReady", message="containers with unready status"), None),
    "image not found": (Head("c", reason="ErrImagePull", message=NOT_FOUND), ("image-not-found", True)),
    "registry away": (Head("c", reason="ImagePullBackOff", message=REFUSED), ("image-unreachable", False)),
    "no such name": (Head("c", reason="InvalidImageName", message="m"), ("image-name", True)),
    "crash loop": (Head("c", reason="CrashLoopBackOff", message="back-off 10s"), ("container", True)),
    "secret missing": (
        Head("c", reason="CreateContainerConfigError", message='secret "s" not found'),
        ("secret-missing", False),
    ),
}


@pytest.mark.parametrize(("head", "expected"), HEADS.values(), ids=HEADS)
def test_the_heads_condition_says(head: Head | None, expected: tuple[str, bool] | None) -> None:
    found = explain_head(head)

    assert (None if found is None else (found.code, found.proof is not None)) == expected
    if head is not None and found is not None:
        assert (found.reason, found.sentence) == (head.reason, head.message)
        assert found.remedy


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        pytest.param("containers with unready status: [ray-head]; ray-head: m", "ray-head: m", id="the reason stays"),
        pytest.param(
            "containers with unready status: [ray-head]", "containers with unready status: [ray-head]", id="alone"
        ),
    ],
)
def test_what_is_true_of_every_pod_that_is_not_ready_is_left_out_before_the_reason(message: str, sentence: str) -> None:
    found = explain_head(Head("c", reason="ErrImagePull", message=message))
    assert found is not None
    assert found.sentence == sentence


def failing(kind: str, *, message: str = NOT_FOUND) -> Object:
    return pod(kind, container(waiting=("ErrImagePull", message)))


def homeless(kind: str) -> Object:
    return pod(kind, conditions=unscheduled(CPU), spec=asks(cpu="4"))


SPEC = event("InvalidRayJobSpec", "ray/train: The RayJob spec is invalid", about="RayJob", name="train")
WARNING = event("InvalidRayClusterSpec", "RayCluster spec warning ray/c: restartPolicy", about="RayCluster", name="c")
QUOTA = event("FailedToCreateHeadPod", "exceeded quota", about="RayCluster", name="c")
MADE = event(
    "CreatedHeadPod", "Created head Pod ray/x", about="RayCluster", name="c", lastTimestamp="2026-02-01T00:00:00Z"
)
PREEMPTED = event("Preempted", "Preempted by pod 1 on node n1")
PROBES = event("Unhealthy", "Readiness probe failed: ", count=2)

RANKS: dict[str, tuple[dict[str, Any], tuple[str, bool] | None]] = {
    "nothing": ({}, None),
    "all well": ({"pods": [pod("head", conditions=READY)], "events": [MADE]}, None),
    "a pod that pulls its image": ({"pods": [pod("head", container(waiting=("ContainerCreating", "")))]}, None),
    "a reason that nobody knows": ({"pods": [pod("head", container(waiting=("Quantum", "m")))]}, None),
    "an event that nobody knows": ({"events": [event("Odd", "m")]}, None),
    "two failed probes while Ray starts": ({"pods": [pod("head")], "events": [PROBES]}, None),
    "a warning under a refusal's reason": ({"events": [WARNING]}, None),
    "a worker's image does not keep drivers away": ({"pods": [failing("worker")]}, ("image-not-found", False)),
    "the fatal comes first": ({"pods": [homeless("head")], "events": [SPEC]}, ("refused", True)),
    "the fatal comes before the more specific": (
        {"pods": [failing("head")], "events": [PREEMPTED]},
        ("image-not-found", True),
    ),
    "the head comes before workers": (
        {"pods": [failing("worker"), homeless("head")]},
        ("unschedulable-resources", False),
    ),
    "a worker comes before nothing": ({"pods": [pod("head"), failing("worker")]}, ("image-not-found", False)),
    "what is wrong with a pod comes before the operator's silence": (
        {"pods": [homeless("head")], "rayjob": rayjob(), "operator_pods": []},
        ("unschedulable-resources", False),
    ),
    "a head that was created since": ({"events": [QUOTA, MADE]}, None),
    "a head that could not be created again": (
        {"events": [MADE, QUOTA | {"lastTimestamp": "2026-02-02T00:00:00Z"}]},
        ("quota", False),
    ),
    "a head that is there": ({"pods": [pod("head")], "events": [QUOTA]}, None),
    "a pod that is being deleted": (
        {"pods": [failing("head") | {"metadata": {"name": "x", "deletionTimestamp": "2026-01-01T00:00:00Z"}}]},
        None,
    ),
    "a pod that is ready has got over its events": (
        {"pods": [pod("head", conditions=READY)], "events": [PREEMPTED]},
        None,
    ),
    "a pod that is gone": ({"events": [PREEMPTED]}, ("preempted", False)),
    "a port that is closed while the head starts": ({"closed_port": "x:10001", "pods": [pod("head")]}, None),
    "a RayJob whose queue let it go": ({"rayjob": rayjob(status={"jobDeploymentStatus": "Initializing"})}, None),
}


@pytest.mark.parametrize(("facts", "expected"), RANKS.values(), ids=RANKS)
def test_one_of_several_findings_is_told(facts: dict[str, Any], expected: tuple[str, bool] | None) -> None:
    found = explained(**facts)

    assert (None if found is None else (found.code, found.proof is not None)) == expected


def test_pods_and_events_are_enough() -> None:
    found = explained([homeless("head")], [])

    assert found is not None
    assert found.sentence == f"pod train-head-x7k2p needs 4 CPU; it fits no node: {CPU.removesuffix('.')}"


def test_a_crash_loop_has_the_last_lines_of_the_log() -> None:
    looping = container(waiting=("CrashLoopBackOff", "back-off"), last={"exitCode": 1, "reason": "Error"})
    log = "\n".join(f"line {number}" for number in range(20))

    found = explained([pod("head", looping)], [], logs={"train-head-x7k2p": f"{log}\n\n"})

    assert found is not None
    assert found.log.splitlines() == [f"line {number}" for number in range(10, 20)]


def test_a_sentence_is_one_line_and_has_an_end() -> None:
    long = event("FailedToCreateHeadPod", "first\n  second " + "x" * 5000, about="RayCluster", name="c")

    found = explained([], [long])

    assert found is not None
    assert found.sentence.startswith("first second xxx")
    assert len(found.sentence) == 1003


# Events


def test_an_event_of_an_earlier_object_with_the_same_name_is_ignored() -> None:
    old = event("InvalidRayJobSpec", "m", about="RayJob", name="train", uid="uid-of-another")
    status = {"failed": 0}

    assert explained([], [old]) is not None
    assert explained([], [old], rayjob=rayjob(status=status)) is None


def test_an_event_of_the_object_itself_counts() -> None:
    ours = event("InvalidRayJobSpec", "m", about="RayJob", name="train", uid="uid-of-train")

    assert explained([], [ours], rayjob=rayjob(status={"failed": 0})) is not None


def test_an_event_of_another_object_of_the_same_kind_is_ignored() -> None:
    other = event("InvalidRayJobSpec", "m", about="RayJob", name="other")

    assert explained([], [other], rayjob=rayjob(status={"failed": 0})) is None


SHAPES: dict[str, tuple[Object, tuple[str, int]]] = {
    "core/v1": ({"lastTimestamp": "2026-01-01T00:00:02Z", "count": 4}, ("2026-01-01T00:00:02", 4)),
    "written by the new API, read through core/v1": (
        {"eventTime": "2026-01-01T00:00:02.5Z", "lastTimestamp": None, "count": None},
        ("2026-01-01T00:00:02.5", 1),
    ),
    "a series": (
        {
            "eventTime": "2026-01-01T00:00:00.0Z",
            "series": {"count": 7, "lastObservedTime": "2026-01-01T00:00:03.1Z"},
        },
        ("2026-01-01T00:00:03.1", 7),
    ),
    "events.k8s.io/v1": (
        {"deprecatedLastTimestamp": "2026-01-01T00:00:01Z", "deprecatedCount": 3},
        ("2026-01-01T00:00:01", 3),
    ),
    "no time but that of its creation": (
        {"metadata": {"creationTimestamp": "2026-01-01T00:00:09Z"}},
        ("2026-01-01T00:00:09", 1),
    ),
}


@pytest.mark.parametrize(("fields", "expected"), SHAPES.values(), ids=SHAPES)
def test_events_of_both_apis_have_time_and_count(fields: Object, expected: tuple[str, int]) -> None:
    (found,) = events_of([event("Reason", "m") | fields], [])

    assert (found.time, found.count) == expected


def test_the_new_api_calls_the_message_a_note_and_the_object_regarding() -> None:
    new = {"reason": "InvalidRayClusterSpec", "note": "spec", "regarding": {"kind": "RayCluster", "name": "c"}}

    (found,) = events_of([new], [])

    assert (found.message, found.kind, found.name) == ("spec", "RayCluster", "c")


def test_events_come_in_the_order_of_time_whatever_their_precision() -> None:
    times = ("2026-01-01T00:00:01.5Z", "2026-01-01T00:00:02Z", "2026-01-01T00:00:01Z")

    found = events_of([event("R", "m", eventTime=time) for time in times], [])

    assert [one.time[-4:].strip(":") for one in found] == ["0:01", "01.5", "0:02"]


# What the operator refused, and has accepted since


def refusal(seconds: int, **about: str) -> Object:
    given = {"about": "RayCluster", "name": "c", "uid": "uid-of-c", **about}
    return event("InvalidRayClusterSpec", "spec is invalid", lastTimestamp=f"2026-01-01T00:00:{seconds:02}Z", **given)


def success(seconds: int) -> Object:
    when = f"2026-01-01T00:00:{seconds:02}Z"
    return event("CreatedService", "m", about="RayCluster", name="c", uid="uid-of-c", lastTimestamp=when)


def head_of(seconds: int) -> Object:
    made = pod("head")
    return {**made, "metadata": {**made["metadata"], "creationTimestamp": f"2026-01-01T00:00:{seconds:02}Z"}}


def observed(generation: int) -> Object:
    metadata = {"name": "c", "uid": "uid-of-c", "generation": 2}
    return {"metadata": metadata, "spec": {}, "status": {"state": "", "observedGeneration": generation}}


VOIDED: dict[str, tuple[dict[str, Any], bool]] = {
    "alone": ({"events": [refusal(10)]}, True),
    "a success afterwards": ({"events": [refusal(10), success(20)]}, False),
    "a success before": ({"events": [success(5), refusal(10)]}, True),
    "a head that was created afterwards": ({"events": [refusal(10)], "pods": [head_of(20)]}, False),
    "a head that was created before": ({"events": [refusal(10)], "pods": [head_of(5)]}, True),
    "this generation has passed": ({"events": [refusal(10)], "raycluster": observed(2)}, False),
    "an earlier generation has passed": ({"events": [refusal(10)], "raycluster": observed(1)}, True),
    "a RayJob that is under way": (
        {
            "events": [event("InvalidRayJobSpec", "m", about="RayJob", name="train")],
            "rayjob": rayjob(status={"jobDeploymentStatus": "Initializing"}),
        },
        False,
    ),
    "a RayJob whose cluster is refused": (
        {
            "events": [refusal(10)],
            "rayjob": rayjob(status={"jobDeploymentStatus": "Initializing"}),
        },
        True,
    ),
    "a cluster that was made by hand meanwhile": (
        {
            "events": [event("RayClusterNotFound", "m", about="RayJob", name="train")],
            "raycluster": observed(1),
        },
        False,
    ),
}


@pytest.mark.parametrize(("facts", "refused"), VOIDED.values(), ids=VOIDED)
def test_a_later_success_voids_a_refusal(facts: dict[str, Any], refused: bool) -> None:
    found = explained(**facts)

    assert (found is not None and found.code in {"refused", "cluster-not-found"}) is refused


# What registries, runtimes and kubelets say

CONTAINERD = 'failed to pull and unpack image "r/x:1": '
RESOLVE = CONTAINERD + 'failed to resolve reference "r/x:1": '
PULLS: dict[str, list[str]] = {
    "image-not-found": [
        RESOLVE + "r/x:1: not found",
        RESOLVE + "unexpected status from HEAD request to https://h/v2/x/manifests/1: 404 Not Found",
        'failed to resolve reference "r/forbidden/ray503:1": r/forbidden/ray503:1: not found',
        "reading manifest 9.9 in docker.io/library/x: manifest unknown",
        "Error response from daemon: manifest for r/x:1 not found: manifest unknown: manifest unknown",
        "name unknown: The repository with name 'x' does not exist",
    ],
    "image-unauthorized": [
        RESOLVE
        + "pull access denied, repository does not exist or may require authorization: authorization failed: no "
        "basic auth credentials",
        CONTAINERD + "failed to copy: httpReadSeeker: failed open: unexpected status code https://cdn/b: 403 Forbidden",
        RESOLVE
        + "failed to fetch oauth token: unexpected status from GET request to https://a/token: 401 Unauthorized",
    ],
    "image-unreachable": [
        RESOLVE + "error parsing HTTP 503 response body: invalid character '<' looking for beginning of value: "
        '"<html><title>503 Service Temporarily Unavailable</title></html>"',
        "failed to pull image \"r/x:1\": error parsing HTTP 502 response body: invalid character '<' looking for value",
        RESOLVE + "unexpected status from HEAD request to https://r/v2/x/manifests/1: 502 Bad Gateway",
        RESOLVE + "failed to fetch anonymous token: unexpected status from GET request to https://a: 500 Internal",
        'failed to do request: Head "https://r/v2/forbidden/not found": dial tcp: lookup r: no such host',
        "net/http: request canceled (Client.Timeout exceeded while awaiting headers)",
    ],
    "image-pull": [
        CONTAINERD + "failed to extract layer sha256:ab: archive/tar: invalid tar header: unknown",
        "failed to extract layer: gzip: invalid checksum",
        'failed to prepare extraction snapshot "extract-1 sha256:ab": parent snapshot does not exist: not found',
        CONTAINERD + "failed to copy: httpReadSeeker: failed open: content at https://r/blobs/sha256:ab not found: "
        "not found",
        "failed to copy: unexpected EOF",
        "pull QPS exceeded",
    ],
    "image-name": ["failed to resolve reference: invalid reference format"],
    "image-rate-limit": ["unexpected status from HEAD request to https://r/v2: 429 Too Many Requests"],
}


@pytest.mark.parametrize(
    ("message", "code"), [(message, code) for code, messages in PULLS.items() for message in messages]
)
def test_the_answer_of_a_registry_is_told_from_trouble_on_the_way(message: str, code: str) -> None:
    assert image_trouble("ErrImagePull", message) == code


def test_attempts_of_other_kinds_do_not_count() -> None:
    """A registry that was away once, and then does not know the name, has said so once."""
    events = [event("Failed", f"Failed to pull image: {text}") for text in (REFUSED, NOT_FOUND)]
    found = explained([failing("head")], events)
    assert found is not None
    assert (found.attempts, found.fatal) == (1, False)
    found = explained([failing("head")], [*events, event("Failed", f"Failed to pull image: {NOT_FOUND}")])
    assert found is not None
    assert (found.attempts, found.fatal) == (2, True)


def test_a_probe_of_a_sidecar_without_wget_says_nothing_of_the_head() -> None:
    probe = event("Unhealthy", "Readiness probe failed: wget: command not found")
    for name, fatal in [("ray-head", True), ("fluent-bit", False)]:
        about = {**probe["involvedObject"], "fieldPath": f"spec.containers{{{name}}}"}
        found = explained([pod("head", phase="Running")], [{**probe, "involvedObject": about}])
        assert found is not None
        assert (found.code, found.proof is not None) == ("probe-without-wget", fatal)
