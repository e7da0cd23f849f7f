"""Options of `ray.init` are of Ray's types, whether a variable, a template or the user gives them as text."""

# Ray's functions are annotated in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import inspect
from typing import Any, get_args

import dagster as dg
import pytest
from pydantic import ValidationError
from typing_extensions import override

from dagster_ray.core import BaseRayResource, DagsterContext, Deadline, StepOutcome
from dagster_ray.core._ray_options import TYPES
from dagster_ray.core.errors import InvalidVariableError


class Cluster(BaseRayResource):
    """It connects to nothing."""

    @property
    @override
    def address(self) -> str:
        return "auto"

    @property
    @override
    def display_name(self) -> str:
        return "Cluster"

    @override
    def create_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        raise NotImplementedError

    @override
    def delete_cluster(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None:
        raise NotImplementedError


OPTIONS = [
    pytest.param("log_to_driver", "false", False, id="a switch"),
    pytest.param("num_cpus", "3", 3, id="a whole number"),
    pytest.param("system_reserved_cpu", "1.5", 1.5, id="a number"),
    pytest.param("namespace", "7", "7", id="text"),
    pytest.param("logging_level", "info", "info", id="a word or a number"),
]


@pytest.mark.parametrize(("name", "text", "value"), OPTIONS)
@pytest.mark.parametrize("reference", [dg.EnvVar("OPTION"), {"env": "OPTION"}])
def test_the_text_of_a_variable_is_what_its_option_takes(
    name: str, text: str, value: object, reference: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(ray_init_options={name: reference})
    monkeypatch.setenv("OPTION", text)
    found = cluster.init_options()[name]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(("name", "text", "value"), OPTIONS)
def test_so_is_text_of_the_users_own(name: str, text: str, value: object) -> None:
    cluster = Cluster(ray_init_options={name: text})
    assert cluster.ray_init_options == {name: value}
    assert cluster.init_options()[name] == value


def test_amounts_of_resources_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(ray_init_options={"resources": {"slot": {"env": "SLOTS"}, "disk": "2", "gpu": 0.5}})
    monkeypatch.setenv("SLOTS", "1.5")
    assert cluster.init_options()["resources"] == {"slot": 1.5, "disk": 2.0, "gpu": 0.5}


def test_a_driver_without_log_to_driver_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGS", "false")
    assert Cluster(ray_init_options={"log_to_driver": dg.EnvVar("LOGS")}).drain_output(0.0) is True


@pytest.mark.parametrize(
    ("options", "told"),
    [
        pytest.param({"log_to_driver": "maybe"}, "log_to_driver` is 'maybe', not true or false", id="a switch"),
        pytest.param({"num_cpus": "1.5"}, "num_cpus` is '1.5', not a whole number", id="a whole number"),
        pytest.param({"resources": {"slot": "lots"}}, "resources.slot` is 'lots', not a number", id="an amount"),
    ],
)
def test_text_of_another_kind_fails_when_the_code_location_loads(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=rf"`ray_init_options\.{told}"):
        Cluster(ray_init_options=options)


def test_a_variable_of_another_kind_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(ray_init_options={"log_to_driver": dg.EnvVar("OPTION")})
    monkeypatch.setenv("OPTION", "canary-4711")
    with pytest.raises(InvalidVariableError) as caught:
        cluster.init_options()
    assert "`ray_init_options.log_to_driver` refers to the environment variable OPTION" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_the_types_are_those_that_ray_declares() -> None:
    pytest.importorskip("ray", minversion="2.60", reason="the table is that of Ray 2.60")
    import ray

    declared = {
        name: next(kind for kind in (*get_args(parameter.annotation), parameter.annotation) if kind is not type(None))
        for name, parameter in inspect.signature(ray.init).parameters.items()
    }
    numbers = {name: kind for name, kind in declared.items() if kind in (bool, int, float) and name != "logging_level"}
    assert numbers == {name: kind for name, kind in TYPES.items() if not name.startswith("_")}
