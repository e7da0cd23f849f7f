"""What an answer of the API server means. Bodies as kube-apiserver 1.36 sent them."""

import json
import pickle
import random

import pytest

from dagster_ray.kuberay._kubernetes import errors
from dagster_ray.kuberay._kubernetes.answers import error_of, is_transient, message_of, retry_seconds
from dagster_ray.kuberay._kubernetes.errors import InvalidObjectError, KubernetesError, UnavailableError
from dagster_ray.kuberay._kubernetes.kinds import EVENTS, RAYJOBS


def status(message: str, **more: object) -> bytes:
    return json.dumps({"kind": "Status", "message": message, **more}).encode()


STRICT = (
    'RayJob in version "v1" cannot be handled as a RayJob: strict decoding error: unknown field "spec.foo", '
    'unknown field "spec.rayClusterSpec.bar"'
)
CAUSES = {"causes": [{"reason": "FieldValueRequired", "message": "Required value", "field": "spec.x"}]}

CASES = {
    "bad credentials": (401, status("Unauthorized"), errors.UnauthorizedError),
    "no right": (403, status('rayjobs.ray.io is forbidden: User "u" cannot create'), errors.ForbiddenError),
    "no such object": (404, status('rayjobs.ray.io "a" not found'), errors.NotFoundError),
    "no such kind": (404, b"404 page not found\n", errors.KindNotInstalledError),
    "name taken": (409, status("already exists", reason="AlreadyExists"), errors.ConflictError),
    "expired": (410, status("The provided continue parameter is too old"), errors.KubernetesError),
    "unknown field": (400, status(STRICT), errors.InvalidObjectError),
    "refused": (422, status("is invalid", details=CAUSES), errors.InvalidObjectError),
    "anything else": (418, b"teapot", errors.KubernetesError),
}


@pytest.mark.parametrize(("code", "body", "kind"), CASES.values(), ids=CASES)
def test_an_answer_means(code: int, body: bytes, kind: type[KubernetesError]) -> None:
    error = error_of("create", RAYJOBS, "ray", "a", status=code, body=body)
    assert type(error) is kind
    assert "create rayjobs.ray.io ray/a" in error.problem
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), vars(again)) == (str(error), vars(error))


def test_fields_that_the_server_does_not_know_are_read_from_its_text() -> None:
    error = error_of("create", RAYJOBS, "ray", "a", status=400, body=status(STRICT))
    assert isinstance(error, InvalidObjectError)
    assert error.unknown_fields == ("spec.foo", "spec.rayClusterSpec.bar")


def test_a_refusal_names_its_fields() -> None:
    error = error_of("create", RAYJOBS, "ray", "a", status=422, body=status("is invalid", details=CAUSES))
    assert isinstance(error, InvalidObjectError)
    assert error.causes == (("spec.x", "Required value"),)
    assert "`spec.x`" in error.remedy


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        pytest.param(
            'events is forbidden: User "ci" cannot list resource "events" in API group "" in the namespace "ray"',
            "allow `list` on `events` in a Role of namespace ray.",
            id="a right that is missing, as a Role names it",
        ),
        pytest.param(
            'pods "head" is forbidden: exceeded quota: team, requested: cpu=8, used: cpu=4, limited: cpu=8',
            "change the quota or policy that the message names, or the object that it refuses.",
            id="a quota",
        ),
        pytest.param(
            'admission webhook "validate.example" denied the request: no GPU on Fridays',
            "change the quota or policy that the message names, or the object that it refuses.",
            id="a webhook",
        ),
    ],
)
def test_a_call_that_is_forbidden_has_a_remedy_for_its_cause(message: str, remedy: str) -> None:
    assert error_of("list", EVENTS, "ray", None, status=403, body=status(message)).remedy == remedy


def test_an_unavailable_server_pickles() -> None:
    error = UnavailableError("get", "pods", "ray", "p", 503, "503 overloaded", 7)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.attempts) == (str(error), 7)


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_what_may_change_is_tried_again(code: int) -> None:
    assert is_transient(code)


@pytest.mark.parametrize("code", [200, 400, 401, 403, 404, 409, 410, 415, 422])
def test_what_stays_is_not_tried_again(code: int) -> None:
    assert not is_transient(code)


def test_delays_grow_to_a_cap_and_honour_retry_after() -> None:
    rng = random.Random(7)
    delays = [retry_seconds(attempt, None, rng) for attempt in range(1, 200)]
    assert 0.1 <= delays[0] <= 0.2
    assert max(delays) <= 3.0
    assert retry_seconds(1, "17", rng) == 17.0
    assert retry_seconds(1, "Wed, 21 Oct 2026 07:28:00 GMT", rng) < 1


def test_a_body_that_is_no_status_is_quoted_within_limits() -> None:
    assert message_of(b"\xff" * 10_000).startswith("\ufffd")
    assert len(message_of(b"x" * 10_000)) == 2000
