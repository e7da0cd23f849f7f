"""The simulated node: what pods go through, and the sockets of fake heads."""

import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from operator_world import World, container, raycluster

from dagster_ray.core import Deadline
from dagster_ray.simulator._kubelet import ray_launcher
from dagster_ray.simulator._kubelet.fake_node import FakeRayNode
from dagster_ray.simulator._kubelet.nodes import CLIENT_PORT, DASHBOARD_PORT, NodeOrder, listens, speaks_http2
from dagster_ray.simulator._kubelet.pod_life import PodTimes, pulled_reference


def with_head(world: World, **fields: Any) -> dict[str, Any]:
    """Create a cluster with this container; return its head pod after two seconds."""
    obj = raycluster()
    obj["spec"]["headGroupSpec"]["template"]["spec"]["containers"] = [container(**fields)]
    world.create(obj)
    world.run(2)
    return world.pods("head")[0]


def waiting_reason(pod: dict[str, Any]) -> str:
    return pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"]


def times_of(world: World, reason: str, text: str) -> list[float]:
    """Return the seconds after the start at which an event about a pod was told."""
    return [when for when, *found in world.pod_events if found == [reason, text]]


def test_an_image_that_is_missing_backs_off_twice_as_long_each_time() -> None:
    world = World()
    assert waiting_reason(with_head(world, image="ray:missing")) == "ErrImagePull"
    world.run(8)
    assert waiting_reason(world.pods("head")[0]) == "ImagePullBackOff"
    assert world.pods("head")[0]["status"]["phase"] == "Pending"
    world.run(2400)
    pulls = times_of(world, "Pulling", 'Pulling image "ray:missing"')
    gaps = [round(later - earlier) for earlier, later in itertools.pairwise(pulls)]
    assert gaps[:7] == [13, 23, 43, 83, 163, 303, 303]


@pytest.mark.parametrize(
    ("image", "full"),
    [
        ("missing", "docker.io/library/missing:latest"),
        ("ray:missing", "docker.io/library/ray:missing"),
        ("rayproject/ray:missing", "docker.io/rayproject/ray:missing"),
        ("registry.example.com/missing:1", "registry.example.com/missing:1"),
        ("localhost/missing", "localhost/missing:latest"),
        ("example:5000/team/missing@sha256:0", "example:5000/team/missing@sha256:0"),
    ],
)
def test_an_image_is_pulled_from_the_registry_that_its_name_says(image: str, full: str) -> None:
    assert pulled_reference(image) == full
    text = PodTimes().pull_error(image, 0)
    assert text is not None
    assert text.endswith(f'failed to resolve reference "{full}": {full}: not found')


def test_a_registry_that_fails_twice_is_asked_a_third_time() -> None:
    world = World(times=PodTimes(pull_errors={"flaky": ("503 Service Unavailable", "unexpected EOF")}))
    with_head(world, image="ray:flaky")
    reasons = {waiting_reason(world.pods("head")[0])}
    world.run(60)
    assert reasons == {"ErrImagePull"}
    assert world.cluster()["status"]["state"] == "ready"


@pytest.mark.parametrize("times", [PodTimes(slow_images={"slow": 25}), PodTimes(slow_groups={"headgroup": 25})])
def test_a_slow_image_is_pulled_for_as_long_as_it_takes(times: PodTimes) -> None:
    world = World(times=times)
    assert waiting_reason(with_head(world, image="ray:slow")) == "ContainerCreating"
    world.run(25)
    assert world.cluster()["status"]["state"] == "ready"


def test_a_pod_that_fits_no_node_says_what_is_lacking_and_starts_when_there_is_room() -> None:
    world = World()
    pod = with_head(world, resources={"requests": {"cpu": "500", "nvidia.com/gpu": 1}})
    condition = pod["status"]["conditions"][0]
    assert condition["reason"] == "Unschedulable"
    assert condition["message"].startswith(
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient nvidia.com/gpu."
    )
    assert "nodeName" not in pod["spec"]


def test_a_container_that_crashes_is_restarted_at_once_and_then_backs_off_twice_as_long_each_time() -> None:
    world = World()
    name = with_head(world, image="ray:crashing")["metadata"]["name"]
    for restarts, back_off in [
        (1, "10s"),
        (2, "20s"),
        (3, "40s"),
        (4, "1m20s"),
        (5, "2m40s"),
        (6, "5m0s"),
        (7, "5m0s"),
    ]:
        (status,) = world.pods("head")[0]["status"]["containerStatuses"]
        assert status["restartCount"] == restarts
        assert status["lastState"]["terminated"]["exitCode"] == 1
        assert status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        assert f"back-off {back_off} restarting failed container=ray-head" in status["state"]["waiting"]["message"]
        world.run(min(300, 10 * 2 ** (restarts - 1)) + 1)
    assert "No module named" in world.kubelet.log("ns", name, previous=True)


def test_a_head_that_crashes_once_is_restarted_in_place_and_at_once() -> None:
    world = World()
    name = with_head(world)["metadata"]["name"]
    world.kubelet.crash_container("ns", name)
    world.run(3)
    assert world.pods("head")[0]["metadata"]["name"] == name
    assert world.pods("head")[0]["status"]["containerStatuses"][0]["restartCount"] == 1
    assert world.condition("HeadPodReady") == ("True", "HeadPodRunningAndReady", "")


def test_a_sidecar_that_crashes_leaves_the_head_running_and_the_pod_not_ready() -> None:
    world = World()
    obj = raycluster()
    sidecar = {"name": "fluent-bit", "image": "crashing:1"}
    obj["spec"]["headGroupSpec"]["template"]["spec"]["containers"] = [container(), sidecar]
    world.create(obj)
    world.run(20)
    beside, head = world.pods("head")[0]["status"]["containerStatuses"]
    assert (beside["name"], beside["state"]["waiting"]["reason"]) == ("fluent-bit", "CrashLoopBackOff")
    assert (head["name"], head["ready"]) == ("ray-head", True)
    assert world.condition("HeadPodReady") == (
        "False",
        "CrashLoopBackOff",
        "containers with unready status: [fluent-bit]; fluent-bit: "
        "back-off 5m0s restarting failed container=fluent-bit",
    )


def test_a_container_waits_for_its_secret() -> None:
    world = World()
    env = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "late", "key": "k"}}}]
    assert waiting_reason(with_head(world, env=env)) == "CreateContainerConfigError"
    world.store.create("secrets", {"metadata": {"name": "late", "namespace": "ns"}, "data": {"k": "dg=="}})
    world.run(10)
    assert world.cluster()["status"]["state"] == "ready"


def test_a_probe_with_a_delay_and_a_period_makes_ready_on_its_grid() -> None:
    world = World(times=PodTimes(probe_grid_seconds=(10, 5)))
    with_head(world)
    world.run(7)
    assert world.condition("HeadPodReady") == (
        "False",
        "ContainersNotReady",
        "containers with unready status: [ray-head]",
    )
    world.run(2)
    assert world.cluster()["status"]["state"] == "ready"


def asked(place: tuple[str, int] | None, path: str, token: str | None = None) -> tuple[int, str]:
    assert place is not None
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"http://{place[0]}:{place[1]}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_fake_head_answers_clients_and_tells_scripted_jobs() -> None:
    node = FakeRayNode(NodeOrder("ns", "pod", True, {}, {}))
    try:
        node.start()
        place = node.address(CLIENT_PORT)
        assert place is not None
        assert speaks_http2(place, 5)
        assert speaks_http2((node.ip, CLIENT_PORT), 5)
        node.jobs["01000000"] = {"status": "RUNNING"}
        answer = asked((node.ip, DASHBOARD_PORT), "/api/jobs/01000000")
        assert (answer[0], json.loads(answer[1])) == (200, {"status": "RUNNING"})
        assert asked(node.address(DASHBOARD_PORT), "/api/jobs/x") == (404, "Job x does not exist")
        node.stop(0)
        assert not listens((node.ip, 6379))
    finally:
        node.close()
    assert not listens(place)


@pytest.mark.parametrize(("given", "status"), [(None, 401), ("wrong", 403), ("right", 200)])
def test_a_fake_head_with_a_token_refuses_others(given: str | None, status: int) -> None:
    node = FakeRayNode(NodeOrder("ns", "pod", True, {}, {}, "right"))
    try:
        node.start()
        assert asked(node.address(DASHBOARD_PORT), "/api/version", given)[0] == status
        assert asked(node.address(DASHBOARD_PORT), "/api/authentication_mode")[1] == '{"authentication_mode": "token"}'
    finally:
        node.close()


DAEMON = """
    import os, signal, time
    from pathlib import Path
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        Path("daemon").write_text(str(os.getpid()))
        time.sleep(60)
    time.sleep(60)
"""
# A shell starts background jobs with SIGINT ignored, and Dagster gives SIGTERM the handler of SIGINT.
PARENT = """
    import signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)
    time.sleep(600)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="subreapers and 127.x.y.z are Linux")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_killed_simulator(number: signal.Signals, tmp_path: Path) -> None:
    folder = tmp_path / "node"
    folder.mkdir()
    command = [sys.executable, "-c", textwrap.dedent(DAEMON)]
    launcher = [sys.executable, "-S", ray_launcher.__file__, "0.2", str(folder), *command]
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(PARENT), *launcher], cwd=folder)
    deadline = Deadline(20)
    note = folder / "daemon"
    while not (note.exists() and note.read_text()) and deadline.sleep(0.05):
        pass
    daemon = int(note.read_text())

    parent.send_signal(number)
    parent.wait()

    while (is_alive(daemon) or folder.exists()) and deadline.sleep(0.05):
        pass
    assert not is_alive(daemon)
    assert not folder.exists()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
