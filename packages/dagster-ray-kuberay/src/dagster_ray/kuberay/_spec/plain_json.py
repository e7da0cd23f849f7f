"""Free dictionaries as plain JSON values: copies, references to the environment, keys that cannot be meant. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias, cast

from dagster_ray.kuberay._spec.errors import InvalidSpecError, MissingVariableError

Json: TypeAlias = dict[str, Any]

# Maps of Kubernetes and KubeRay whose keys are the user's own: `{"env": "prod"}` is a label there.
USER_KEYED = frozenset({
    "annotations", "headServiceAnnotations", "labels", "limits", "matchLabels", "nodeSelector", "options", "overhead",
    "rayStartParams", "requests", "resources", "selector", "volumeAttributes",
})  # fmt: skip


def step(path: str, key: str | int) -> str:
    """Return the path of what stands under `key` at `path`, as the API server prints it."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def reference_name(value: object) -> str | None:
    """Return the variable's name if `value` is `{"env": "NAME"}`, the form of Dagster's run config, else None."""
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value)
        if set(items) == {"env"} and isinstance(name := items["env"], str):
            return name
    return None


def plain_json(value: object, path: str = "") -> Any:
    """Return a copy of `value` that shares nothing with it: dicts, lists, text, numbers, booleans and None.

    Dagster's `EnvVar`, which Dagster leaves as it is in a free dictionary, becomes `{"env": "NAME"}`.

    Raises:
        InvalidSpecError: Something in it has no place in JSON, or a key is no text.
    """
    variable = getattr(value, "env_var_name", None)
    if isinstance(variable, str):
        return {"env": variable}
    if isinstance(value, Mapping):
        copied: Json = {}
        for key, item in cast("Mapping[object, object]", value).items():
            if not isinstance(key, str):
                raise InvalidSpecError(step(path, str(key)), "has a key that is no text", "quote the key")
            copied[key] = plain_json(item, step(path, key))
        return copied
    if isinstance(value, list | tuple):
        return [plain_json(item, step(path, n)) for n, item in enumerate(cast("list[object]", value))]
    if value is None or isinstance(value, str | int | float):
        return value
    kind = type(value).__name__
    raise InvalidSpecError(path, f"holds a {kind}, which is no value of JSON", "write text, a number, a list or a dict")


def references(value: object, path: str = "", *, user_keyed: bool = False) -> Iterator[tuple[str, str]]:
    """Yield path and variable of every reference to the environment in plain JSON."""
    if not user_keyed and (name := reference_name(value)) is not None:
        yield path, name
    elif isinstance(value, dict):
        for key, item in cast("Json", value).items():
            yield from references(item, step(path, key), user_keyed=key in USER_KEYED)
    elif isinstance(value, list):
        for n, item in enumerate(cast("list[object]", value)):
            yield from references(item, step(path, n))


def resolved(value: object, environ: Mapping[str, str], path: str = "", *, user_keyed: bool = False) -> Any:
    """Return plain JSON with its references to the environment replaced, and without keys whose value is None.

    Raises:
        MissingVariableError: `environ` lacks a variable.
    """
    if not user_keyed and (name := reference_name(value)) is not None:
        if name not in environ:
            raise MissingVariableError(name, path)
        return environ[name]
    if isinstance(value, dict):
        items = cast("Json", value).items()
        return {
            key: resolved(item, environ, step(path, key), user_keyed=key in USER_KEYED)
            for key, item in items
            if item is not None
        }
    if isinstance(value, list):
        return [resolved(item, environ, step(path, n)) for n, item in enumerate(cast("list[object]", value))]
    return value


def _camel(key: str) -> str:
    return re.sub(r"_+([a-z0-9])", lambda match: match[1].upper(), key.strip("_"))


def refuse_snake_case(value: object, path: str, *, user_keyed: bool = False) -> None:
    """Raise for a key with `_` where Kubernetes has its own names: none of those has one.

    Raises:
        InvalidSpecError: It names the key and its spelling in Kubernetes.
    """
    if isinstance(value, dict):
        for key, item in cast("Json", value).items():
            if "_" in key and not user_keyed:
                reason = "is no field of Kubernetes, whose names have no underscore"
                raise InvalidSpecError(step(path, key), reason, f"write `{_camel(key)}`")
            refuse_snake_case(item, step(path, key), user_keyed=key in USER_KEYED)
    elif isinstance(value, list):
        for n, item in enumerate(cast("list[object]", value)):
            refuse_snake_case(item, step(path, n))
