"""Calls of the Kubernetes API against a server that answers from a script."""

# The official client has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from scripted_server import Reply, ScriptedServer, answer, reset, stream

from dagster_ray.core import Deadline
from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
from dagster_ray.kuberay._kubernetes.errors import (
    ConflictError,
    ForbiddenError,
    KindNotInstalledError,
    KubeconfigError,
    KubernetesError,
    UnavailableError,
)
from dagster_ray.kuberay._kubernetes.kinds import PODS, RAYJOBS

CANARY = "canary-5d41402abc4b"
MISSING = {"kind": "Status", "message": 'rayjobs.ray.io "a" not found', "details": {"name": "a", "kind": "rayjobs"}}


class Clock:
    """Seconds that pass when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def deadline(seconds: float = 20.0) -> Deadline:
    clock = Clock()
    return Deadline(seconds, clock, clock.sleep)


def kubeconfig(folder: Path, url: str, **user: Any) -> str:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "main",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": user or {"token": CANARY}}],
        "contexts": [
            {"name": "main", "context": {"cluster": "c", "user": "u", "namespace": "ray"}},
            {"name": "other", "context": {"cluster": "c", "user": "u"}},
        ],
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def api_of(server: ScriptedServer, folder: Path) -> KubernetesApi:
    return KubernetesApi.load(kubeconfig(folder, server.url))


def job(version: int = 1, name: str = "a") -> dict[str, Any]:
    return {"kind": "RayJob", "metadata": {"name": name, "uid": f"u-{name}", "resourceVersion": str(version)}}


@pytest.mark.parametrize(
    ("namespace", "path"),
    [
        pytest.param("../../../api/v1/namespaces/x", "..%2F..%2F..%2Fapi%2Fv1%2Fnamespaces%2Fx", id="a path"),
        pytest.param("..", "%2E%2E", id="the segment above"),
        pytest.param("a?watch=true", "a%3Fwatch%3Dtrue", id="a query"),
        pytest.param("team-a", "team-a", id="a name"),
    ],
)
def test_a_name_is_one_segment_of_a_path_whatever_is_in_it(namespace: str, path: str) -> None:
    assert RAYJOBS.path(namespace) == f"/apis/ray.io/v1/namespaces/{path}/rayjobs"
    assert RAYJOBS.path("default", namespace) == f"/apis/ray.io/v1/namespaces/default/rayjobs/{path}"


def test_a_call_says_who_calls_and_with_which_credentials(tmp_path: Path) -> None:
    with ScriptedServer(answer(200, job())) as server:
        api = api_of(server, tmp_path)
        assert api.get(RAYJOBS, "ray", "a", deadline())["metadata"]["name"] == "a"
        assert (api.namespace, api.in_cluster, api.requests) == ("ray", False, 1)
        (seen,) = server.seen
        api.close()
    assert (seen.method, seen.path) == ("GET", "/apis/ray.io/v1/namespaces/ray/rayjobs/a")
    assert seen.headers["User-Agent"].startswith("dagster-ray-kuberay/")
    assert seen.headers["Authorization"] == f"Bearer {CANARY}"


def test_an_exec_plug_in_gives_the_credentials(tmp_path: Path) -> None:
    plug_in = tmp_path / "plug-in"
    plug_in.write_text(
        '#!/bin/sh\necho \'{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", '
        '"status": {"token": "from-plug-in"}}\'\n'
    )
    plug_in.chmod(0o755)
    run = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plug_in), "interactiveMode": "Never"}
    with ScriptedServer(answer(200, job())) as server:
        api = KubernetesApi.load(kubeconfig(tmp_path, server.url, exec=run))
        api.get(RAYJOBS, "ray", "a", deadline())
        api.close()
    assert server.seen[0].headers["Authorization"] == "Bearer from-plug-in"


def test_a_context_has_its_own_namespace(tmp_path: Path) -> None:
    with ScriptedServer(answer(200)) as server:
        api = KubernetesApi.load(kubeconfig(tmp_path, server.url), "other")
        assert api.namespace == "default"


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match="nowhere"):
        KubernetesApi.load(str(tmp_path / "nowhere"))


def test_a_broken_kubeconfig_is_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(f"users: [{{token: {CANARY}")
    with pytest.raises(KubeconfigError) as caught:
        KubernetesApi.load(str(path))
    assert CANARY not in str(caught.value)


def test_the_official_clients_default_is_left_alone(tmp_path: Path) -> None:
    from kubernetes import client

    before = client.Configuration.get_default_copy().host
    with ScriptedServer(answer(200)) as server:
        api_of(server, tmp_path).close()
    assert client.Configuration.get_default_copy().host == before


TRANSIENT: dict[str, Reply] = {
    "too many requests": answer(429, {"message": "slow down"}, Retry_After="3"),
    "internal error": answer(500, {"message": "etcd"}),
    "bad gateway": answer(502, "<html>"),
    "not there now": answer(503, {"message": "no"}),
    "a reset": reset,
}


@pytest.mark.parametrize("reply", TRANSIENT.values(), ids=TRANSIENT)
def test_what_may_change_is_tried_again_until_it_does(reply: Reply, tmp_path: Path) -> None:
    with ScriptedServer(reply, reply, answer(200, job())) as server:
        api = api_of(server, tmp_path)
        assert api.get(RAYJOBS, "ray", "a", deadline())["metadata"]["name"] == "a"
        assert len(server.seen) == 3
        api.close()


@pytest.mark.parametrize("reply", TRANSIENT.values(), ids=TRANSIENT)
def test_the_deadline_ends_the_attempts(reply: Reply, tmp_path: Path) -> None:
    with ScriptedServer(reply) as server:
        api = api_of(server, tmp_path)
        with pytest.raises(UnavailableError) as caught:
            api.get(RAYJOBS, "ray", "a", deadline(10))
        assert caught.value.attempts == len(server.seen) > 2
        assert CANARY not in str(caught.value)
        api.close()


def test_retry_after_is_waited_for(tmp_path: Path) -> None:
    clock = Clock()
    with ScriptedServer(TRANSIENT["too many requests"], answer(200, job())) as server:
        api = api_of(server, tmp_path)
        api.get(RAYJOBS, "ray", "a", Deadline(20, clock, clock.sleep))
        api.close()
    assert clock.now >= 3


def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    api = KubernetesApi.load(kubeconfig(tmp_path, "http://127.0.0.1:1"))
    with pytest.raises(UnavailableError):
        api.get(RAYJOBS, "ray", "a", deadline(3))


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        pytest.param(answer(403, {"message": "forbidden"}), ForbiddenError, id="403"),
        pytest.param(answer(404, "404 page not found"), KindNotInstalledError, id="no such kind"),
        pytest.param(answer(409, {"message": "exists"}), ConflictError, id="409"),
    ],
)
def test_what_stays_is_an_error_at_once(reply: Reply, kind: type[KubernetesError], tmp_path: Path) -> None:
    with ScriptedServer(reply) as server:
        api = api_of(server, tmp_path)
        with pytest.raises(kind):
            api.create(RAYJOBS, "ray", job(), deadline())
        assert len(server.seen) == 1
        api.close()


def test_create_is_strict_about_fields(tmp_path: Path) -> None:
    with ScriptedServer(answer(201, job())) as server:
        api = api_of(server, tmp_path)
        api.create(RAYJOBS, "ray", job(), deadline())
        api.close()
    assert server.seen[0].path == "/apis/ray.io/v1/namespaces/ray/rayjobs?fieldValidation=Strict"
    assert server.seen[0].body == job()


def test_patch_is_a_merge_patch(tmp_path: Path) -> None:
    with ScriptedServer(answer(200, job())) as server:
        api = api_of(server, tmp_path)
        api.patch(RAYJOBS, "ray", "a", {"spec": {"jobId": "01000000"}}, deadline())
        api.close()
    assert server.seen[0].headers["Content-Type"] == "application/merge-patch+json"


def test_delete_names_what_is_meant_and_does_not_mind_if_it_is_gone(tmp_path: Path) -> None:
    with ScriptedServer(answer(200), answer(404, MISSING)) as server:
        api = api_of(server, tmp_path)
        assert api.delete(RAYJOBS, "ray", "a", deadline(), uid="u-a", resource_version="7") == "deleted"
        assert api.delete(RAYJOBS, "ray", "a", deadline()) == "gone"
        api.close()
    assert server.seen[0].body == {
        "propagationPolicy": "Background",
        "preconditions": {"uid": "u-a", "resourceVersion": "7"},
    }


def test_a_delete_whose_answer_was_lost_has_deleted(tmp_path: Path) -> None:
    with ScriptedServer(reset, answer(404, MISSING)) as server:
        api = api_of(server, tmp_path)
        assert api.delete(RAYJOBS, "ray", "a", deadline()) == "gone"
        api.close()


def test_a_list_reads_all_pages(tmp_path: Path) -> None:
    first = {"metadata": {"resourceVersion": "9", "continue": "more"}, "items": [job(1, "a")]}
    second = {"metadata": {"resourceVersion": "9"}, "items": [job(2, "b")]}
    with ScriptedServer(answer(200, first), answer(200, second)) as server:
        api = api_of(server, tmp_path)
        found = api.list(RAYJOBS, None, deadline(), label_selector="x=y", page=1)
        api.close()
    assert ([item["metadata"]["name"] for item in found.items], found.resource_version) == (["a", "b"], "9")
    assert server.seen[1].path == "/apis/ray.io/v1/rayjobs?labelSelector=x%3Dy&limit=1&continue=more"


def test_the_last_lines_of_a_crashed_container(tmp_path: Path) -> None:
    with ScriptedServer(answer(200, "line 1\nline 2\n")) as server:
        api = api_of(server, tmp_path)
        assert api.pod_log("ray", "head", deadline(), previous=True, tail_lines=2) == "line 1\nline 2"
        api.close()
    assert server.seen[0].path.startswith(f"{PODS.path('ray', 'head', 'log')}?")
    assert "previous=true" in server.seen[0].path


def test_the_end_of_long_lines_is_not_cut_off(tmp_path: Path) -> None:
    """The kubelet answers as many bytes as asked for from the first of the lines on."""
    with ScriptedServer(answer(200, "x" * 65_536), answer(200, "the end\n")) as server:
        api = api_of(server, tmp_path)
        assert api.pod_log("ray", "head", deadline(), tail_lines=500) == "the end"
        api.close()
    assert ["tailLines=500" in server.seen[0].path, "tailLines=4" in server.seen[1].path] == [True, True]


def test_a_log_without_its_end_is_better_than_none(tmp_path: Path) -> None:
    with ScriptedServer(answer(200, "x" * 65_536), answer(404, {"message": "the pod is gone"})) as server:
        api = api_of(server, tmp_path)
        assert api.pod_log("ray", "head", deadline(), tail_lines=500) == "x" * 65_536
        api.close()


# Watching


def event(kind: str, version: int) -> dict[str, Any]:
    return {"type": kind, "object": job(version)}


def versions(api: KubernetesApi, count: int, **more: Any) -> list[str]:
    with api.watch(RAYJOBS, "ray", name="a", **more) as watching:
        found = [watching.next(20) for _ in range(count)]
    return [e.object["metadata"]["resourceVersion"] for e in found if e is not None]


def test_a_watch_goes_on_from_where_the_stream_ended(tmp_path: Path) -> None:
    over = threading.Event()
    replies = [
        stream(event("ADDED", 2), event("MODIFIED", 3), cut=b'{"type": "MODI'),
        stream(event("MODIFIED", 4), then=over),
    ]
    with ScriptedServer(*replies) as server:
        api = api_of(server, tmp_path)
        assert versions(api, 3, resource_version="1") == ["2", "3", "4"]
        over.set()
        api.close()
    assert "resourceVersion=1" in server.seen[0].path
    assert "fieldSelector=metadata.name%3Da" in server.seen[0].path
    assert "resourceVersion=3" in server.seen[1].path


def test_a_watch_lists_when_its_version_has_expired(tmp_path: Path) -> None:
    over = threading.Event()
    expired = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}
    listing = {"metadata": {"resourceVersion": "50"}, "items": [job(40)]}
    with ScriptedServer(stream(expired), answer(200, listing), stream(event("MODIFIED", 51), then=over)) as server:
        api = api_of(server, tmp_path)
        assert versions(api, 2, resource_version="1") == ["40", "51"]
        over.set()
        api.close()
    assert "resourceVersion=50" in server.seen[2].path


def test_a_watch_holds_through_an_outage(tmp_path: Path) -> None:
    over = threading.Event()
    away = answer(503, {"message": "away"})
    with ScriptedServer(away, reset, away, stream(event("ADDED", 2), then=over)) as server:
        api = api_of(server, tmp_path)
        assert versions(api, 1, resource_version="1") == ["2"]
        over.set()
        api.close()


def test_a_watch_tells_that_the_server_does_not_answer(tmp_path: Path) -> None:
    away = answer(503, {"message": "away"})
    with ScriptedServer(*[away] * 50) as server:
        api = api_of(server, tmp_path)
        with api.watch(RAYJOBS, "ray", resource_version="1") as watching:
            while watching.absence is None or watching.absence.attempts < 2:
                assert watching.next(0.05) is None
        api.close()
    assert "watch rayjobs.ray.io ray" in watching.absence.problem
    assert "503 away" in watching.absence.problem


def test_a_watch_without_the_right_is_an_error_of_next(tmp_path: Path) -> None:
    with ScriptedServer(answer(403, {"message": "cannot watch"})) as server:
        api = api_of(server, tmp_path)
        with api.watch(RAYJOBS, "ray", resource_version="1") as watching:
            for _ in range(2):
                with pytest.raises(ForbiddenError, match="watch rayjobs"):
                    watching.next(20)
        api.close()


def test_close_ends_a_silent_watch(tmp_path: Path) -> None:
    over = threading.Event()
    with ScriptedServer(stream(then=over)) as server:
        api = api_of(server, tmp_path)
        watching = api.watch(RAYJOBS, "ray", resource_version="1")
        assert watching.next(0.2) is None
        watching.close()
        assert not [thread for thread in threading.enumerate() if thread.name == "dagster-ray watch"]
        over.set()
        api.close()
