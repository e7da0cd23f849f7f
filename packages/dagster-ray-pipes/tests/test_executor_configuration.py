# pyright: reportUnknownMemberType=false

import dagster as dg
import pytest
from pydantic import ValidationError

from dagster_ray.core.errors import InvalidFieldError, MissingVariableError
from dagster_ray.pipes import ray_executor
from dagster_ray.pipes._driver_config import DriverConfig
from dagster_ray.pipes._executor.configuration import RayJobsConfig, variables_of


def test_what_is_unset_asks_for_nothing() -> None:
    assert RayJobsConfig().driver() == DriverConfig()
    assert variables_of(None) == {}


@pytest.mark.parametrize("address", [None, "ray://head:10001", "auto"])
def test_an_address_that_is_no_url_is_an_error_that_names_the_field(address: str | None) -> None:
    with pytest.raises(InvalidFieldError, match=r"`ray\.address` is"):
        RayJobsConfig(address=address).client()


def test_a_wrong_value_is_an_error_that_names_the_field() -> None:
    with pytest.raises(InvalidFieldError, match=r"`ray\.num_cpus` is -1"):
        RayJobsConfig(num_cpus=-1).driver()
    with pytest.raises(InvalidFieldError, match=r"`ray\.runtime_env\.pipp`"):
        RayJobsConfig(runtime_env={"pipp": []}).driver()
    with pytest.raises(ValidationError, match="write `num_cpus`"):
        RayJobsConfig(num_cpu=1)  # pyright: ignore[reportCallIssue]


def test_a_variable_is_given_or_is_the_one_of_this_process() -> None:
    found = variables_of(["A=1", "B=x=y", "C", "D="], {"C": "3"})
    assert found == {"A": "1", "B": "x=y", "C": "3", "D": ""}
    with pytest.raises(MissingVariableError, match=r"`ray\.env_vars\[1\]` refers to the environment variable E"):
        variables_of(["A=1", "E"], {})
    with pytest.raises(InvalidFieldError, match=r"`ray\.env_vars\[0\]` has no name"):
        variables_of(["=1"], {})


def test_a_configured_executor_takes_variables_for_text_and_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://ray-head:8265")
    monkeypatch.setenv("CPUS", "1.5")
    variables = {"address": {"env": "RAY_ADDRESS"}, "num_cpus": {"env": "CPUS"}}
    configured = ray_executor.configured({"ray": variables, "max_concurrent": 3})

    @dg.op
    def one() -> None: ...

    @dg.job(executor_def=configured)
    def all_of_it() -> None:
        one()

    assert dg.validate_run_config(all_of_it, {})
    monkeypatch.setenv("CPUS", "many")
    with pytest.raises(dg.DagsterInvalidConfigError, match="CPUS"):
        dg.validate_run_config(all_of_it, {})


def test_a_misspelled_field_in_run_config_is_refused() -> None:
    @dg.op
    def one() -> None: ...

    @dg.job(executor_def=ray_executor)
    def all_of_it() -> None:
        one()

    wrong = {"execution": {"config": {"ray": {"adress": "http://ray-head:8265"}}}}
    with pytest.raises(dg.DagsterInvalidConfigError, match="adress"):
        dg.validate_run_config(all_of_it, wrong)
