"""A watch as a state: what goes in, what comes out, where it goes on."""

import json
from typing import Any

from dagster_ray.kuberay._kubernetes.watch import WatchState

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
