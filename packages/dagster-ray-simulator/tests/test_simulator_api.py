"""The simulated API as many clients at once see it, byte by byte where a stream is raw, and how it ends."""

import base64
import concurrent.futures
import http.client
import json
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dagster_ray.simulator import Account, Rule
from dagster_ray.simulator._api.access import ADMIN, ADMIN_TOKEN, Access
from dagster_ray.simulator._api.faults import Faults
from dagster_ray.simulator._api.server import ApiServer
from dagster_ray.simulator._api.store import Store

MAPS = "/api/v1/namespaces/default/configmaps"
JOBS = "/apis/ray.io/v1/namespaces/default/rayjobs"
SECONDS = 60
START_SECONDS = 240  # a process that imports Dagster, on a busy machine


class Runtime:
    """A pod runtime whose pods all listen where the test does."""

    def __init__(self) -> None:
        self.place: tuple[str, int] | None = None

    def address(self, namespace: str, pod: str, port: int) -> tuple[str, int] | None:
        return self.place if port == 10001 else None

    def log(self, namespace: str, pod: str, container: str | None = None, *, previous: bool = False) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class Got:
    """An answer."""

    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def body(self) -> dict[str, Any]:
        return json.loads(self.text)


@dataclass(frozen=True, slots=True)
class World:
    """An API server without an operator."""

    server: ApiServer
    store: Store
    faults: Faults
    access: Access
    runtime: Runtime

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=SECONDS)

    def call(self, method: str, path: str, body: Any = None, *, token: str = ADMIN_TOKEN, **headers: str) -> Got:
        sent = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "User-Agent": "test"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(self.connection()) as connection:
            connection.request(method, path, None if body is None else json.dumps(body), sent)
            answer = connection.getresponse()
            return Got(answer.status, answer.headers, answer.read().decode())

    @contextmanager
    def watch(self, path: str) -> Generator[Iterator[dict[str, Any]]]:
        """Yield the events of a watch, which has begun."""
        with closing(self.connection()) as connection:
            connection.request("GET", f"{path}?watch=true", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
            answer = connection.getresponse()
            assert answer.status == 200
            yield (json.loads(line) for line in answer)


@pytest.fixture
def world() -> Generator[World]:
    store, access, runtime = Store(), Access(), Runtime()
    faults = Faults(store, access)
    server = ApiServer(store, faults, access, runtime, "1.7.0", 0)
    store.create("namespaces", {"metadata": {"name": "default"}})
    server.start()
    yield World(server, store, faults, access, runtime)
    server.stop()


def config_map(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


# Many at once


def test_of_many_posts_of_one_name_one_wins(world: World) -> None:
    def post(_number: int) -> int:
        return world.call("POST", MAPS, config_map("one")).status

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(post, range(20)))
    assert sorted(statuses) == [201] + [409] * 19


def test_merge_patches_at_once_are_all_kept(world: World) -> None:
    world.call("POST", MAPS, config_map("one"))

    def annotate(number: int) -> int:
        body = {"metadata": {"annotations": {f"key-{number}": "x"}}}
        return world.call("PATCH", f"{MAPS}/one", body, Content_Type="application/merge-patch+json").status

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        assert set(pool.map(annotate, range(40))) == {200}
    assert len(world.call("GET", f"{MAPS}/one").body["metadata"]["annotations"]) == 40


def test_a_connection_carries_many_requests(world: World) -> None:
    with closing(world.connection()) as connection:
        for _ in range(3):
            connection.request("GET", MAPS)
            answer = connection.getresponse()
            assert (answer.status, answer.version) == (200, 11)
            answer.read()


# Lists


def test_pages_hold_every_object_once_and_tell_what_is_left(world: World) -> None:
    for name in "abcde":
        world.call("POST", MAPS, config_map(name))
    names: list[str] = []
    left: list[int | None] = []
    token = ""
    while True:
        page = world.call("GET", f"{MAPS}?limit=2&continue={token}").body
        names += [item["metadata"]["name"] for item in page["items"]]
        left.append(page["metadata"].get("remainingItemCount"))
        token = page["metadata"].get("continue", "")
        if not token:
            break
    assert names == list("abcde")
    assert left == [3, 1, None]


# Watches


def test_a_watch_tells_changes_as_they_happen(world: World) -> None:
    with world.watch(MAPS) as events:
        world.call("POST", MAPS, config_map("one"))
        assert next(events)["type"] == "ADDED"
        world.call("DELETE", f"{MAPS}/one")
        last = next(events)
        assert (last["type"], last["object"]["metadata"]["name"]) == ("DELETED", "one")


def test_a_version_that_is_too_old_gets_410_in_a_watch(world: World) -> None:
    old = world.call("GET", MAPS).body["metadata"]["resourceVersion"]
    world.call("POST", MAPS, config_map("one"))
    world.faults.expire_watches()
    got = world.call("GET", f"{MAPS}?watch=1&resourceVersion={old}&timeoutSeconds=1")
    assert got.status == 200
    assert [json.loads(line)["object"]["code"] for line in got.text.splitlines()] == [410]


def test_a_watch_ends_after_its_time_with_a_bookmark(world: World) -> None:
    got = world.call("GET", f"{MAPS}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true")
    assert {json.loads(line)["type"] for line in got.text.splitlines()} == {"BOOKMARK"}


# Rights


def test_a_right_that_was_taken_away_is_told_as_kubernetes_tells_it(world: World) -> None:
    world.faults.deny("list", "rayjobs")
    got = world.call("GET", JOBS)
    assert (got.status, got.body["reason"]) == (403, "Forbidden")
    assert got.body["details"] == {"group": "ray.io", "kind": "rayjobs"}
    assert got.body["message"] == (
        f'rayjobs.ray.io is forbidden: User "{ADMIN.user}" cannot list resource "rayjobs" in API group "ray.io" '
        'in the namespace "default"'
    )
    world.faults.clear()
    assert world.call("GET", JOBS).status == 200


@pytest.mark.parametrize(("verb", "allowed"), [("list", True), ("create", False)])
def test_an_account_may_ask_what_it_may_do(world: World, verb: str, allowed: bool) -> None:
    world.access.accounts["reader"] = Account("reader", (Rule(["ray.io"], ["rayjobs"], ["list"]),))
    asked = {"verb": verb, "group": "ray.io", "resource": "rayjobs", "namespace": "default"}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    got = world.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review, token="reader")
    assert (got.status, got.body["status"]["allowed"]) == (201, allowed)


# Pods


@pytest.fixture
def pod(world: World) -> str:
    spec = {"nodeName": "node", "containers": [{"name": "ray-head", "image": "rayproject/ray"}]}
    world.store.create("pods", {"metadata": {"name": "head", "namespace": "default"}, "spec": spec})
    return "/api/v1/namespaces/default/pods/head"


def upgraded(world: World, path: str) -> socket.socket:
    """Return a connection that speaks websocket now."""
    client = socket.create_connection(("127.0.0.1", world.server.server_port), SECONDS)
    key = base64.b64encode(b"sixteen bytes ok").decode()
    lines = (
        f"GET {path} HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: v4.channel.k8s.io",
        f"Authorization: Bearer {ADMIN_TOKEN}",
    )
    client.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.recv(1)
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"v4.channel.k8s.io" in head
    return client


def exactly(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = client.recv(count - len(data))
        assert more, "the stream ended early"
        data += more
    return data


def frame(client: socket.socket) -> tuple[int, bytes]:
    """Return the opcode and the payload of the next frame, which is not masked."""
    first, second = exactly(client, 2)
    length = second
    if second == 126:
        (length,) = struct.unpack("!H", exactly(client, 2))
    elif second == 127:
        (length,) = struct.unpack("!Q", exactly(client, 8))
    return first & 0x0F, exactly(client, length)


def masked(payload: bytes) -> bytes:
    mask = b"\x01\x02\x03\x04"
    body = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    length = len(payload)
    head = struct.pack("!BB", 0x82, 0x80 | length) if length < 126 else struct.pack("!BBH", 0x82, 0x80 | 126, length)
    return head + mask + body


def test_a_port_of_a_pod_is_forwarded(world: World, pod: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(SECONDS)
        world.runtime.place = listener.getsockname()
        with closing(upgraded(world, f"{pod}/portforward?ports=10001")) as client:
            port = struct.pack("<H", 10001)
            assert [frame(client)[1] for _ in range(2)] == [b"\0" + port, b"\1" + port]
            with closing(listener.accept()[0]) as target:
                target.settimeout(SECONDS)
                data = bytes(range(256)) * 100
                client.sendall(masked(b"\0" + data))
                assert exactly(target, len(data)) == data
                target.sendall(b"answer")
                assert frame(client)[1] == b"\0answer"
            assert frame(client)[0] == 8, "the pod's end closes the stream"


def test_a_port_where_nothing_listens_is_told_in_the_error_channel(world: World, pod: str) -> None:
    with closing(upgraded(world, f"{pod}/portforward?ports=8265")) as client:
        told = [frame(client) for _ in range(4)]
    assert told[2][1][:1] == b"\1"
    assert b"8265" in told[2][1]
    assert told[3][0] == 8


# The server and its end


def test_the_end_of_the_server_ends_watches_and_threads() -> None:
    store, access = Store(), Access()
    before = set(threading.enumerate())
    server = ApiServer(store, Faults(store, access), access, None, "1.7.0", 0)
    world = World(server, store, server.faults, access, Runtime())
    server.start()
    with world.watch("/api/v1/configmaps") as events:
        server.stop()
        assert list(events) == []
    assert set(threading.enumerate()) - before == set()
    with pytest.raises(ConnectionRefusedError):
        world.call("GET", "/version")


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, id="SIGINT"), pytest.param(signal.SIGTERM, id="SIGTERM")]
)
def test_the_command_serves_until_it_is_interrupted(number: signal.Signals, tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    words = ["-m", "dagster_ray.simulator", "--version", "1.4.2", "--fake-heads", "--kubeconfig", str(file)]
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True) as process:
        too_late = threading.Timer(START_SECONDS, process.kill)
        too_late.start()
        try:
            assert process.stdout is not None
            told = next((line for line in process.stdout if line.startswith("export ")), None)
            assert told == f"export KUBECONFIG={file}\n"
            process.send_signal(number)
            assert process.wait(SECONDS) == 0
        finally:
            too_late.cancel()
            process.kill()


@pytest.mark.parametrize("query", ["watch=1&timeoutSeconds=soon", "watch=1&timeoutSeconds=-1"])
def test_a_number_that_is_none_is_a_bad_request(world: World, query: str) -> None:
    assert world.call("GET", f"{JOBS}?{query}").status == 400
