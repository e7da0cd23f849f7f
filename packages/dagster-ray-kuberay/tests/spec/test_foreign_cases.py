"""What fuzzing has found, case by case: foreign input of a shape that once raised an error which was not ours."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from dagster_ray.kuberay._collector.candidate import candidate_of, selected_cluster
from dagster_ray.kuberay._head.dashboard import Silent, read_answer
from dagster_ray.kuberay._kubernetes.answers import error_of, parsed
from dagster_ray.kuberay._kubernetes.errors import InvalidObjectError
from dagster_ray.kuberay._kubernetes.fields import port_number, time_of
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
from dagster_ray.kuberay._kubernetes.watch import WatchState
from dagster_ray.kuberay._operator_rules.runtime_env_yaml import runtime_env_fault
from dagster_ray.kuberay._pipes.attempts import ATTEMPT_ANNOTATION, CALL_LABEL, Choice, choose_rayjob
from dagster_ray.kuberay._pipes.job import read_call
from dagster_ray.kuberay._spec.file import parse_spec
from dagster_ray.kuberay._spec.head_ports import CLIENT, DASHBOARD, GCS, completed_ports
from dagster_ray.kuberay._status.cluster_state import Head, head_of_status, ports_of_service, service_differs_from_pod
from dagster_ray.kuberay.configs import InteractiveRayJobConfig
from dagster_ray.kuberay.errors import InvalidSpecError, SpecFileError

DEEP = b"[" * 100_000
MANY_DIGITS = "9" * 5000


def line(kind: object, version: str = "7") -> bytes:
    return json.dumps({"type": kind, "object": {"metadata": {"uid": "u", "resourceVersion": version}}}).encode() + b"\n"


def versions_after(*lines: bytes) -> tuple[str | None, int]:
    state = WatchState("1")
    events = [event for one in lines for event in state.fed(one)]
    return state.version, len(events)


def attempt(**more: Any) -> dict[str, Any]:
    return {"metadata": {"labels": {CALL_LABEL: "k"}, "annotations": {ATTEMPT_ANNOTATION: MANY_DIGITS}}, **more}


def first_variables(container: dict[str, Any]) -> object:
    """Return the variables of a head's first container as they are sent."""
    head = {"template": {"spec": {"containers": [container]}}, "rayStartParams": {}}
    config = InteractiveRayJobConfig.model_validate({"spec": {"rayClusterSpec": {"headGroupSpec": head}}})
    sent = config.plain()["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    return sent[0]["env"]


READ: dict[str, tuple[Callable[[], object], object]] = {
    "a head whose names are no text": (
        lambda: head_of_status("c", {"head": {"serviceName": {}, "podName": ["p"], "podIP": 7}}),
        Head("c"),
    ),
    "a port of more digits than Python reads": (
        lambda: head_of_status("c", {"endpoints": {"client": MANY_DIGITS, "gcs": "6379"}}).ports,
        {"gcs": 6379},
    ),
    "a Service with ports that have names only": (
        lambda: ports_of_service({"spec": {"ports": [{"name": "a"}, {"name": "b", "port": "http"}]}}, of_pod=True),
        {},
    ),
    "a service type that is a mapping": (
        lambda: service_differs_from_pod({"headGroupSpec": {"serviceType": {}}}),
        True,
    ),
    "a superscript is no port": (lambda: port_number("\u00b2"), None),
    "a status whose word is a list": (
        lambda: candidate_of(RAYJOBS, {"status": {"jobDeploymentStatus": ["Waiting"]}}).job is not None,
        True,
    ),
    "a RayJob on a cluster, whose word is a mapping": (
        lambda: selected_cluster(
            {"status": {"jobDeploymentStatus": {}}, "spec": {"clusterSelector": {"ray.io/cluster": "c"}}}
        ),
        "c",
    ),
    "a time before the calendar begins": (lambda: time_of("0001-01-01T00:00:00+14:00"), None),
    "a time after the calendar ends": (lambda: time_of("9999-12-31T23:59:59-14:00"), None),
    "a time": (lambda: time_of("2026-01-01T02:00:00+02:00"), datetime(2026, 1, 1, tzinfo=UTC)),
    "a watch line that is nested too deep": (lambda: versions_after(DEEP + b"\n", line("ADDED")), ("7", 1)),
    "a watch event whose type is a list": (lambda: versions_after(line(["ADDED"]), line("ADDED", "8")), ("8", 1)),
    "a version of more digits than Python reads": (
        lambda: versions_after(line("ADDED", "8"), line("MODIFIED", MANY_DIGITS), line("MODIFIED", "9")),
        ("9", 2),
    ),
    "a dashboard's answer that is nested too deep": (lambda: read_answer(200, DEEP), Silent("not JSON")),
    "an API server's answer that is nested too deep": (lambda: parsed(DEEP), {}),
    "a refusal that is nested too deep": (
        lambda: type(error_of("create", RAYJOBS, "ns", "a", status=422, body=DEEP)),
        InvalidObjectError,
    ),
    "attempts whose number has many digits and whose status is a list": (
        lambda: choose_rayjob(["k"], [attempt(status={"jobStatus": ["FAILED"]})]).number,
        Choice(1).number,
    ),
    "a variable whose name is text": (
        lambda: first_variables({"name": "ray-head", "env": [{"name": "a", "value": "b"}]}),
        [{"name": "a", "value": "b"}],
    ),
    "a declared port whose name is a list, and start parameters that are no numbers": (
        lambda: completed_ports(
            [{"name": []}], {"port": "\u00b2", "dashboard-port": MANY_DIGITS}, (CLIENT, DASHBOARD, GCS)
        ),
        [{"name": []}, {"name": "client", "containerPort": 10001}],
    ),
    "a runtime environment that is nested deeper than the C loader's stack": (
        lambda: runtime_env_fault("[" * 100_000, (1, 7, 0)),
        None,
    ),
    "a runtime environment with a date that is none, which Go reads as text": (
        lambda: runtime_env_fault("{a: 2026-99-99}", (1, 7, 0)),
        None,
    ),
}


@pytest.mark.parametrize(("read", "expected"), READ.values(), ids=READ)
def test_foreign_input_is_read(read: Callable[[], object], expected: object) -> None:
    assert read() == expected


def test_a_variable_whose_name_is_a_mapping_is_refused_with_its_place() -> None:
    with pytest.raises(ValidationError, match=r"containers\[0\]\.env\[0\]\.name` is a mapping where text belongs"):
        first_variables({"name": "ray-head", "env": [{"name": {"a": 1}, "value": "b"}]})


SCALARS = {
    "a month 99": "2026-99-99",
    "a number without digits": "!!int ''",
    "a truth value that is none": "!!bool x",
    "a time that is none": "!!timestamp x",
    "more digits than Python reads": MANY_DIGITS,
    "nested too deep": "[" * 5000,
}


@pytest.mark.parametrize("scalar", SCALARS.values(), ids=SCALARS)
def test_yaml_that_python_cannot_read_is_an_error_that_names_its_place(scalar: str) -> None:
    with pytest.raises(SpecFileError, match=r"The file cluster\.yaml|cluster\.yaml"):
        parse_spec("cluster.yaml", f"headGroupSpec: {scalar}")
    with pytest.raises(InvalidSpecError, match=r"`spec\.runtimeEnvYAML`"):
        read_call({"kind": "RayJob", "spec": {"entrypoint": "x", "runtimeEnvYAML": f"env_vars: {scalar}"}})


def test_resources_that_are_nested_too_deep_are_named() -> None:
    with pytest.raises(InvalidSpecError, match=r"`spec\.entrypointResources` is no JSON"):
        read_call({"kind": "RayJob", "spec": {"entrypoint": "x", "entrypointResources": "[" * 100_000}})
