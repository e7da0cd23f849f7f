"""The simulated API server over HTTP: what the recordings do not show."""

import threading
from collections.abc import Generator
from typing import Any

import pytest
from api_world import CLUSTERS, PODS, SECRETS, SPEC, World, pod, serving

from dagster_ray.simulator._api.access import Account, Rule


@pytest.fixture
def world() -> Generator[World]:
    with serving() as found:
        yield found


def names(answer: Any) -> list[str]:
    return [item["metadata"]["name"] for item in answer["items"]]


# Lists


def test_pages_show_one_moment_whatever_changes_between_them(world: World) -> None:
    for name in "abcde":
        world.post(SECRETS, name)
    first = world.get(f"{SECRETS}?limit=2").json
    world.call("DELETE", f"{SECRETS}/c")
    world.post(SECRETS, "bb")
    second = world.get(f"{SECRETS}?limit=2&continue={first['metadata']['continue']}").json
    third = world.get(f"{SECRETS}?limit=2&continue={second['metadata']['continue']}").json
    assert [names(page) for page in (first, second, third)] == [["a", "b"], ["c", "d"], ["e"]]
    assert [page["metadata"].get("remainingItemCount") for page in (first, second, third)] == [3, 1, None]
    assert names(world.get(SECRETS).json) == ["a", "b", "bb", "d", "e"]


def test_pages_go_over_all_namespaces(world: World) -> None:
    for namespace in ("a", "a-b"):
        world.store.create("namespaces", {"metadata": {"name": namespace}})
        for name in ("x", "y"):
            world.post(f"/api/v1/namespaces/{namespace}/secrets", name)
    found: list[str] = []
    path = "/api/v1/secrets?limit=1"
    while True:
        page = world.get(path).json
        found += [f"{item['metadata']['namespace']}/{item['metadata']['name']}" for item in page["items"]]
        if not page["metadata"]["continue"]:
            break
        path = f"/api/v1/secrets?limit=1&continue={page['metadata']['continue']}"
    assert sorted(found) == ["a-b/x", "a-b/y", "a/x", "a/y"]


def test_a_token_that_has_expired_comes_with_one_for_the_rest_of_now(world: World) -> None:
    for name in "abc":
        world.post(SECRETS, name)
    token = world.get(f"{SECRETS}?limit=1").json["metadata"]["continue"]
    world.post(SECRETS, "aa")
    world.faults.expire_watches()
    gone = world.get(f"{SECRETS}?limit=1&continue={token}")
    assert (gone.status, gone.json["reason"]) == (410, "Expired")
    rest = world.get(f"{SECRETS}?continue={gone.json['metadata']['continue']}")
    assert names(rest.json) == ["aa", "b", "c"]


def test_metadata_alone_can_be_listed(world: World) -> None:
    world.post(SECRETS, "a", data={"x": "eA=="})
    found = world.get(SECRETS, Accept="application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io").json
    assert found["kind"] == "PartialObjectMetadataList"
    assert "data" not in found["items"][0]


# Writing


def test_a_collection_can_be_deleted_by_label(world: World) -> None:
    for name in "ab":
        world.post(SECRETS, name, metadata={"labels": {"n": name}})
    assert names(world.call("DELETE", f"{SECRETS}?labelSelector=n%3Da").json) == ["a"]
    assert names(world.get(SECRETS).json) == ["b"]


def test_an_invalid_patch_of_a_custom_resource_is_refused_and_an_unknown_field_is_told(world: World) -> None:
    world.post(CLUSTERS, "one", spec=SPEC)
    merge = {"Content_Type": "application/merge-patch+json"}
    wrong = world.call("PATCH", f"{CLUSTERS}/one", {"spec": {"suspend": "yes"}}, **merge)
    assert (wrong.status, wrong.json["details"]["causes"][0]["field"]) == (422, "spec.suspend")
    warned = world.call("PATCH", f"{CLUSTERS}/one", {"spec": {"typo": 1}}, **merge)
    assert (warned.status, warned.headers["Warning"]) == (200, '299 - "unknown field \\"spec.typo\\""')
    strict = world.call("PATCH", f"{CLUSTERS}/one?fieldValidation=Strict", {"spec": {"typo": 1}}, **merge)
    assert strict.status == 422
    assert 'unknown field "spec.typo"' in strict.json["message"]


def test_the_status_is_written_by_its_subresource_alone(world: World) -> None:
    world.post(CLUSTERS, "one", spec=SPEC, status={"state": "ready"})
    assert "status" not in world.get(f"{CLUSTERS}/one").json
    body = {"status": {"state": "ready"}, "spec": {"suspend": True}}
    found = world.call("PATCH", f"{CLUSTERS}/one/status", body, Content_Type="application/merge-patch+json").json
    assert (found["status"], "suspend" in found["spec"]) == ({"state": "ready"}, False)


def test_events_are_one_store_with_two_views(world: World) -> None:
    event = {"metadata": {"name": "e", "namespace": "ns"}, "involvedObject": {"name": "pod-1"}, "message": "text"}
    world.store.create("events", {**event, "reason": "Why", "type": "Normal"})
    path = "/apis/events.k8s.io/v1/namespaces/ns/events"
    (found,) = world.get(f"{path}?fieldSelector=regarding.name%3Dpod-1").json["items"]
    assert (found["regarding"], found["note"], found["apiVersion"]) == (
        {"name": "pod-1"},
        "text",
        "events.k8s.io/v1",
    )
    world.call("POST", path, {"metadata": {"name": "f"}, "regarding": {"name": "pod-2"}, "note": "more"})
    (back,) = world.get("/api/v1/namespaces/ns/events?fieldSelector=involvedObject.name%3Dpod-2").json["items"]
    assert back["message"] == "more"


# Rights


def test_a_token_may_do_what_its_rules_allow_in_its_namespaces(world: World) -> None:
    world.access.accounts["reader"] = Account("reader", (Rule([""], ["secrets"], ["list"]),), frozenset({"ns"}))
    reader = {"Authorization": "Bearer reader"}
    assert world.get(SECRETS, **reader).status == 200
    assert world.get("/api/v1/namespaces/other/secrets", **reader).status == 403
    assert world.get(f"{SECRETS}/one", **reader).status == 403
    assert world.get(SECRETS, Authorization="Bearer nobody").status == 401


# Logs

WAITING = {"containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "ContainerCreating"}}}]}
PULLING = {"containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]}
LOGS: dict[str, tuple[dict[str, Any], str, str]] = {
    "before it runs": (
        pod("p", WAITING),
        "",
        'container "main" in pod "p" is waiting to start: ContainerCreating',
    ),
    "when its image cannot be pulled": (
        pod("p", PULLING),
        "",
        'container "main" in pod "p" is waiting to start: trying and failing to pull image',
    ),
    "when there are several": (
        pod("p", containers=("a", "b")),
        "",
        "a container name must be specified for pod p, choose one of: [a b]",
    ),
    "of before, when it never ended": (
        pod("p"),
        "?previous=true",
        'previous terminated container "main" in pod "p" not found',
    ),
    "of a pod without a node": (
        {"metadata": {"name": "p", "namespace": "ns"}, "spec": {"containers": [{"name": "main"}]}},
        "",
        "pod p does not have a host assigned",
    ),
}


@pytest.mark.parametrize(("obj", "query", "text"), LOGS.values(), ids=LOGS)
def test_the_log_of_a_container_is_refused(world: World, obj: dict[str, Any], query: str, text: str) -> None:
    world.store.create("pods", obj)
    answer = world.get(f"{PODS}/p/log{query}")
    assert (answer.status, answer.json["message"]) == (400, text)


def test_a_log_can_be_cut_and_be_of_the_run_before(world: World) -> None:
    ended: dict[str, Any] = {"name": "main", "state": {"waiting": {}}, "lastState": {"terminated": {"exitCode": 1}}}
    world.store.create("pods", pod("p", {"containerStatuses": [ended]}))
    world.runtime.text = "one\ntwo\nthree\n"
    answers = [world.get(f"{PODS}/p/log{query}").raw for query in ("?tailLines=1", "?limitBytes=5", "?tailLines=0")]
    assert answers == [b"three\n", b"one\nt", b""]
    assert world.get(f"{PODS}/p/log?previous=true").raw == b"before main\n"


def test_a_log_can_be_followed_until_the_pod_has_gone(world: World) -> None:
    world.store.create("pods", pod("p"))
    world.runtime.text = "one\n"
    found: list[bytes] = []
    follower = threading.Thread(target=lambda: found.append(world.get(f"{PODS}/p/log?follow=true").raw))
    follower.start()
    while not any(request.status == 200 for request in world.server.requests):
        threading.Event().wait(0.01)
    world.runtime.text = "one\ntwo\n"
    world.store.remove("pods", "ns", "p")
    follower.join()
    assert found == [b"one\ntwo\n"]


# The server


def test_requests_are_noted_with_their_answer(world: World) -> None:
    world.get(SECRETS)
    world.get(f"{SECRETS}/absent")
    assert [(one.method, one.path, one.status) for one in world.server.requests] == [
        ("GET", SECRETS, 200),
        ("GET", f"{SECRETS}/absent", 404),
    ]


def test_nothing_runs_on_when_the_server_has_stopped() -> None:
    before = set(threading.enumerate())
    with serving() as world, world.watching(SECRETS) as lines:
        world.post(SECRETS, "a")
        assert b"ADDED" in next(lines)
        assert len(set(threading.enumerate()) - before) >= 2
        world.server.stop()
        assert [thread.name for thread in set(threading.enumerate()) - before] == []


def test_a_path_that_is_not_served_is_not_found(world: World) -> None:
    for path in ("/nothing", "/apis/nothing.io/v1/things", "/apis/ray.io/v1/namespaces/ns/rayservices"):
        answer = world.get(path)
        assert (answer.status, answer.raw) == (404, b"404 page not found\n")
