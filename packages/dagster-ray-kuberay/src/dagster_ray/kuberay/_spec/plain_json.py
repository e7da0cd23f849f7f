"""Free dictionaries as plain JSON values: copies, variables, wrong keys, one over another. Pure."""

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


# Lists whose items have a name: the items of both are merged by it. All other lists are replaced.
NAMED_LISTS: Mapping[str, str] = {
    "containers": "name",
    "env": "name",
    "initContainers": "name",
    "workerGroupSpecs": "groupName",
}

# Dictionaries whose keys exclude each other, so that parts of both must not meet.
WHOLE = frozenset({"deletionStrategy"})


def _names(items: list[object], key: str) -> list[str] | None:
    """Return the items' names; None if one has none or two have the same."""
    names = [cast("Mapping[str, Any]", item).get(key) if isinstance(item, Mapping) else None for item in items]
    texts = [name for name in names if isinstance(name, str)]
    return texts if len(texts) == len(set(texts)) == len(items) else None


def _merged_lists(under: list[object], over: list[object], key: str) -> list[Any]:
    below, above = _names(under, NAMED_LISTS[key]), _names(over, NAMED_LISTS[key])
    if below is None or above is None:
        return over
    items = dict(zip(below, under, strict=True))
    for name, item in zip(above, over, strict=True):
        # A variable is replaced as a whole: it has either `value` or `valueFrom`.
        items[name] = merged(items[name], item) if name in items and key != "env" else item
    return list(items.values())


def merged(under: object, over: object, *, key: str = "") -> Any:
    """Return `over` with what only `under` has. Neither is changed; the result may share parts with both.

    Dictionaries are merged key by key, worker groups by `groupName`, containers and environment variables by
    `name`; an item of `under` keeps its place, new ones follow. `deletionStrategy` is taken as a whole. All other
    values of `over` replace those of `under`. A value of None in `over` counts as not given.

    Args:
        under: What gives way.
        over: What wins.
        key: The key that both stand under.
    """
    if over is None:
        return under
    if isinstance(under, Mapping) and isinstance(over, Mapping) and key not in WHOLE:
        below, above = cast("Mapping[str, Any]", under), cast("Mapping[str, Any]", over)
        return {**below, **{name: merged(below.get(name), item, key=name) for name, item in above.items()}}
    if isinstance(under, list) and isinstance(over, list) and key in NAMED_LISTS:
        return _merged_lists(cast("list[object]", under), cast("list[object]", over), key)
    return cast("object", over)
