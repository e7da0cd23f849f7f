"""Options of `ray.init` that are numbers or switches, where they are given as text. Pure.

A variable of the environment holds text, and so does a template in a `defs.yaml`; Ray would take "false" for true.
"""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from dagster_ray.core.errors import InvalidFieldError
from dagster_ray.core.variables import field_path, plain_value, resolved, variable_of

_PATH = "ray_init_options"
_RESOURCES = "resources"
TYPES: Mapping[str, type[float]] = {
    **dict.fromkeys(("configure_logging", "enable_resource_isolation", "ignore_reinit_error"), bool),
    **dict.fromkeys(("include_dashboard", "local_mode", "log_to_driver"), bool),
    **dict.fromkeys(("dashboard_port", "num_cpus", "num_gpus"), int),
    **dict.fromkeys(("object_store_memory", "system_reserved_memory", "_memory", "_metrics_export_port"), int),
    "system_reserved_cpu": float,
}
"""The type of each option that is one number or one switch, as Ray 2.60 declares it (ray/_private/worker.py)."""
_WANTED: Mapping[type[float], str] = {bool: "true or false", float: "a number", int: "a whole number"}


def written_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options in which text is a number or a switch where Ray wants one; variables stay references.

    Raises:
        InvalidFieldError: A text is not of its option's type.
    """
    return _over(options, {keys: _exact(value, kind, _path(keys)) for keys, value, kind in _typed(options)})


def options_of(options: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Return options as `ray.init` takes them, with the values of variables.

    Raises:
        MissingVariableError, InvalidVariableError: A variable is not set, or is not of its option's type.
    """
    known = {keys: plain_value(value, kind, environ, _path(keys)) for keys, value, kind in _typed(options)}
    return _over(resolved(options, environ, _PATH), known)


def _typed(options: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any, type[float]]]:
    """Yield where each option with a type of its own is, with value and type."""
    for name, value in options.items():
        if name in TYPES:
            yield (name,), value, TYPES[name]
        elif name == _RESOURCES and isinstance(value, Mapping):
            for resource, amount in cast("Mapping[str, Any]", value).items():
                yield (name, resource), amount, float


def _over(options: Mapping[str, Any], values: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """Return options with values of which some are below `resources`."""
    found = dict(options)
    for (name, *below), value in values.items():
        found[name] = {**found[name], below[0]: value} if below else value
    return found


def _path(keys: tuple[str, ...]) -> str:
    return field_path(_PATH, ".".join(keys))


def _exact(value: Any, kind: type[float], path: str) -> Any:
    if not isinstance(value, str) or variable_of(value) is not None:
        return value
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError:
        pass
    raise InvalidFieldError(path, f"is {value[:40]!r}, not {_WANTED[kind]}", f"write {_WANTED[kind]}")
