"""JSON Patch, merge patch and strategic merge patch, as lenient as kube-apiserver. Pure."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, cast

from dagster_ray.simulator._api.statuses import bad_patch

MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
# Lists of built-in kinds that are merged item by item, and what tells the items apart.
_MERGE_KEYS = {"ownerReferences": "uid", "ports": "port", "conditions": "type", "tolerations": "key"}
_MERGED_BY_NAME = {"containers", "initContainers", "env", "volumes", "imagePullSecrets", "secrets"}


def merged(target: object, patch: object) -> Any:
    """Return `target` after a merge patch (RFC 7396): null deletes, mappings merge, all else replaces."""
    if not isinstance(patch, Mapping):
        return deepcopy(patch)
    result = dict(cast("Mapping[str, Any]", target)) if isinstance(target, Mapping) else {}
    for key, value in cast("Mapping[str, Any]", patch).items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def strategic_merged(target: object, patch: object) -> Any:
    """Return `target` after a strategic merge patch: a merge patch that merges the known lists of built-in kinds.

    The order of a list (`$setElementOrder`) is not looked at.
    """
    if not isinstance(patch, Mapping):
        return deepcopy(patch)
    result = dict(cast("Mapping[str, Any]", target)) if isinstance(target, Mapping) else {}
    for key, value in cast("Mapping[str, Any]", patch).items():
        name = key.rpartition("/")[2]
        if key.startswith("$deleteFromPrimitiveList/"):
            old: list[Any] = result.get(name) or []
            result[name] = [item for item in old if item not in value]
        elif key.startswith("$"):
            continue
        elif value is None:
            result.pop(key, None)
        elif isinstance(value, list):
            result[key] = _merged_list(key, result.get(key) or [], cast("list[Any]", value))
        else:
            result[key] = strategic_merged(result.get(key), value)
    return result


def _merged_list(key: str, old: list[Any], new: list[Any]) -> list[Any]:
    if key == "finalizers":
        return [*old, *(item for item in new if item not in old)]
    identity = "name" if key in _MERGED_BY_NAME else _MERGE_KEYS.get(key)
    if identity is None:
        return deepcopy(new)
    found: dict[Any, Any] = {item.get(identity): item for item in old}
    for item in new:
        if item.get("$patch") == "delete":
            found.pop(item.get(identity), None)
        else:
            found[item.get(identity)] = strategic_merged(found.get(item.get(identity)), item)
    return list(found.values())


def json_patched(target: Mapping[str, Any], operations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return `target` after a JSON Patch (RFC 6902), with one leniency of kube-apiserver's library.

    `replace` of a member that is missing sets it (run with 1.36). Everything that cannot be applied is refused by one
    and the same answer.
    """
    result: dict[str, Any] = deepcopy(dict(target))
    for operation in operations:
        try:
            _apply(result, operation)
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            raise bad_patch() from error
    return result


def _apply(document: dict[str, Any], operation: Mapping[str, Any]) -> None:
    kind, path = operation["op"], _keys(operation["path"])
    parent = _walk(document, path[:-1])
    if kind in {"move", "copy"}:
        source = _keys(operation["from"])
        value = deepcopy(_walk(document, source))
        if kind == "move":
            _remove(_walk(document, source[:-1]), source[-1])
        _set(parent, path[-1], value, insert=True)
    elif kind in {"add", "replace"}:
        _set(parent, path[-1], deepcopy(operation["value"]), insert=kind == "add")
    elif kind == "remove":
        _remove(parent, path[-1])
    elif kind == "test":
        if _walk(document, path) != operation.get("value"):
            raise ValueError("test failed")
    else:
        raise ValueError("unknown operation")


def _keys(pointer: str) -> list[str]:
    if not pointer.startswith("/"):
        raise ValueError("no pointer")
    return [key.replace("~1", "/").replace("~0", "~") for key in pointer[1:].split("/")]


def _walk(value: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        value = cast("list[Any]", value)[_index(key)] if isinstance(value, list) else value[key]
    return value


def _index(key: str) -> int:
    if not key.isdecimal():
        raise ValueError("no index")
    return int(key)


def _set(parent: Any, key: str, value: Any, *, insert: bool) -> None:
    if not isinstance(parent, list):
        parent[key] = value
        return
    items = cast("list[Any]", parent)
    if insert:
        place = len(items) if key == "-" else _index(key)
        if place > len(items):
            raise IndexError("beyond the end")
        items.insert(place, value)
    else:
        items[_index(key)] = value


def _remove(parent: Any, key: str) -> None:
    if isinstance(parent, list):
        del cast("list[Any]", parent)[_index(key)]
    else:
        del parent[key]
