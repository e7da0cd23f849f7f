"""References to environment variables: `dagster.EnvVar`, `EnvVar.int`, and `{"env": "NAME"}` as in run config.

Dagster replaces them in fields that it knows the type of, and leaves them as they are below `Any`. Everything in the
family that holds one in a free dictionary, or that is no Dagster config at all, reads it here.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard, cast, get_args

import dagster as dg
from pydantic import TypeAdapter, ValidationError

from dagster_ray.core._secrets import secret_fault
from dagster_ray.core.errors import InvalidVariableError, MissingVariableError

__all__ = [
    "TEXT_MAPS",
    "Placeholder",
    "Variable",
    "env_vars_fault",
    "field_path",
    "is_env_var",
    "plain_value",
    "referring",
    "resolved",
    "variable_of",
    "variables",
    "whole_number",
]

_IntEnvVar = type(dg.EnvVar.int("_"))
# More digits are no count, size or time of anything, and Python refuses to read them (sys.set_int_max_str_digits).
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,30}")
_NUMBER = "int"
_WANTED: Mapping[Any, str] = {bool: "true or false", float: "a number", int: "a whole number"}

TEXT_MAPS = frozenset(
    {
        "annotations",
        "cookies",
        "env_vars",
        "entrypoint_label_selector",
        "entrypoint_resources",
        "headers",
        "labels",
        "metadata",
    }
)
"""Maps of text to text whose keys are the user's own: `{"env": "prod"}` in them is an entry like any other."""


class Placeholder(str):
    """Stands for the value of a variable that is not looked up, for example where a manifest is only shown."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Variable:
    """A reference to an environment variable.

    Args:
        name: The variable's name.
        is_whole_number: Whether its value is to be read as a whole number, as `dagster.EnvVar.int` asks for.
    """

    name: str
    is_whole_number: bool = False

    def value(self, environ: Mapping[str, str], path: str) -> str | int:
        """Return what the variable says in `environ`.

        Args:
            environ: The environment.
            path: The field that wants the value, for errors.

        Raises:
            MissingVariableError: It is not set.
            InvalidVariableError: It must be a whole number and is not.
        """
        if self.name not in environ:
            raise MissingVariableError(self.name, path)
        text = environ[self.name]
        if not self.is_whole_number or isinstance(text, Placeholder):
            return text
        number = whole_number(text)
        if number is None:
            raise InvalidVariableError(self.name, path, "a whole number")
        return number

    def reference(self) -> dict[str, Any]:
        """Return the reference as plain JSON, which every part of Dagster passes on unchanged."""
        return {"env": self.name, "type": _NUMBER} if self.is_whole_number else {"env": self.name}


def whole_number(text: str) -> int | None:
    """Return the whole number that a text is, with nothing rounded or left over; None if it is not one."""
    stripped = text.strip()
    return int(stripped) if _WHOLE_NUMBER.fullmatch(stripped) else None


def is_env_var(value: object) -> TypeGuard[dg.EnvVar]:
    """Return whether a value is Dagster's `EnvVar` or `EnvVar.int`."""
    return isinstance(value, dg.EnvVar | _IntEnvVar)


def variable_of(value: object) -> Variable | None:
    """Return the reference that a value is; None if it is a value of its own."""
    if is_env_var(value):
        return Variable(value.env_var_name, isinstance(value, _IntEnvVar))
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value)
        name = items.get("env")
        if isinstance(name, str) and (len(items) == 1 or (len(items) == 2 and items.get("type") == _NUMBER)):
            return Variable(name, len(items) == 2)
    return None


def field_path(path: str, key: str | int) -> str:
    """Return the path of what stands under `key` at `path`, as Kubernetes prints it: `spec.containers[0].name`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def variables(
    value: object, path: str = "", *, text_maps: frozenset[str] = TEXT_MAPS, is_text_map: bool = True
) -> Iterator[tuple[str, Variable]]:
    """Yield the path and the reference of every variable that a value names, however deep.

    Args:
        value: Dictionaries, lists and what they contain.
        path: Where it stands.
        text_maps: Keys of maps whose own keys are the user's.
        is_text_map: Whether `value` itself is such a map, or a dictionary that no variable can stand for.
    """
    if (variable := None if is_text_map and isinstance(value, Mapping) else variable_of(value)) is not None:
        yield path, variable
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[Any, object]", value).items():
            inner = key in text_maps
            yield from variables(item, field_path(path, str(key)), text_maps=text_maps, is_text_map=inner)
    elif isinstance(value, list | tuple):
        for n, item in enumerate(cast("list[object]", value)):
            yield from variables(item, field_path(path, n), text_maps=text_maps, is_text_map=False)


def resolved(
    value: object,
    environ: Mapping[str, str],
    path: str = "",
    *,
    text_maps: frozenset[str] = TEXT_MAPS,
    is_text_map: bool = True,
) -> Any:
    """Return a copy of a value in which every reference is replaced by what its variable says.

    A dictionary is copied, and so is a list; anything else stays the object that it is.

    Args:
        value: Dictionaries, lists and what they contain.
        environ: The environment.
        path: Where the value stands, for errors.
        text_maps: Keys of maps whose own keys are the user's.
        is_text_map: Whether `value` itself is such a map, or a dictionary that no variable can stand for.

    Raises:
        MissingVariableError: A variable is not set.
        InvalidVariableError: A variable must be a whole number and is not.
    """
    if (variable := None if is_text_map and isinstance(value, Mapping) else variable_of(value)) is not None:
        return variable.value(environ, path)
    if isinstance(value, Mapping):
        return {
            key: resolved(item, environ, field_path(path, str(key)), text_maps=text_maps, is_text_map=key in text_maps)
            for key, item in cast("Mapping[Any, object]", value).items()
        }
    if isinstance(value, list):
        return [
            resolved(item, environ, field_path(path, n), text_maps=text_maps, is_text_map=False)
            for n, item in enumerate(cast("list[object]", value))
        ]
    return value


def referring(value: object) -> Any:
    """Return a copy of a value in which each `EnvVar` is plain JSON, so that Dagster keeps `EnvVar.int` apart.

    Dagster itself writes both as `{"env": "NAME"}`.
    """
    if is_env_var(value) and (variable := variable_of(value)) is not None:
        return variable.reference()
    if isinstance(value, dict):
        return {key: referring(item) for key, item in cast("dict[Any, object]", value).items()}
    if isinstance(value, list):
        return [referring(item) for item in cast("list[object]", value)]
    return value


def env_vars_fault(env_vars: object, path: str, *, takes_secrets: bool = False) -> tuple[str, str, str] | None:
    """Return which of some environment variables cannot be set: field, reason and advice; None if all can.

    Names and values are text. A number or None is not turned into text here: what `1.10` or `null` is to mean, only
    its author knows. The reason does not show the value, which may be a secret.

    Args:
        env_vars: The variables.
        path: Where they are, for errors.
        takes_secrets: Whether a value may be a reference to a Secret of Kubernetes.
    """
    if not isinstance(env_vars, Mapping):
        return path, f"is a {type(env_vars).__name__}", "write a mapping of names to text"
    for key, value in cast("Mapping[object, object]", env_vars).items():
        if not isinstance(key, str):
            return path, f"has the name {key!r}, which is not text", "put the name in quotes"
        if not isinstance(value, str) and variable_of(value) is None:
            secret = secret_fault(value, takes_secrets=takes_secrets)
            if secret is None:
                continue
            if secret != ("", ""):
                return field_path(path, key), *secret
            kind = type(value).__name__
            what = "null" if value is None else f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
            reason = f"is {what}, but the value of an environment variable is text"
            return field_path(path, key), reason, "write text, in quotes where YAML would read something else"
    return None


def plain_value(value: object, annotation: Any, environ: Mapping[str, str], path: str) -> Any:
    """Return the value of an option that is in no Dagster config: its variable's, if it names one.

    Args:
        value: The option.
        annotation: Its type: text, a number, a boolean or a choice of words, or None.
        environ: The environment.
        path: The option's name, for errors.

    Raises:
        MissingVariableError: The variable is not set.
        InvalidVariableError: Its value is not of the type.
    """
    variable = variable_of(value)
    if variable is None:
        return value
    text = variable.value(environ, path)
    try:
        return TypeAdapter(annotation).validate_python(text)
    except ValidationError:
        wanted = _WANTED.get(annotation) or f"one of: {', '.join(map(str, get_args(annotation)))}"
    # Raised here, so that no chain of exceptions shows what the variable contains.
    raise InvalidVariableError(variable.name, path, wanted)


def __dir__() -> list[str]:
    return sorted(__all__)
