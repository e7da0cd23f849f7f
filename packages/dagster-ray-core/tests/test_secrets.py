"""References to Secrets: what is one, who refuses it when, and that `ray.init` never gets one."""

import json
from typing import Any, ClassVar

import pytest
from typing_extensions import override

from dagster_ray.core import (
    BaseRayResource,
    DagsterContext,
    Deadline,
    SecretRef,
    StepOutcome,
    secret_of,
    secrets_of,
    without_secrets,
)
from dagster_ray.core.errors import InvalidFieldError
from dagster_ray.core.variables import env_vars_fault

TOKEN = {"secretKeyRef": {"name": "hub", "key": "token"}}


class Machine(BaseRayResource):
    """A backend without pods, which makes nothing."""

    @property
    @override
    def address(self) -> str:
        return "127.0.0.1:6379"

    @property
    @override
    def display_name(self) -> str:
        return "machine"

    @override
    def create_cluster(self, context: DagsterContext, deadline: Deadline) -> None: ...

    @override
    def delete_cluster(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None: ...


class OnPods(Machine):
    """A backend that makes its pods."""

    takes_secrets: ClassVar[bool] = True


def test_a_reference_is_what_a_pod_template_has_and_travels_as_json() -> None:
    assert SecretRef("hub", "token") == TOKEN
    assert secret_of(json.loads(json.dumps(SecretRef("hub", "token")))) == TOKEN


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("token", id="text"),
        pytest.param({"env": "TOKEN"}, id="a variable"),
        pytest.param({"fieldRef": {"fieldPath": "metadata.name"}}, id="another reference of a pod template"),
        pytest.param({"secretKeyRef": {"name": "hub"}}, id="no key"),
        pytest.param({"secretKeyRef": {"name": "hub", "key": ""}}, id="an empty key"),
        pytest.param({"secretKeyRef": {"name": "hub", "key": "k", "namespace": "n"}}, id="a field that is none"),
        pytest.param({"secretKeyRef": {"name": "hub", "key": "k"}, "value": "v"}, id="text as well"),
    ],
)
def test_what_is_no_reference(value: object) -> None:
    assert secret_of(value) is None


@pytest.mark.parametrize(("name", "key"), [("", "token"), ("hub", "")])
def test_an_empty_reference_is_refused_where_it_is_written(name: str, key: str) -> None:
    with pytest.raises(InvalidFieldError, match="empty name or key"):
        SecretRef(name, key)


@pytest.mark.parametrize(
    ("value", "takes_secrets", "reason"),
    [
        pytest.param(TOKEN, True, None, id="where pods are ours"),
        pytest.param(TOKEN, False, "refers to a Secret of Kubernetes", id="where they are not"),
        pytest.param({"secretKeyRef": "hub"}, True, "is not a whole reference to a Secret", id="a part of one"),
        pytest.param({"other": 1}, True, "is a dict, but the value", id="any other mapping"),
    ],
)
def test_whether_a_variable_may_be_a_reference(value: object, takes_secrets: bool, reason: str | None) -> None:
    fault = env_vars_fault({"A": value}, "env_vars", takes_secrets=takes_secrets)
    assert fault == reason if reason is None or fault is None else fault[1].startswith(reason)
    assert fault is None or fault[0] == "env_vars.A"


def test_a_backend_without_pods_refuses_it_when_the_code_location_loads() -> None:
    with pytest.raises(ValueError, match=r"`runtime_env.env_vars.TOKEN` refers to a Secret.*KubeRay resource"):
        Machine(runtime_env={"env_vars": {"TOKEN": SecretRef("hub", "token")}})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({"env_vars": {"T": TOKEN, "A": "1"}}, {"runtime_env": {"env_vars": {"A": "1"}}}, id="one of two"),
        pytest.param({"env_vars": {"T": TOKEN}, "pip": ["a"]}, {"runtime_env": {"pip": ["a"]}}, id="the only variable"),
        pytest.param({"env_vars": {"T": TOKEN}}, {}, id="all that there is"),
        pytest.param({"env_vars": {"A": "1"}}, {"runtime_env": {"env_vars": {"A": "1"}}}, id="none"),
    ],
)
def test_ray_init_gets_no_reference(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert OnPods(runtime_env=given).init_options() == expected
    assert secrets_of(without_secrets(given)) == {}
    assert {**without_secrets(given).get("env_vars", {}), **secrets_of(given)} == given["env_vars"]
