"""Faults of the simulated API server: each happens as it does with a real one, and ends."""

import http.client
import json
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from api_world import CLUSTERS, PODS, SECRETS, Reply, World, echo_server, pod, serving

from dagster_ray.simulator._api.faults import Fault


@pytest.fixture
def world() -> Generator[World]:
    with serving() as found:
        yield found


def test_a_status_is_answered_so_many_times_and_counted(world: World) -> None:
    fault = world.faults.add(status=429, retry_after=3, times=2)
    answers = [world.get(SECRETS) for _ in range(3)]
    assert [answer.status for answer in answers] == [429, 429, 200]
    assert answers[0].headers["Retry-After"] == "3"
    assert answers[0].json["reason"] == "TooManyRequests"
    assert (fault.hits, fault.times) == (2, 0)


MATCHES: dict[str, tuple[Fault, bool]] = {
    "by its method": (Fault(method="GET", status=500), True),
    "by another method": (Fault(method="POST", status=500), False),
    "by a part of its path": (Fault(path="/secrets$", status=500), True),
    "by its verb": (Fault(verb="list", status=500), True),
    "by another verb": (Fault(verb="get", status=500), False),
    "by its resource": (Fault(resource="secrets", status=500), True),
    "by another resource": (Fault(verb="list", resource="pods", status=500), False),
    "while the time is not over": (Fault(seconds=60, status=500), True),
    "when the time is over": (Fault(seconds=0, status=500), False),
}


@pytest.mark.parametrize(("fault", "hits"), MATCHES.values(), ids=MATCHES)
def test_a_request_is_met(world: World, fault: Fault, hits: bool) -> None:
    world.faults.add(fault)
    assert world.get(SECRETS).status == (500 if hits else 200)
    world.faults.remove(fault)
    assert world.get(SECRETS).status == 200


def test_a_connection_can_break_before_the_work_is_done_and_after(world: World) -> None:
    world.faults.add(reset=True, times=1)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        world.post(SECRETS, "a")
    assert world.store.list("secrets") == []
    world.faults.add(lose_answer=True, times=1)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        world.post(SECRETS, "a")
    assert len(world.store.list("secrets")) == 1
    assert world.post(SECRETS, "a").status == 409


def test_an_outage_ends_with_its_block(world: World) -> None:
    with world.watching(SECRETS) as lines:
        world.post(SECRETS, "a")
        next(lines)
        with world.faults.outage():
            assert world.get(SECRETS).status == 503
            assert list(lines) == []
        assert world.get(SECRETS).status == 200
    with world.faults.outage(status=None), pytest.raises((ConnectionError, http.client.HTTPException)):
        world.get(SECRETS)


def rest_of(lines: Iterator[bytes]) -> bytes:
    found = b""
    try:
        for line in lines:
            found += line
    except http.client.IncompleteRead as error:
        found += error.partial
    return found


def test_watches_can_be_dropped_cut_and_expired(world: World) -> None:
    world.post(SECRETS, "a")
    with world.watching(SECRETS) as lines:
        next(lines)
        world.faults.drop_watches()
        assert list(lines) == []
    with world.watching(SECRETS) as lines:
        next(lines)
        world.faults.expire_watches()
        (last,) = list(lines)
        assert json.loads(last)["object"]["code"] == 410
    with world.watching(SECRETS) as lines:
        next(lines)
        world.faults.cut_watches()
        rest = rest_of(lines)
        assert rest
        assert not rest.endswith(b"\n")


def test_crds_can_be_missing_and_rights_can_be_taken_away(world: World) -> None:
    world.faults.without_crds = True
    world.faults.deny("list", "secrets")
    assert (world.get(CLUSTERS).status, world.get("/apis/ray.io/v1").status) == (404, 404)
    assert "ray.io" not in world.get("/apis").raw.decode()
    assert world.get(SECRETS).status == 403
    world.faults.clear()
    assert (world.get(CLUSTERS).status, world.get(SECRETS).status) == (200, 200)


def watched(world: World, path: str) -> list[Any]:
    return [line for line in world.get(path).lines if line["type"] != "BOOKMARK"]


def test_initial_events_end_with_a_bookmark_that_says_so(world: World) -> None:
    world.post(SECRETS, "a")
    query = "watch=1&timeoutSeconds=1&sendInitialEvents=true&allowWatchBookmarks=true"
    lines = world.get(f"{SECRETS}?{query}&resourceVersionMatch=NotOlderThan").lines
    assert [line["type"] for line in lines][:2] == ["ADDED", "BOOKMARK"]
    assert lines[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_an_object_comes_into_a_selection_and_leaves_it(world: World) -> None:
    version = world.store.resource_version
    for labels in ({"n": "x"}, {"n": "y"}, {"n": "x"}):
        if world.store.get("secrets", "ns", "a") is None:
            world.post(SECRETS, "a", metadata={"labels": labels})
        else:
            world.store.patch("secrets", "ns", "a", {"metadata": {"labels": labels}}, "")
    world.store.delete("secrets", "ns", "a")
    query = f"watch=1&timeoutSeconds=1&labelSelector=n%3Dx&resourceVersion={version}"
    lines = watched(world, f"{SECRETS}?{query}")
    assert [line["type"] for line in lines] == ["ADDED", "DELETED", "ADDED", "DELETED"]


def test_a_port_forward_carries_bytes_both_ways_and_says_when_nothing_listens(world: World) -> None:
    from websocket import create_connection

    world.store.create("pods", pod("p"))
    url = f"ws://127.0.0.1:{world.server.server_port}{PODS}/p/portforward?ports=10001"
    with echo_server() as place:
        world.runtime.place = place
        client: Any = create_connection(url, subprotocols=["v4.channel.k8s.io"], timeout=10)
        assert [client.recv() for _ in range(2)] == [b"\0\x11\x27", b"\1\x11\x27"]
        client.send_binary(b"\0" + b"x" * 100_000)
        received = b""
        while len(received) < 100_000:
            received += client.recv()[1:]
        assert received == b"x" * 100_000
        client.close()
    world.runtime.place = None
    client = create_connection(url, subprotocols=["v4.channel.k8s.io"], timeout=10)
    answers = [client.recv() for _ in range(3)]
    client.close()
    assert b"connection refused" in answers[2]


def test_the_servers_clock_can_be_wrong_in_all_that_it_says(world: World) -> None:
    def told() -> tuple[float, float]:
        made = world.post(SECRETS, "dated")
        world.store.delete("secrets", "ns", "dated")
        times = (parsedate_to_datetime(made.headers["Date"]), datetime.fromisoformat(_created(made)))
        header, stamp = ((time - datetime.now(UTC)).total_seconds() for time in times)
        return header, stamp

    world.faults.clock_offset_seconds = 3600
    assert all(3500 < seconds < 3700 for seconds in told())
    world.faults.clear()
    assert all(-100 < seconds < 100 for seconds in told())


def _created(answer: Reply) -> str:
    return str(answer.json["metadata"]["creationTimestamp"])
