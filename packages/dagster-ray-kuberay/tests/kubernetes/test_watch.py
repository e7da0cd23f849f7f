"""A watch as a state: what goes in, what comes out, where it goes on."""

import json
import random
from typing import Any

import pytest

from dagster_ray.kuberay._kubernetes.watch import Pace, WatchState

Events = list[tuple[str, str]]


def item(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}}


def line(kind: str, obj: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


def fed(state: WatchState, data: bytes) -> Events:
    return [(event.type, event.object["metadata"]["resourceVersion"]) for event in state.fed(data)]


def test_events_of_whole_lines_come_in_order_and_move_the_version() -> None:
    state = WatchState("5")
    assert fed(state, line("ADDED", item("a", 6)) + line("MODIFIED", item("a", 7))) == [
        ("ADDED", "6"),
        ("MODIFIED", "7"),
    ]
    assert state.version == "7"


def test_a_line_may_come_in_any_pieces() -> None:
    whole = line("ADDED", item("a", 6)) + line("MODIFIED", item("a", 7))
    for cut in range(len(whole)):
        state = WatchState("5")
        assert fed(state, whole[:cut]) + fed(state, whole[cut:]) == [("ADDED", "6"), ("MODIFIED", "7")]


def test_half_a_line_at_the_end_of_a_stream_is_void_and_comes_again() -> None:
    state = WatchState("5")
    assert fed(state, line("ADDED", item("a", 6)) + line("MODIFIED", item("a", 7))[:20]) == [("ADDED", "6")]
    state.ended()
    assert state.version == "6"
    assert fed(state, line("MODIFIED", item("a", 7))) == [("MODIFIED", "7")]


def test_a_bookmark_moves_the_version_only() -> None:
    state = WatchState("5")
    assert fed(state, line("BOOKMARK", {"metadata": {"resourceVersion": "99"}})) == []
    assert state.version == "99"


def test_the_end_of_what_existed_before_is_told_after_a_break() -> None:
    state = WatchState("5", [item("a", 3), item("b", 4)])
    assert fed(state, line("MODIFIED", item("a", 3))) == []
    state.ended(lost=True)
    events = state.listed([item("b", 4)], "9")
    assert [(event.type, event.object["metadata"]["name"]) for event in events] == [("DELETED", "a")]


def test_what_came_already_does_not_come_again() -> None:
    state = WatchState("5")
    fed(state, line("ADDED", item("a", 9)))
    assert fed(state, line("ADDED", item("a", 9)) + line("MODIFIED", item("a", 8))) == []
    assert fed(state, line("MODIFIED", item("a", 10))) == [("MODIFIED", "10")]


def test_an_expired_version_asks_for_a_list() -> None:
    state = WatchState("5")
    status = {"kind": "Status", "message": "too old resource version: 1 (643)", "reason": "Expired", "code": 410}
    assert fed(state, line("ERROR", status)) == []
    assert (state.version, state.refused) == (None, None)


def test_another_error_is_told() -> None:
    state = WatchState("5")
    assert fed(state, line("ERROR", {"kind": "Status", "message": "no", "code": 403})) == []
    assert (state.version, state.refused) == (None, (403, "no"))


def test_a_list_tells_what_changed_meanwhile() -> None:
    state = WatchState()
    assert [e.type for e in state.listed([item("same", 1), item("changed", 2), item("gone", 3)], "10")] == ["ADDED"] * 3
    events = state.listed([item("same", 1), item("changed", 12), item("new", 13)], "20")
    assert [(e.type, e.object["metadata"]["name"]) for e in events] == [
        ("DELETED", "gone"),
        ("MODIFIED", "changed"),
        ("ADDED", "new"),
    ]
    assert state.version == "20"


def test_after_a_list_the_stream_repeats_nothing() -> None:
    state = WatchState()
    state.listed([item("a", 7)], "10")
    assert fed(state, line("MODIFIED", item("a", 7))) == []
    assert fed(state, line("DELETED", item("a", 11))) == [("DELETED", "11")]


def test_a_name_that_is_used_again_is_another_object() -> None:
    state = WatchState("5")
    again = item("a", 9)
    again["metadata"]["uid"] = "uid-other"
    assert fed(state, line("ADDED", item("a", 6)) + line("DELETED", item("a", 8)) + line("ADDED", again)) == [
        ("ADDED", "6"),
        ("DELETED", "8"),
        ("ADDED", "9"),
    ]


def test_lines_that_are_no_events_are_left_out() -> None:
    state = WatchState("5")
    garbage = (
        b'<html>\n\n[1]\n{"type": "ADDED"}\n{"type": "PONDERED", "object": {"metadata": {"resourceVersion": "6"}}}\n'
    )
    assert fed(state, garbage) == []
    assert state.version == "5"


@pytest.mark.parametrize(
    ("data", "foreign"),
    [
        pytest.param(b"<html>please log in</html>", "<html>please log in</html>", id="a page without an end of line"),
        pytest.param(b"please\nlog in\n", "please", id="the first line of a text"),
        pytest.param(line("BOOKMARK", item("a", 6)), None, id="an event"),
        pytest.param(line("ADDED", item("a", 6))[:20], None, id="half an event"),
        pytest.param(b"\n\n", None, id="empty lines"),
    ],
)
def test_a_text_that_is_no_watch_is_remembered(data: bytes, foreign: str | None) -> None:
    state = WatchState("5")
    fed(state, data)
    state.ended()
    assert state.foreign == foreign


def test_an_error_event_may_ask_for_a_pause() -> None:
    state = WatchState("5")
    fed(state, line("ERROR", {"kind": "Status", "code": 429, "message": "m", "details": {"retryAfterSeconds": 7}}))
    assert (state.refused, state.retry_after) == ((429, "m"), "7")


# The pace


def pauses(*rounds: tuple[int, float]) -> list[float]:
    """Return the pauses after rounds, each with its number of events and how long its stream was open."""
    pace = Pace(random.Random(1))
    return [pace.pause_seconds(events=events, lasted_seconds=lasted, retry_after=None) for events, lasted in rounds]


def test_rounds_that_bring_nothing_back_off() -> None:
    found = pauses(*[(0, 0.0)] * 8)
    assert all(found)
    assert found[:4] == sorted(found[:4])
    assert sum(found) > 8
    assert max(found) <= 3


@pytest.mark.parametrize(
    "round_", [pytest.param((1, 0.0), id="an event"), pytest.param((0, 60.0), id="a stream that lasted")]
)
def test_a_useful_round_is_followed_at_once_and_ends_the_back_off(round_: tuple[int, float]) -> None:
    found = pauses(*[(0, 0.0)] * 5, round_, (0, 0.0))
    assert found[5] == 0
    assert found[6] <= 0.2


def test_a_pause_is_as_long_as_the_server_asks_for() -> None:
    pace = Pace(random.Random(1))
    assert pace.pause_seconds(events=0, lasted_seconds=0, retry_after="30") == 30
    assert pace.pause_seconds(events=1, lasted_seconds=0, retry_after="30") == 30
