"""JSON Patch, merge patch and strategic merge patch of the simulated API server."""

from typing import Any

import pytest

from dagster_ray.simulator._api.patches import json_patched, merged, strategic_merged
from dagster_ray.simulator._api.statuses import Refused

OBJECT: dict[str, Any] = {"metadata": {"labels": {"a": "1"}}, "spec": {"list": ["x", "y"]}}

MERGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a value replaces": ({"spec": {"list": ["z"]}}, {"metadata": {"labels": {"a": "1"}}, "spec": {"list": ["z"]}}),
    "null deletes": ({"metadata": {"labels": {"a": None}}}, {"metadata": {"labels": {}}, "spec": {"list": ["x", "y"]}}),
    "null of what is not there does nothing": ({"gone": None}, OBJECT),
    "a mapping over a value replaces it": ({"spec": {"list": {"b": 1}}}, {**OBJECT, "spec": {"list": {"b": 1}}}),
    "nulls inside of a new mapping are dropped": ({"new": {"b": None, "c": 1}}, {**OBJECT, "new": {"c": 1}}),
    "an empty patch changes nothing": ({}, OBJECT),
}


@pytest.mark.parametrize(("patch", "expected"), MERGES.values(), ids=MERGES)
def test_a_merge_patch(patch: dict[str, Any], expected: dict[str, Any]) -> None:
    assert merged(OBJECT, patch) == expected


def test_no_patch_changes_what_it_is_applied_to() -> None:
    before = repr(OBJECT)
    merged(OBJECT, {"spec": {"list": None}})
    json_patched(OBJECT, [{"op": "add", "path": "/spec/list/-", "value": "z"}])
    assert repr(OBJECT) == before


def operation(op: str, path: str, **more: Any) -> dict[str, Any]:
    return {"op": op, "path": path, **more}


PATCHES: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "replace of a missing member sets it": (
        [operation("replace", "/spec/new", value=1)],
        {**OBJECT, "spec": {"list": ["x", "y"], "new": 1}},
    ),
    "add to the end of a list": (
        [operation("add", "/spec/list/-", value="z")],
        {**OBJECT, "spec": {"list": ["x", "y", "z"]}},
    ),
    "add at a place of a list": (
        [operation("add", "/spec/list/1", value="z")],
        {**OBJECT, "spec": {"list": ["x", "z", "y"]}},
    ),
    "remove of an item": ([operation("remove", "/spec/list/0")], {**OBJECT, "spec": {"list": ["y"]}}),
    "a key with a slash": (
        [operation("add", "/metadata/labels/a~1b", value="2")],
        {**OBJECT, "metadata": {"labels": {"a": "1", "a/b": "2"}}},
    ),
    "test that holds": ([operation("test", "/metadata/labels/a", value="1")], OBJECT),
    "copy": (
        [{"op": "copy", "from": "/metadata/labels/a", "path": "/spec/a"}],
        {**OBJECT, "spec": {"list": ["x", "y"], "a": "1"}},
    ),
    "move": (
        [{"op": "move", "from": "/spec/list/0", "path": "/spec/list/1"}],
        {**OBJECT, "spec": {"list": ["y", "x"]}},
    ),
}


@pytest.mark.parametrize(("operations", "expected"), PATCHES.values(), ids=PATCHES)
def test_a_json_patch(operations: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    assert json_patched(OBJECT, operations) == expected


REFUSED = {
    "test that does not hold": operation("test", "/metadata/labels/a", value="2"),
    "test of what is missing": operation("test", "/metadata/uid", value="2"),
    "remove of what is missing": operation("remove", "/spec/new"),
    "add below what is missing": operation("add", "/spec/new/deeper", value=1),
    "add beyond the end of a list": operation("add", "/spec/list/5", value=1),
    "an operation that does not exist": operation("frobnicate", "/spec"),
    "no path": {"op": "add", "value": 1},
    "a negative place": operation("remove", "/spec/list/-1"),
}


@pytest.mark.parametrize("one", REFUSED.values(), ids=REFUSED)
def test_a_json_patch_that_cannot_be_applied_is_refused_as_a_whole(one: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        json_patched(OBJECT, [operation("add", "/spec/first", value=1), one])
    assert refused.value.code == 422


def test_a_strategic_merge_patch_merges_containers_and_environment_by_name() -> None:
    pod = {"spec": {"containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b"}]}}
    patch = {
        "spec": {
            "$setElementOrder/containers": [{"name": "a"}],
            "containers": [{"name": "a", "env": [{"name": "Y", "value": "2"}]}, {"name": "b", "$patch": "delete"}],
        },
        "metadata": {"finalizers": ["f"]},
    }
    env = [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]
    assert strategic_merged(pod, patch) == {
        "spec": {"containers": [{"name": "a", "image": "1", "env": env}]},
        "metadata": {"finalizers": ["f"]},
    }
    assert strategic_merged({"finalizers": ["f", "g"]}, {"$deleteFromPrimitiveList/finalizers": ["f"]}) == {
        "finalizers": ["g"]
    }
