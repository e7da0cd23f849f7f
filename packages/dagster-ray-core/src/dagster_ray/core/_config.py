"""Config classes that refuse a field they do not have."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any, cast

import dagster as dg
from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator
from typing_extensions import override

from dagster_ray.core._config_types import checked, let_variables_stand
from dagster_ray.core._phases import CleanupPolicy
from dagster_ray.core.errors import UnknownFieldError


def refuse_unknown_fields(model: type[Any], data: object) -> object:
    """Raise `UnknownFieldError` for the first key of `data` that is no field of `model`.

    Pydantic's own `extra="forbid"` would say only that the input is not permitted; Dagster's config
    classes without either drop a misspelled field in silence.
    """
    if isinstance(data, Mapping):
        fields = cast("Mapping[str, Any]", model.model_fields)
        known = {name: name for name in fields}
        known |= {field.alias: name for name, field in fields.items() if field.alias}
        for key in cast("Mapping[object, object]", data):
            if str(key) not in known:
                close = difflib.get_close_matches(str(key), known, n=1)
                raise UnknownFieldError(model.__name__, str(key), close[0] if close else None, tuple(sorted(fields)))
    return cast("object", data)


class VariablesConfig(dg.Config):
    """A `dagster.Config` whose plain fields may all be `EnvVar`, `EnvVar.int` or `{"env": NAME}`.

    Bounds are checked on the value that the variable has when a step runs.
    """

    @classmethod
    @override
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        super().__pydantic_init_subclass__(**options)
        let_variables_stand(cls.model_fields.values())

    @field_validator("*", mode="wrap")
    @classmethod
    def _is_checked_when_it_is_known(cls, value: object, check: Callable[[Any], Any], info: ValidationInfo) -> object:
        return checked(cls.model_fields[str(info.field_name)], value, check)


class StrictConfig(VariablesConfig):
    """A `dagster.Config` in which a misspelled field is an error that names the field.

    Its plain fields take environment variables as well, see `VariablesConfig`.
    """

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _has_only_known_fields(cls, data: object) -> object:
        return refuse_unknown_fields(cls, data)


class Lifecycle(StrictConfig):
    """Which phases of a cluster's life Dagster runs around the step, and when it deletes the cluster."""

    create: bool = Field(
        default=True,
        description="Request the cluster before the step. Off: the step calls create, wait and connect itself.",
    )
    wait: bool = Field(
        default=True,
        description="Wait before the step until drivers can connect. Off: the step calls wait and connect itself.",
    )
    connect: bool = Field(
        default=True, description="Connect with ray.init before the step. Off: the step calls connect itself."
    )
    cleanup: CleanupPolicy = Field(
        default="always",
        description=(
            "When a cluster that this resource made is deleted at the end of the step. always: however it ended. "
            "on_exception: when the step failed, asked for a retry or was interrupted, or set-up failed. never: "
            "it is kept."
        ),
    )
    retry_infrastructure: int = Field(
        default=0,
        ge=0,
        description=(
            "How often a step is tried again, on a new cluster, because infrastructure failed: a node that was taken "
            "away, a lost head, an image registry or an API server that was away, a queue. Errors of the step's own "
            "code and of configuration are never retried by this, and a retry policy of the step has its own count."
        ),
    )


class RayDataExecutionOptions(StrictConfig):
    """Limits for Ray Data in this driver. Needs Ray Data's own dependencies in the step: `ray[data]`."""

    cpu: float | None = Field(default=None, ge=0, description="CPUs that Ray Data may use. Unset: no limit.")
    gpu: float | None = Field(default=None, ge=0, description="GPUs that Ray Data may use. Unset: no limit.")
    object_store_memory: float | None = Field(
        default=None, ge=0, description="Bytes of the object store that Ray Data may use. Unset: Ray's own limit."
    )
    preserve_order: bool = Field(default=False, description="Keep the order of blocks.")
    verbose_progress: bool = Field(default=True, description="Show a progress bar for each operator.")


def declared_lifecycle(value: object, wanted: type[Lifecycle]) -> object:
    """Give a plain `Lifecycle` the defaults that a backend's own subclass of it declares.

    Dagster fills a nested config from the defaults of its class and ignores a `default_factory`, so a backend with
    other defaults annotates the field with a subclass.
    """
    if isinstance(value, Lifecycle) and not isinstance(value, wanted):
        return wanted(**{name: getattr(value, name) for name in value.model_fields_set})
    return value
