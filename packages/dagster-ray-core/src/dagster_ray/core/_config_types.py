"""Config types by which `{"env": "NAME"}` may stand in any plain field.

Dagster has such types for text, whole numbers and booleans. A number with a fraction and a choice of words have none:
there it would refuse the reference before a variable is looked up.
"""

# Dagster is typed in part only.
# pyright: reportUnknownVariableType=false

import os
from collections.abc import Callable, Iterable, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

import dagster as dg
from dagster._config.errors import PostProcessingError
from pydantic.fields import FieldInfo
from typing_extensions import override

from dagster_ray.core.variables import field_path, is_env_var, resolved, variable_of, variables

ConfigT = TypeVar("ConfigT", bound=dg.Config)
_PLAIN = (bool, float, int, str)


def options_of(annotation: Any) -> list[Any]:
    """Return what an annotation allows, one by one: `int | None` is int and None."""
    return list(get_args(annotation)) if get_origin(annotation) in (Union, UnionType) else [annotation]


def python_type(annotation: Any) -> Any:
    """Return the annotation that a field was declared with."""
    if isinstance(annotation, _Source):
        return annotation.annotation
    options = options_of(annotation)
    if any(isinstance(option, _Source) for option in options):
        return _union(map(python_type, options))
    return annotation


def _union(options: Iterable[Any]) -> Any:
    # `|` takes types only, and a source is an object.
    union: Any = Union
    return union[tuple(options)]


def is_plain(annotation: Any) -> bool:
    """Return whether a field holds one value: text, a number, a boolean or a word of several; or nothing."""
    options = [option for option in options_of(python_type(annotation)) if option is not NoneType]
    return all(option in _PLAIN or get_origin(option) is Literal for option in options)


_REFERENCE: Any = dg.Selector({"env": str})


class _Source(dg.ScalarUnion):
    """A value of its own, or a variable that has it. Pydantic sees the annotation that it stands for."""

    def __init__(self, annotation: Any, scalar_type: type, key: str, read: Callable[[Any], Any], wanted: str) -> None:
        super().__init__(scalar_type=scalar_type, non_scalar_schema=_REFERENCE, _key=key)
        self.annotation, self._read, self._wanted = annotation, read, wanted

    @override
    def post_process(self, value: Any) -> Any:
        """Return the value, of the variable where one is named. Dagster calls it when a run starts."""
        name = cast("Mapping[str, str]", value)["env"] if isinstance(value, dict) else None
        if name is not None and name not in os.environ:
            raise PostProcessingError(f"The environment variable {name} is not set. To fix: set it for this process.")
        try:
            return self._read(value if name is None else os.environ[name])
        except ValueError:
            found = "The value" if name is None else f"The value of the environment variable {name}"
        # Raised here, so that no chain of exceptions shows what the variable contains.
        raise PostProcessingError(f"{found} must be {self._wanted}.")

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        """Return pydantic's schema of the annotation. Pydantic asks for it when a class inherits the field."""
        return handler(self.annotation)


_NUMBER = _Source(float, float, "RayNumberSource", float, "a number")


def _choice(annotation: Any) -> _Source:
    words: tuple[Any, ...] = get_args(annotation)

    def read(text: Any) -> Any:
        if text not in words:
            raise ValueError
        return text

    wanted = f"one of: {', '.join(map(str, words))}"
    return _Source(annotation, str, f"RayChoiceSource.{'.'.join(map(str, words))}", read, wanted)


def _source_of(option: Any) -> Any:
    if option is float:
        return _NUMBER
    words = get_args(option)
    return _choice(option) if get_origin(option) is Literal and all(isinstance(word, str) for word in words) else option


def let_variables_stand(fields: Iterable[FieldInfo]) -> None:
    """Make Dagster accept a variable in every plain field.

    Dagster derives its schema from the annotations of the fields, whenever an object is made; pydantic has read them
    by then.
    """
    for field in fields:
        options = options_of(field.annotation)
        sources = [_source_of(option) for option in options]
        if sources != options:
            field.annotation = _union(sources)


def checked(field: FieldInfo, value: object, check: Callable[[Any], Any]) -> Any:
    """Return a field's value, checked where it is known already.

    A reference to a variable becomes a `dagster.EnvVar`, which has no value to check before a step runs.

    Args:
        field: The field.
        value: What it is given.
        check: Pydantic's validator of the field.
    """
    if is_plain(field.annotation):
        variable = variable_of(value)
        return check(value) if variable is None else dg.EnvVar(variable.name)
    if field.annotation == dict[str, str] and isinstance(value, Mapping):
        return _checked_map(cast("Mapping[str, object]", value), check)
    return check(value)


def _checked_map(given: Mapping[str, object], check: Callable[[Any], Any]) -> dict[str, Any]:
    found = {key: variable for key, item in given.items() if (variable := variable_of(item)) is not None}
    known: dict[str, Any] = check({key: "" if key in found else item for key, item in given.items()})
    return {**known, **{key: dg.EnvVar(variable.name) for key, variable in found.items()}}


def with_values(config: ConfigT, environ: Mapping[str, str], path: str = "") -> ConfigT:
    """Return a copy of a configuration or resource whose plain fields hold the values of their variables.

    Dagster does this itself when a run starts; this is for objects that Dagster does not configure.

    Args:
        config: The configuration. It is returned as it is if none of its plain fields is a variable.
        environ: The environment.
        path: Where the configuration stands, for errors.

    Raises:
        MissingVariableError: A variable is not set.
        InvalidVariableError: A variable must be a whole number and is not.
        pydantic.ValidationError: A value is not valid for its field.
    """
    found: dict[str, Any] = {}
    for name, field in type(config).model_fields.items():
        value, where = getattr(config, name), field_path(path, field.alias or name)
        if isinstance(value, dg.Config):
            inner = with_values(value, environ, where)
            found |= {} if inner is value else {field.alias or name: inner}
        elif is_env_var(value) or (field.annotation == dict[str, str] and any(variables(value))):
            found[field.alias or name] = resolved(value, environ, where)
    if not found:
        return config
    given = {field.alias or name: getattr(config, name) for name, field in type(config).model_fields.items()}
    return type(config)(**{**given, **(config.model_extra or {}), **found})
