"""One specification over another. Pure."""

from collections.abc import Mapping
from typing import Any, cast

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
