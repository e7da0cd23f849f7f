"""A watch against a server that answers from a script, with anything but a watch."""

import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from scripted_server import Reply, ScriptedServer, answer, reset, stream

from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
from dagster_ray.kuberay._kubernetes.watch import Pace


def api_of(server: ScriptedServer, folder: Path) -> KubernetesApi:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "k", "cluster": {"server": server.url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
    }
    (folder / "config").write_text(yaml.safe_dump(config), encoding="utf-8")
    return KubernetesApi.load(str(folder / "config"))


EXPIRED = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}
BOOKMARK = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}
NO_WATCH = "<html>please log in</html>"


@pytest.mark.parametrize(
    "replies",
    [
        pytest.param([stream(EXPIRED), answer(200, {"metadata": {"resourceVersion": "9"}, "items": []})], id="410"),
        pytest.param([answer(200, NO_WATCH)], id="a page"),
        pytest.param([stream()], id="an empty stream"),
        pytest.param([stream(BOOKMARK)], id="a bookmark"),
        pytest.param([answer(429, {"message": "slow down"}, Retry_After="0")], id="429"),
        pytest.param([answer(404, NO_WATCH)], id="a page with 404"),
    ],
)
def test_a_watch_backs_off_from_answers_that_bring_nothing(
    replies: list[Reply], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pauses are counted instead of slept."""
    pauses: list[float] = []
    slept = threading.Event()

    def pause_seconds(self: Pace, **round_: Any) -> float:
        pauses.append(real(self, **round_))
        if len(pauses) == 8:
            slept.set()
            return 60.0
        return 0.0

    real = Pace.pause_seconds
    monkeypatch.setattr(Pace, "pause_seconds", pause_seconds)
    with ScriptedServer(*replies * 8) as server:
        api = api_of(server, tmp_path)
        with api.watch(RAYJOBS, "ray", resource_version="1") as watching:
            assert slept.wait(20)
            assert watching.next(0) is None
        api.close()
    assert all(pauses)
    assert sum(pauses) > 8


def test_a_page_that_is_no_watch_is_told(tmp_path: Path) -> None:
    with ScriptedServer(answer(200, NO_WATCH)) as server:
        api = api_of(server, tmp_path)
        with api.watch(RAYJOBS, "ray", resource_version="1") as watching:
            while watching.absence is None or watching.absence.attempts < 2:
                assert watching.next(0.05) is None
        api.close()
    assert "please log in" in watching.absence.problem


def test_a_watch_waits_as_long_as_the_server_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []
    over = threading.Event()

    def pause_seconds(self: Pace, *, retry_after: str | None, **round_: Any) -> float:
        asked.append(retry_after)
        return real(self, retry_after="0", **round_)

    real = Pace.pause_seconds
    monkeypatch.setattr(Pace, "pause_seconds", pause_seconds)
    busy = {"kind": "Status", "code": 429, "message": "slow down", "details": {"retryAfterSeconds": 8}}
    replies = [
        answer(503, {"message": "away"}, Retry_After="7"),
        stream({"type": "ERROR", "object": busy}),
        answer(200, {"metadata": {"resourceVersion": "9"}, "items": [{"metadata": {"resourceVersion": "8"}}]}),
        stream(then=over),
    ]
    with ScriptedServer(*replies) as server:
        api = api_of(server, tmp_path)
        with api.watch(RAYJOBS, "ray", resource_version="1") as watching:
            found = watching.next(20)
        over.set()
        api.close()
    assert found is not None
    assert asked[:2] == ["7", "8"]


def test_close_does_not_wait_for_a_watch_that_the_server_never_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its thread ends when the time for an answer is over, long before that for the next event."""
    over, asked = threading.Event(), threading.Event()

    def silent(handler: Any) -> None:
        asked.set()
        over.wait(30)
        reset(handler)

    monkeypatch.setattr("dagster_ray.kuberay._kubernetes.calls._WATCH_HEADERS_SECONDS", 0.5)
    joined: list[threading.Thread] = []

    def join(self: threading.Thread, timeout: float | None = None) -> None:
        del timeout
        joined.append(self)

    monkeypatch.setattr(threading.Thread, "join", join)
    with ScriptedServer(silent) as server:
        api = api_of(server, tmp_path)
        watching = api.watch(RAYJOBS, "ray", resource_version="1")
        assert asked.wait(20)
        watching.close()
        assert joined == []
        monkeypatch.undo()
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "dagster-ray watch"]
        thread.join(20)
        assert not thread.is_alive()
        over.set()
        api.close()


@pytest.mark.parametrize("times", [pytest.param(1, id="once"), pytest.param(4, id="four times")])
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(NO_WATCH, id="a page"),
        pytest.param({}, id="nothing"),
        pytest.param({"items": []}, id="a list without a version"),
    ],
)
def test_a_list_that_is_none_is_no_proof_that_something_is_gone(page: Any, times: int, tmp_path: Path) -> None:
    """The watch has expired, and something else answers the list. The object counted as deleted before."""
    over = threading.Event()
    known = {"metadata": {"uid": "u", "resourceVersion": "8"}}
    replies = [
        stream({"type": "ADDED", "object": known}, EXPIRED),
        *[answer(200, page)] * times,
        answer(200, {"metadata": {"resourceVersion": "9"}, "items": [known]}),
        stream({"type": "MODIFIED", "object": {"metadata": {"uid": "u", "resourceVersion": "10"}}}, then=over),
    ]
    with ScriptedServer(*replies) as server:
        api = api_of(server, tmp_path)
        with api.watch(RAYJOBS, "ray", resource_version="1") as watching:
            found = [watching.next(20), watching.next(20)]
        over.set()
        api.close()
    assert [event and event.type for event in found] == ["ADDED", "MODIFIED"]


def torn(handler: Any) -> None:
    """Open a stream, and break the connection in the middle of a chunk."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"100\r\n{")
    reset(handler)


@pytest.mark.parametrize(
    ("replies", "is_away"),
    [
        pytest.param([torn], False, id="one stream that breaks was answered"),
        pytest.param([torn, torn], True, id="a server whose streams all break"),
        pytest.param([reset], True, id="no answer"),
    ],
)
def test_when_a_server_counts_as_away(
    replies: list[Reply], is_away: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deadline that passes right after a stream broke has something better to say than that nobody answered."""
    rounds: list[float] = []
    over = threading.Event()

    def pause_seconds(self: Pace, **round_: Any) -> float:
        rounds.append(real(self, **round_))
        if len(rounds) < len(replies):
            return 0.0
        over.set()
        return 60.0

    real = Pace.pause_seconds
    monkeypatch.setattr(Pace, "pause_seconds", pause_seconds)
    with ScriptedServer(*replies) as server:
        api = api_of(server, tmp_path)
        with api.watch(RAYJOBS, "ray", resource_version="1") as watching:
            assert over.wait(20)
            assert (watching.absence is not None) == is_away
        api.close()
