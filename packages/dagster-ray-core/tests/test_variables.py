"""References to environment variables are read in one way, wherever they stand."""

from typing import Any

import dagster as dg
import pytest

from dagster_ray.core import variables
from dagster_ray.core.errors import InvalidVariableError, MissingVariableError
from dagster_ray.core.variables import Placeholder, Variable, env_vars_fault, referring, resolved, variable_of

ENVIRON = {"TEXT": "prod", "NUMBER": "8", "SECRET": "canary-4711"}


@pytest.mark.parametrize(
    ("value", "variable"),
    [
        pytest.param(dg.EnvVar("TEXT"), Variable("TEXT"), id="EnvVar"),
        pytest.param(dg.EnvVar.int("NUMBER"), Variable("NUMBER", is_whole_number=True), id="EnvVar.int"),
        pytest.param({"env": "TEXT"}, Variable("TEXT"), id="as in run config"),
        pytest.param({"env": "N", "type": "int"}, Variable("N", is_whole_number=True), id="EnvVar.int as plain JSON"),
        pytest.param({"env": "TEXT", "more": "x"}, None, id="a mapping with other keys"),
        pytest.param({"env": [{"name": "A"}]}, None, id="the environment of a container"),
        pytest.param("TEXT", None, id="the name alone"),
        pytest.param(0, None, id="a number"),
        pytest.param(None, None, id="nothing"),
    ],
)
def test_what_a_reference_is(value: object, variable: Variable | None) -> None:
    assert variable_of(value) == variable


@pytest.mark.parametrize(
    ("value", "found"),
    [
        pytest.param({"pip": [dg.EnvVar("TEXT")]}, {"pip": ["prod"]}, id="in a list"),
        pytest.param({"a": {"b": {"env": "TEXT"}}}, {"a": {"b": "prod"}}, id="below a dictionary"),
        pytest.param({"n": dg.EnvVar.int("NUMBER")}, {"n": 8}, id="a whole number"),
        pytest.param({"n": dg.EnvVar("NUMBER")}, {"n": "8"}, id="text stays text"),
        pytest.param({"labels": {"env": "TEXT"}}, {"labels": {"env": "TEXT"}}, id="a label that is called env"),
        pytest.param({"env_vars": {"env": "TEXT"}}, {"env_vars": {"env": "TEXT"}}, id="a variable that is called env"),
        pytest.param({"labels": {"env": {"env": "TEXT"}}}, {"labels": {"env": "prod"}}, id="the value of such a label"),
        pytest.param({"env": "TEXT"}, {"env": "TEXT"}, id="what no variable can stand for as a whole"),
        pytest.param({"a": None, "b": 1.5, "c": True}, {"a": None, "b": 1.5, "c": True}, id="everything else stays"),
    ],
)
def test_values_stand_in_place_of_references(value: dict[str, Any], found: object) -> None:
    assert resolved(value, ENVIRON) == found
    # The same after the way through Dagster's config, which knows plain JSON only.
    assert resolved(referring(value), ENVIRON) == found


def test_objects_that_are_not_plain_stay_what_they_are() -> None:
    own = object()
    assert resolved({"a": [own]}, ENVIRON)["a"][0] is own


def test_a_variable_that_is_not_set_is_an_error_that_names_the_field() -> None:
    with pytest.raises(MissingVariableError, match=r"`runtime_env\.pip\[0\]` refers to .* NOWHERE"):
        resolved({"pip": [{"env": "NOWHERE"}]}, ENVIRON, "runtime_env")


@pytest.mark.parametrize("text", ["", "8.5", "1e3", "0x10", "1_000", "eight", "9" * 40])
def test_only_a_whole_number_is_one(text: str) -> None:
    with pytest.raises(InvalidVariableError, match="`n` refers to the environment variable V"):
        resolved({"n": dg.EnvVar.int("V")}, {"V": text})


def test_no_error_shows_the_value() -> None:
    with pytest.raises(InvalidVariableError) as caught:
        resolved({"n": dg.EnvVar.int("SECRET")}, ENVIRON)
    assert "canary" not in f"{caught.value!r} {caught.value}"


def test_a_placeholder_is_taken_for_a_number_too() -> None:
    assert resolved({"n": dg.EnvVar.int("N")}, {"N": Placeholder("mark")}) == {"n": "mark"}


def test_every_reference_is_found_with_its_path() -> None:
    value = {"a": [{"b": dg.EnvVar("X")}], "labels": {"env": "prod", "team": {"env": "Y"}}}
    assert list(variables.variables(value)) == [("a[0].b", Variable("X")), ("labels.team", Variable("Y"))]


_NOT_TEXT = "but the value of an environment variable is text"
_AS_TEXT = "write text, in quotes where YAML would read something else"


@pytest.mark.parametrize(
    ("env_vars", "fault"),
    [
        pytest.param({"A": "1", "B": dg.EnvVar("X"), "C": {"env": "Y"}}, None, id="text and references"),
        pytest.param({"A": 1}, ("e.A", f"is an int, {_NOT_TEXT}", _AS_TEXT), id="a number"),
        pytest.param({"A": True}, ("e.A", f"is a bool, {_NOT_TEXT}", _AS_TEXT), id="a bool"),
        pytest.param({"A": None}, ("e.A", f"is null, {_NOT_TEXT}", _AS_TEXT), id="null"),
        pytest.param(
            {1: "a"}, ("e", "has the name 1, which is not text", "put the name in quotes"), id="a name that is a number"
        ),
        pytest.param(["A=1"], ("e", "is a list", "write a mapping of names to text"), id="a list"),
    ],
)
def test_environment_variables_are_text(env_vars: object, fault: object) -> None:
    assert env_vars_fault(env_vars, "e") == fault
