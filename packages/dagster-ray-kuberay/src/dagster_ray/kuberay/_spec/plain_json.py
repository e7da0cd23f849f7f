"""Free dictionaries as plain JSON values: copies, references to the environment, keys that cannot be meant. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias, cast

from dagster_ray.core.variables import Variable, field_path, is_env_var, resolved, variable_of, variables
from dagster_ray.kuberay._spec.errors import InvalidSpecError

Json: TypeAlias = dict[str, Any]

# Maps of Kubernetes and KubeRay whose keys are the user's own: `{"env": "prod"}` is a label there.
USER_KEYED = frozenset({
    "annotations", "headServiceAnnotations", "labels", "limits", "matchLabels", "nodeSelector", "options", "overhead",
    "rayStartParams", "requests", "resources", "selector", "volumeAttributes",
})  # fmt: skip
# The metadata of a RayJob's job, beside which the object and its pods have metadata with names of Kubernetes.
_METADATA_OF_JOB = "spec.metadata"


step = field_path


def plain_json(value: object, path: str = "") -> Any:
    """Return a copy of `value` that shares nothing with it: dicts, lists, text, numbers, booleans and None.

    Dagster's `EnvVar`, which Dagster leaves as it is in a free dictionary, becomes a reference in plain JSON.

    Raises:
        InvalidSpecError: Something in it has no place in JSON, or a key is no text.
    """
    if is_env_var(value) and (variable := variable_of(value)) is not None:
        return variable.reference()
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


def references(value: object, path: str = "") -> Iterator[tuple[str, Variable]]:
    """Yield the path and the variable of every reference to the environment in a part of an object."""
    return variables(value, path, text_maps=USER_KEYED)


def with_values(value: Json, environ: Mapping[str, str]) -> Json:
    """Return plain JSON with its references to the environment replaced, and without keys whose value is None.

    Raises:
        MissingVariableError: `environ` lacks a variable.
        InvalidVariableError: A variable is no whole number, and must be one.
    """
    return _without_none(resolved(value, environ, text_maps=USER_KEYED))


def _without_none(value: object) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in cast("Json", value).items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in cast("list[object]", value)]
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
            is_users = key in USER_KEYED or step(path, key) == _METADATA_OF_JOB
            refuse_snake_case(item, step(path, key), user_keyed=is_users)
    elif isinstance(value, list):
        for n, item in enumerate(cast("list[object]", value)):
            refuse_snake_case(item, step(path, n))
