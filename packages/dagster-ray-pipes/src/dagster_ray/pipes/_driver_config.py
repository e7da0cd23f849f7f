"""What the driver of a job takes, by configuration and by the tag `dagster-ray/config`. Pure."""

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, cast

from dagster_ray.core.errors import InvalidFieldError, UnknownFieldError
from dagster_ray.core.variables import field_path, variable_of
from dagster_ray.pipes._runtime_env import check_runtime_env

CONFIG_TAG = "dagster-ray/config"
"""Tag of an op, asset or run: what its driver takes, as a mapping."""
_MAPPINGS = ("resources", "runtime_env")


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverConfig:
    """What a driver takes: the process of a step or of a run, as a Ray job.

    A number may be a reference to an environment variable, which the process that submits the job resolves.

    Attributes:
        num_cpus: CPUs. None: none.
        num_gpus: GPUs. None: none.
        memory: Memory, in bytes. None: none.
        resources: Custom resources.
        runtime_env: Ray's runtime environment.
    """

    num_cpus: float | None = None
    num_gpus: float | None = None
    memory: int | None = None
    resources: Mapping[str, float] = field(default_factory=dict[str, float])
    runtime_env: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def of_job(self) -> dict[str, Any]:
        """The same as parameters of Ray's job API; without any, Ray starts the driver on the head."""
        found: dict[str, Any] = {f"entrypoint_{name}": getattr(self, name) for name in _NUMBERS}
        found |= {"entrypoint_resources": dict(self.resources), "runtime_env": dict(self.runtime_env)}
        return {name: value for name, value in found.items() if value not in (None, {})}

    def overridden_by(self, other: "DriverConfig") -> "DriverConfig":
        """Return this configuration, with what another one sets in its place.

        Custom resources are merged by name, and the runtime environment by key, as Ray merges that of a task with
        that of its job: `env_vars` by name, every other key as a whole.
        """
        numbers = {name: getattr(self if getattr(other, name) is None else other, name) for name in _NUMBERS}
        runtime_env = {**self.runtime_env, **other.runtime_env}
        if "env_vars" in self.runtime_env and "env_vars" in other.runtime_env:
            runtime_env["env_vars"] = {**self.runtime_env["env_vars"], **other.runtime_env["env_vars"]}
        return DriverConfig(**numbers, resources={**self.resources, **other.resources}, runtime_env=runtime_env)


_FIELDS = tuple(each.name for each in fields(DriverConfig))
_NUMBERS = tuple(name for name in _FIELDS if name not in _MAPPINGS)


def config_of_tags(tags: Mapping[str, str], path: str) -> DriverConfig:
    """Return what the tag `dagster-ray/config` says; nothing if there is no such tag.

    Args:
        tags: The tags of an op, an asset or a run, as Dagster keeps them: a mapping became JSON.
        path: Whose tags they are, for errors: `op train`.

    Raises:
        UnknownFieldError: The tag has a field that does not exist.
        InvalidFieldError: It is no mapping, or a field has a wrong value; the error names the field.
    """
    text = tags.get(CONFIG_TAG)
    if text is None:
        return DriverConfig()
    path = f"{CONFIG_TAG} of {path}"
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidFieldError(path, "is not JSON", 'write a mapping, for example {"num_cpus": 2}') from None
    if not isinstance(found, dict):
        raise InvalidFieldError(path, f"is a {type(found).__name__}", 'write a mapping, for example {"num_cpus": 2}')
    return driver_config(cast("Mapping[str, Any]", found), path)


def driver_config(given: Mapping[str, Any], path: str) -> DriverConfig:
    """Return a checked configuration; None is as good as unset.

    Args:
        given: The fields.
        path: Where they are, for errors.

    Raises:
        UnknownFieldError: There is no such field.
        InvalidFieldError: A field has a wrong value; the error names the field.
    """
    for name, value in given.items():
        if name not in _FIELDS:
            close = difflib.get_close_matches(name, _FIELDS, n=1)
            raise UnknownFieldError(path, name, close[0] if close else None, _FIELDS)
        if name in _NUMBERS and value is not None:
            _check_number(value, field_path(path, name), is_whole=name == "memory")
        elif name in _MAPPINGS and value is not None and not isinstance(value, Mapping):
            raise InvalidFieldError(field_path(path, name), f"is a {type(value).__name__}", "write a mapping")
    resources: Mapping[str, object] = given.get("resources") or {}
    for name, value in resources.items():
        _check_number(value, field_path(f"{path}.resources", str(name)), is_whole=False)
    try:
        check_runtime_env(given.get("runtime_env") or {})
    except InvalidFieldError as error:
        raise InvalidFieldError(field_path(path, error.field), error.reason, error.advice) from None
    return DriverConfig(**{name: value for name, value in given.items() if value is not None})


def _check_number(value: object, path: str, *, is_whole: bool) -> None:
    if variable_of(value) is not None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidFieldError(path, f"is {value!r}", "write a number")
    if not math.isfinite(value) or value < 0:
        raise InvalidFieldError(path, f"is {value!r}", "write 0 or more")
    if is_whole and value != int(value):
        raise InvalidFieldError(path, f"is {value!r}", "write a whole number of bytes")
