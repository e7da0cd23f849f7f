import json
from typing import Any

import dagster as dg
import pytest

from dagster_ray.core.errors import InvalidFieldError, UnknownFieldError
from dagster_ray.pipes._driver_config import CONFIG_TAG, DriverConfig, config_of_tags, driver_config

PATH = "dagster-ray/config of op train"


def of_tag(value: Any) -> DriverConfig:
    return config_of_tags({CONFIG_TAG: value if isinstance(value, str) else json.dumps(value)}, "op train")


def test_without_the_tag_nothing_is_asked_for() -> None:
    assert config_of_tags({"team": "ml"}, "op train") == DriverConfig()
    assert DriverConfig().of_job == {}


def test_a_mapping_in_the_tags_of_an_op_is_read_as_dagster_keeps_it() -> None:
    @dg.op(tags={CONFIG_TAG: {"num_cpus": 2, "resources": {"disk": 1}, "runtime_env": {"pip": ["polars"]}}})
    def train() -> None: ...

    found = config_of_tags(train.tags, "op train")
    assert found.of_job == {
        "entrypoint_num_cpus": 2,
        "entrypoint_resources": {"disk": 1},
        "runtime_env": {"pip": ["polars"]},
    }


def test_zero_is_a_value_and_null_is_none() -> None:
    assert of_tag({"num_cpus": 0, "num_gpus": None}) == DriverConfig(num_cpus=0)
    assert of_tag({"num_cpus": 0}).of_job == {"entrypoint_num_cpus": 0}


def test_a_number_may_be_a_variable() -> None:
    assert of_tag({"num_cpus": {"env": "CPUS"}}).num_cpus == {"env": "CPUS"}


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("num_cpus: 2", PATH),
        ([2], PATH),
        ({"num_cpus": "2"}, f"{PATH}.num_cpus"),
        ({"num_cpus": True}, f"{PATH}.num_cpus"),
        ({"num_gpus": -1}, f"{PATH}.num_gpus"),
        ('{"num_gpus": NaN}', f"{PATH}.num_gpus"),
        ('{"num_gpus": Infinity}', f"{PATH}.num_gpus"),
        ({"memory": 1.5}, f"{PATH}.memory"),
        ({"memory": "4Gi"}, f"{PATH}.memory"),
        ({"resources": ["disk"]}, f"{PATH}.resources"),
        ({"resources": {"disk": "1"}}, f"{PATH}.resources.disk"),
        ({"runtime_env": "env.yaml"}, f"{PATH}.runtime_env"),
        ({"runtime_env": {"workingdir": "."}}, f"{PATH}.runtime_env.workingdir"),
        ({"runtime_env": {"env_vars": {"A": 1}}}, f"{PATH}.runtime_env.env_vars.A"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_op_and_field(value: Any, field: str) -> None:
    with pytest.raises(InvalidFieldError) as raised:
        of_tag(value)
    assert raised.value.field == field


def test_a_misspelled_field_is_an_error_with_the_right_one() -> None:
    with pytest.raises(UnknownFieldError, match=r"op train.*num_cpu.*write `num_cpus`"):
        of_tag({"num_cpu": 2})


def test_a_tag_overrides_the_configuration_field_by_field() -> None:
    configured = driver_config(
        {
            "num_cpus": 1,
            "memory": 10,
            "resources": {"disk": 1, "net": 1},
            "runtime_env": {"working_dir": "gs://code.zip", "pip": ["a"], "env_vars": {"A": "1", "B": "1"}},
        },
        "ray",
    )
    tag = of_tag({"num_cpus": 0, "resources": {"net": 2}, "runtime_env": {"pip": ["b"], "env_vars": {"B": "2"}}})
    assert configured.overridden_by(tag) == DriverConfig(
        num_cpus=0,
        memory=10,
        resources={"disk": 1, "net": 2},
        runtime_env={"working_dir": "gs://code.zip", "pip": ["b"], "env_vars": {"A": "1", "B": "2"}},
    )
    assert configured.overridden_by(DriverConfig()) == configured
