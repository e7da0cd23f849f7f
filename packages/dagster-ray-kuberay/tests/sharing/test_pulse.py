"""What the answers to a heartbeat mean. Tables."""

import json
import random
from typing import Any

import pytest

from dagster_ray.kuberay._kubernetes.answers import error_of, proves_gone
from dagster_ray.kuberay._kubernetes.errors import UnavailableError
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS
from dagster_ray.kuberay._status.cluster_state import created
from dagster_ray.kuberay._steps.pulse import Answer, Pulse, answer_of, answer_of_error

OWN = created(RAYCLUSTERS, "default", {"metadata": {"name": "c", "uid": "u"}})
KEY, TEXT = "dagster/lock-a", "{}"


def metadata(**more: Any) -> dict[str, Any]:
    return {"metadata": {"name": "c", "uid": "u", "annotations": {KEY: TEXT}, **more}}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(metadata(), Answer.RENEWED, id="the object with the annotation"),
        pytest.param(metadata(deletionTimestamp="2026-01-01T00:00:00Z"), Answer.GOING, id="an object that ends"),
        pytest.param(metadata(uid="v"), Answer.UNKNOWN, id="another object, which a patch by uid cannot have met"),
        pytest.param(metadata(annotations={}), Answer.UNKNOWN, id="an annotation that a webhook has removed"),
        pytest.param(metadata(annotations={KEY: "x"}), Answer.UNKNOWN, id="an annotation that a webhook has changed"),
        pytest.param({}, Answer.UNKNOWN, id="a login page with 200"),
        pytest.param({"metadata": []}, Answer.UNKNOWN, id="JSON of somebody else"),
    ],
)
def test_what_a_success_shows(answer: dict[str, Any], expected: Answer) -> None:
    assert answer_of(answer, OWN, KEY, TEXT) is expected


def status(code: int, message: str = "", **details: Any) -> bytes:
    return json.dumps({"kind": "Status", "code": code, "message": message, "details": details}).encode()


UID_CAUSE = [{"field": "metadata.uid", "message": 'Invalid value: "u": field is immutable'}]
ERRORS: dict[str, tuple[int, bytes, Answer]] = {
    "a 404 that names the object": (404, status(404, name="c", kind="rayclusters"), Answer.NOT_FOUND),
    "a 404 that names something else": (404, status(404, name="default", kind="namespaces"), Answer.UNKNOWN),
    "a 404 that names nothing": (404, status(404), Answer.UNKNOWN),
    "a 404 of a proxy, as JSON": (404, b'{"detail": "Not Found"}', Answer.UNKNOWN),
    "a 404 of a load balancer, as a page": (404, b"<html>not found</html>", Answer.UNKNOWN),
    "a 404 of the kind, while its CRD is upgraded": (404, b"404 page not found", Answer.UNKNOWN),
    "a 422 for the uid": (422, status(422, causes=UID_CAUSE), Answer.REPLACED),
    "a 422 for the length of all annotations": (
        422,
        status(422, causes=[{"field": "metadata.annotations", "message": "Too long"}]),
        Answer.UNKNOWN,
    ),
    "a 422 without a cause": (422, status(422, "the server rejected our request"), Answer.UNKNOWN),
    "a 400 of a webhook": (400, status(400, 'admission webhook "x" denied the request'), Answer.UNKNOWN),
    "a 403": (403, status(403, "forbidden"), Answer.UNKNOWN),
    "a 401": (401, b"Unauthorized", Answer.UNKNOWN),
    "a 409 after five conflicts inside the server": (409, status(409, name="c"), Answer.UNKNOWN),
    "a 302 to a login page": (302, b"", Answer.UNKNOWN),
    "a 410": (410, status(410), Answer.UNKNOWN),
}


@pytest.mark.parametrize(("code", "body", "expected"), ERRORS.values(), ids=ERRORS)
def test_what_a_refusal_shows(code: int, body: bytes, expected: Answer) -> None:
    error = error_of("patch", RAYCLUSTERS, "default", "c", status=code, body=body)
    assert answer_of_error(error) is expected
    assert proves_gone(error) is (expected is not Answer.UNKNOWN)


def test_no_answer_shows_nothing() -> None:
    away = UnavailableError("patch", "rayclusters.ray.io", "default", "c", 0, "ConnectionResetError", 3)
    assert answer_of_error(away) is Answer.UNKNOWN
    assert answer_of_error(ValueError("no header")) is Answer.UNKNOWN


R, G, P, N, U = Answer.RENEWED, Answer.GOING, Answer.REPLACED, Answer.NOT_FOUND, Answer.UNKNOWN


@pytest.mark.parametrize(
    ("answers", "over"),
    [
        pytest.param([], False, id="nothing yet"),
        pytest.param([R, R], False, id="renewals"),
        pytest.param([U] * 1000, False, id="an outage, however long"),
        pytest.param([R, G], True, id="an object that ends"),
        pytest.param([R, P], True, id="another object of the name"),
        pytest.param([N], False, id="one 404"),
        pytest.param([N, N], True, id="two"),
        pytest.param([N, U, U, N], True, id="two with an outage between"),
        pytest.param([N, R, N], False, id="two, but the object was seen between"),
    ],
)
def test_what_ends_a_heartbeat(answers: list[Answer], over: bool) -> None:
    pulse = Pulse()
    for answer in answers:
        assert not pulse.is_over
        pulse = pulse.after(answer)
    assert pulse.is_over is over


@pytest.mark.parametrize(
    ("failures", "interval", "least", "most"),
    [
        pytest.param(0, 200, 180, 200, id="the interval, a little less at random"),
        pytest.param(1, 200, 0.5, 1, id="soon after a failure"),
        pytest.param(4, 200, 4, 8, id="later after several"),
        pytest.param(50, 200, 15, 30, id="every half minute in a long outage"),
        pytest.param(50, 3, 1.5, 3, id="never later than the interval"),
    ],
)
def test_when_it_is_tried_again(failures: int, interval: float, least: float, most: float) -> None:
    pulse = Pulse()
    for _ in range(failures):
        pulse = pulse.after(Answer.UNKNOWN)
    pauses = [pulse.pause_seconds(interval, random.Random(seed)) for seed in range(200)]
    assert least <= min(pauses) <= max(pauses) <= most
    assert len(set(pauses)) > 100
