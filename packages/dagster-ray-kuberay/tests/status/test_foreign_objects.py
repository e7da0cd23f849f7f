"""Whatever shape foreign objects and answers have: they are read, or refused by an error of ours that names a field."""

import json
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from collector_world import labels, obj
from foreign_objects import scrambled, scrambled_object
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dagster_ray.core import DagsterRayError
from dagster_ray.kuberay import ClusterSharing, InteractiveRayJobConfig, RayClusterConfig
from dagster_ray.kuberay._collector.candidate import candidate_of, selected_cluster
from dagster_ray.kuberay._collector.cursor import Cursor, cursor_of
from dagster_ray.kuberay._collector.plan import Delete, plan
from dagster_ray.kuberay._collector.run_facts import InstanceFacts, Rules
from dagster_ray.kuberay._head.dashboard import Metadata, Refused, Silent, read_answer
from dagster_ray.kuberay._kubernetes.answers import error_of, message_of, retry_seconds
from dagster_ray.kuberay._kubernetes.errors import KubernetesError
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, RAYJOBS
from dagster_ray.kuberay._kubernetes.watch import WatchState
from dagster_ray.kuberay._pipes.attempts import ATTEMPT_ANNOTATION, CALL_LABEL, choose_rayjob
from dagster_ray.kuberay._pipes.job import read_call
from dagster_ray.kuberay._sharing.locks import Lock, UnreadableLock, live_locks, locks_of, read_lock
from dagster_ray.kuberay._status.cluster_state import (
    Ended,
    Head,
    Queued,
    Starting,
    Unseen,
    created,
    ports_of_service,
    service_differs_from_pod,
)

SEEDS = range(6)
ROUNDS = 60
NOW = datetime(2026, 1, 1, tzinfo=UTC)
# The same examples in every run, and no limit on the time that one takes.
fuzzed = settings(derandomize=True, database=None, deadline=None, max_examples=100)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)
bodies = st.binary() | json_values.map(lambda value: json.dumps(value).encode())
DEEP = b"[" * 100_000
MANY_DIGITS = "9" * 5000

LOCK = {
    "run_id": "r",
    "step_key": "s",
    "applied_at": "2026-01-01T00:00:00Z",
    "renewed_at": "2026-01-01T00:00:00Z",
    "ttl_seconds": 600,
}
CLUSTER_STATUS: dict[str, Any] = {
    "state": "ready",
    "conditions": [{"type": "HeadPodReady", "status": "True", "reason": "r", "message": "m"}],
    "endpoints": {"client": "10001", "dashboard": "8265"},
    "head": {"podName": "h", "podIP": "10.0.0.7", "serviceIP": "10.0.0.7", "serviceName": "h-svc"},
}
RAYJOB: dict[str, Any] = {
    **obj("job", labels()),
    "spec": {
        "rayClusterSpec": {"headGroupSpec": {"serviceType": "NodePort"}},
        "clusterSelector": {"ray.io/cluster": "c"},
        "preRunningDeadlineSeconds": 660,
        "suspend": False,
    },
    "status": {
        "jobDeploymentStatus": "Waiting",
        "jobStatus": "",
        "reason": "",
        "message": "",
        "rayClusterName": "job-x7k2p",
        "rayClusterStatus": CLUSTER_STATUS,
        "startTime": "2026-01-01T00:00:00Z",
    },
}
RAYCLUSTER: dict[str, Any] = {
    **obj("cluster", labels()),
    "spec": {"headGroupSpec": {"serviceType": "ClusterIP", "headService": {}}, "suspend": False},
    "status": CLUSTER_STATUS,
}
RAYCLUSTER["metadata"] = {**RAYCLUSTER["metadata"], "annotations": {"dagster/lock-a": json.dumps(LOCK)}}
SERVICE: dict[str, Any] = {"spec": {"ports": [{"name": "client", "port": 10001, "targetPort": 10001}]}}


def check_head(head: Head | None) -> None:
    if head is not None:
        assert all(isinstance(one, str) for one in (head.cluster, head.reason, head.message))
        assert all(one is None or isinstance(one, str) for one in (head.service, head.pod, head.pod_ip))
        assert all(isinstance(port, int) for port in head.ports.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_a_status_of_any_shape_is_a_state(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(ROUNDS):
        for kind, whole in ((RAYJOBS, RAYJOB), (RAYCLUSTERS, RAYCLUSTER)):
            found = scrambled_object(whole, rng)
            own = created(kind, "default", found)
            state = own.state_of(found)
            assert isinstance(state, Unseen | Queued | Starting | Ended)
            check_head(own.head_of(found))
            assert isinstance(service_differs_from_pod(own.cluster_spec), bool)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_service_of_any_shape_has_ports_that_are_numbers(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(ROUNDS):
        for of_pod in (True, False):
            found = ports_of_service(scrambled(SERVICE, rng), of_pod=of_pod)
            assert all(isinstance(port, int) for port in found.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_the_collector_judges_objects_of_any_shape(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(ROUNDS):
        for kind, whole in ((RAYJOBS, RAYJOB), (RAYCLUSTERS, RAYCLUSTER)):
            found = scrambled_object(whole, rng)
            candidate = candidate_of(kind, found)
            made = plan([candidate], InstanceFacts(instance_id="i"), NOW + timedelta(days=1), Rules())
            assert len(made.deletes) + len(made.keeps) == 1
            assert all(isinstance(one, Delete) and one.what.is_identified and one.what.is_ours for one in made.deletes)
            name = selected_cluster(found)
            assert name is None or isinstance(name, str)


@fuzzed
@given(
    st.text()
    | json_values.map(json.dumps)
    | st.fixed_dictionaries({}, optional=dict.fromkeys(LOCK, scalars)).map(json.dumps)
)
@example("[" * 10_000)
@example(json.dumps({**LOCK, "renewed_at": "0001-01-01T00:00:00+14:00"}))
@example(json.dumps({**LOCK, "applied_at": "9999-12-31T23:59:59-14:00"}))
@example(json.dumps({**LOCK, "ttl_seconds": 10**400}))
def test_a_lock_of_any_text_is_a_lock_or_never_ends(text: str) -> None:
    lock = read_lock("a", text)
    assert isinstance(lock, Lock | UnreadableLock)
    assert isinstance(lock.is_live(NOW), bool)
    cluster: dict[str, Any] = {"metadata": {"annotations": {"dagster/lock-a": text}}}
    assert locks_of(cluster) == (lock,)
    assert set(live_locks(cluster, NOW)) <= {lock}


EVENT = {
    "type": "MODIFIED",
    "object": {"kind": "Status", "metadata": {"uid": "u", "resourceVersion": "7"}, "code": 410},
}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_watch_of_any_objects_goes_on(seed: int) -> None:
    rng = random.Random(seed)
    state = WatchState("1")
    for _ in range(ROUNDS):
        kind = rng.choice(("ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"))
        for event in state.fed(json.dumps(scrambled({**EVENT, "type": kind}, rng)).encode() + b"\n"):
            assert event.type in {"ADDED", "MODIFIED", "DELETED"}
        assert state.version is None or isinstance(state.version, str)


@pytest.mark.parametrize("seed", SEEDS)
def test_attempts_of_any_shape_leave_a_choice(seed: int) -> None:
    rng = random.Random(seed)
    whole = {**RAYJOB, "metadata": {"labels": {CALL_LABEL: "k"}, "annotations": {ATTEMPT_ANNOTATION: "3"}}}
    for _ in range(ROUNDS):
        assert choose_rayjob(["k"], [scrambled_object(whole, rng) for _ in range(3)]).number >= 0


@fuzzed
@given(st.lists(st.binary() | bodies.map(lambda body: body + b"\n")), st.integers(min_value=1, max_value=40))
@example([DEEP + b"\n"], 1000)
@example([b'{"type":"ERROR","object":{"code":"x","message":3}}\n'], 7)
@example(
    [
        json.dumps({"type": "MODIFIED", "object": {"metadata": {"resourceVersion": v}}}).encode() + b"\n"
        for v in ("1", MANY_DIGITS)
    ],
    9000,
)
def test_a_watch_of_any_bytes_goes_on(pieces: list[bytes], size: int) -> None:
    state = WatchState("1")
    data = b"".join(pieces)
    for at in range(0, len(data), size):
        for event in state.fed(data[at : at + size]):
            assert event.type in {"ADDED", "MODIFIED", "DELETED"}
            assert isinstance(event.object, Mapping)
    state.ended()


@fuzzed
@given(st.integers(min_value=100, max_value=599), bodies)
@example(200, DEEP)
def test_a_dashboard_that_answers_anything_is_known_or_silent(status: int, body: bytes) -> None:
    assert isinstance(read_answer(status, body), Metadata | Refused | Silent)


@fuzzed
@given(st.integers(min_value=100, max_value=599), bodies, st.none() | st.text())
@example(422, DEEP, MANY_DIGITS)
def test_an_api_server_that_answers_anything_is_an_error_of_ours(status: int, body: bytes, after: str | None) -> None:
    assert isinstance(error_of("get", RAYJOBS, "ns", "a", status=status, body=body), KubernetesError)
    assert isinstance(message_of(body), str)
    assert retry_seconds(3, after, random.Random(1)) >= 0


@fuzzed
@given(st.text() | json_values.map(json.dumps))
@example('{"version": 1, "places": {"a": []}, "failed": [[], {}]}')
def test_a_cursor_of_any_text_reads_back(text: str) -> None:
    found = cursor_of(text)
    assert isinstance(found, Cursor)
    assert cursor_of(found.text()) == found


SPEC: dict[str, Any] = {
    "rayVersion": "2.60.0",
    "headGroupSpec": {
        "serviceType": "ClusterIP",
        "rayStartParams": {"num-cpus": "0"},
        "template": {
            "metadata": {"labels": {"team": "search"}, "annotations": {"a": "b"}},
            "spec": {
                "containers": [
                    {
                        "name": "ray-head",
                        "image": "ray:1",
                        "env": [{"name": "A", "value": "b"}],
                        "resources": {"requests": {"cpu": "1", "memory": "4Gi"}, "limits": {"cpu": 1}},
                    }
                ]
            },
        },
    },
    "workerGroupSpecs": [{"groupName": "cpu", "replicas": 1, "minReplicas": 0, "maxReplicas": 4, "template": {}}],
    "autoscalerOptions": {"idleTimeoutSeconds": 60, "resources": {"limits": {"cpu": "500m"}}},
    "authOptions": {"mode": "token"},
    "gcsFaultToleranceOptions": {"redisAddress": "redis:6379"},
}
METADATA: dict[str, Any] = {"name": "train", "namespace": "ray", "labels": {"env": "prod"}, "annotations": {"a": "b"}}


def read_whole_call(**ray_job: Any) -> object:
    return read_call(ray_job)


CONFIGS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "a RayJob": (
        InteractiveRayJobConfig,
        {
            "metadata": METADATA,
            "spec": {
                "rayClusterSpec": SPEC,
                "deletionStrategy": {"onSuccess": {"policy": "DeleteSelf"}, "onFailure": {"policy": "DeleteNone"}},
                "activeDeadlineSeconds": 5,
            },
        },
    ),
    "a RayCluster": (RayClusterConfig, {"metadata": METADATA, "spec": SPEC}),
    "a call of the Pipes client": (
        read_whole_call,
        {
            "kind": "RayJob",
            "metadata": METADATA,
            "spec": {
                "entrypoint": "python x.py",
                "submissionMode": "HTTPMode",
                "runtimeEnvYAML": "env_vars: {A: b}",
                "entrypointResources": '{"a": 1}',
                "rayClusterSpec": SPEC,
            },
        },
    ),
    "sharing": (
        ClusterSharing,
        {"enabled": True, "ttl_seconds": 60, "match_labels": {"a": "b"}, "match_dagster_labels": {"job": True}},
    ),
}


def unnamed_problems(model: Callable[..., Any], given_: Mapping[str, Any]) -> list[object]:
    """Return what a refusal says without naming a field."""
    try:
        model(**given_)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)
        return [one for one in found if not one["loc"] and "`" not in one["msg"]]
    except DagsterRayError as error:
        return [] if "`" in error.problem else [error]
    return []


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("model", "whole"), CONFIGS.values(), ids=CONFIGS)
def test_a_configuration_of_any_shape_is_taken_or_its_field_is_named(
    model: Callable[..., Any], whole: dict[str, Any], seed: int
) -> None:
    rng = random.Random(seed)
    model(**whole)
    for _ in range(ROUNDS):
        foreign = scrambled_object(whole, rng, rate=0.01)
        assert unnamed_problems(model, foreign) == []
