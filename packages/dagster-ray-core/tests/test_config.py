"""A misspelled field is an error that names the field, wherever it is written."""

# Dagster's decorators and config classes are typed in part only.
# pyright: reportUnknownMemberType=false

from typing import Any

import dagster as dg
import pytest
from pydantic import Field, ValidationError

from dagster_ray.core import Lifecycle, RayDataExecutionOptions, StrictConfig
from dagster_ray.core._config import refuse_unknown_fields
from dagster_ray.core.errors import UnknownFieldError


class Inner(StrictConfig):
    ttl_seconds: float = 600.0


class Outer(StrictConfig):
    inner: Inner = Field(default_factory=Inner)
    image: str | None = Field(default=None, alias="containerImage")


class Settings(dg.ConfigurableResource[Any]):
    outer: Outer = Field(default_factory=Outer)
    lifecycle: Lifecycle = Field(default_factory=Lifecycle)


@pytest.mark.parametrize(
    ("model", "given", "message"),
    [
        pytest.param(
            Lifecycle,
            {"clean_up": "never"},
            "Lifecycle has no field `clean_up`. To fix: write `cleanup`. [dagster-ray: unknown-field]",
            id="a near miss is corrected",
        ),
        pytest.param(
            Lifecycle,
            {"zzz": 1},
            "Lifecycle has no field `zzz`. To fix: use one of: cleanup, connect, create, retry_infrastructure, wait.",
            id="without a near field all are listed",
        ),
        pytest.param(
            RayDataExecutionOptions, {"cpus": 1}, "RayDataExecutionOptions has no field `cpus`.", id="another config"
        ),
        pytest.param(
            Outer,
            {"inner": {"ttl_second": 1}},
            "Inner has no field `ttl_second`. To fix: write `ttl_seconds`.",
            id="a nested one",
        ),
        pytest.param(
            Outer,
            {"containerimage": "x"},
            "Outer has no field `containerimage`. To fix: write `containerImage`.",
            id="an alias",
        ),
    ],
)
def test_the_constructor_refuses_a_misspelled_field(
    model: type[StrictConfig], given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        model(**given)
    assert message in str(caught.value)


def test_what_is_no_mapping_is_left_to_pydantic() -> None:
    assert refuse_unknown_fields(Inner, "text") == "text"


def test_the_error_carries_what_a_program_needs() -> None:
    with pytest.raises(UnknownFieldError) as caught:
        refuse_unknown_fields(Inner, {"ttl": 1})
    error = caught.value
    assert (error.model, error.field, error.suggestion, error.known) == ("Inner", "ttl", None, ("ttl_seconds",))


def run_with(config: dict[str, Any]) -> Settings:
    seen: list[Settings] = []

    @dg.op
    def look(settings: Settings) -> None:
        seen.append(settings)

    @dg.job(resource_defs={"settings": Settings.configure_at_launch()})
    def job() -> None:
        look()

    job.execute_in_process(run_config={"resources": {"settings": {"config": config}}})
    return seen[0]


def test_known_fields_of_a_nested_config_arrive_from_run_config() -> None:
    settings = run_with({"outer": {"inner": {"ttl_seconds": 5}}, "lifecycle": {"cleanup": "never", "wait": False}})
    assert (settings.outer.inner.ttl_seconds, settings.lifecycle.cleanup, settings.lifecycle.wait) == (
        5,
        "never",
        False,
    )


@pytest.mark.parametrize(
    ("config", "field"),
    [
        pytest.param({"lifecycle": {"clean_up": "never"}}, "clean_up", id="one level down"),
        pytest.param({"outer": {"inner": {"ttl": 1}}}, "ttl", id="two levels down"),
    ],
)
def test_run_config_refuses_a_misspelled_field(config: dict[str, Any], field: str) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match=f'unexpected config entry "{field}"'):
        run_with(config)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"cleanup": "sometimes"}, id="a policy that does not exist"),
        pytest.param({"create": "perhaps"}, id="a switch that is no switch"),
    ],
)
def test_lifecycle_refuses_a_wrong_value(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(given))):
        Lifecycle(**given)


@pytest.mark.parametrize("field", ["cpu", "gpu", "object_store_memory"])
def test_a_limit_of_ray_data_is_not_negative(field: str) -> None:
    given: dict[str, Any] = {field: -1}
    with pytest.raises(ValidationError, match=field):
        RayDataExecutionOptions(**given)
