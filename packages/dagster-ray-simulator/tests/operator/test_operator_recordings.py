"""The simulated operator says what the real one said: recordings of KubeRay 1.4.2 and 1.7.0 are replayed."""

from typing import Any

import pytest
from compared_states import in_first_order
from operator_replay import Replay, recorded, recordings

SLOW_COLLECTOR = "the recorded cluster's garbage collector took seconds, the simulated one is immediate"

# (version, scenario, resource, number of the object) -> why these states differ. Everything else is equal.
DIFFERENCES: dict[tuple[str, str, str, int], str] = {
    ("1.4.2", "invalid-specs", "rayclusters", 0): SLOW_COLLECTOR,
    ("1.4.2", "invalid-specs", "rayclusters", 1): SLOW_COLLECTOR + ", and the head was there at the first status",
}
DIFFERENT_EVENTS: dict[tuple[str, str, str], str] = {
    ("1.4.2", "invalid-specs", "Pod"): SLOW_COLLECTOR + ": a worker got past its init container meanwhile",
}
# Not simulated: what a probe of that kubelet printed while Ray started.
NOT_TOLD = {"Unhealthy"}


@pytest.mark.parametrize(("version", "scenario"), recordings())
def test_a_replayed_recording_gives_the_recorded_states(version: str, scenario: str) -> None:
    replay = Replay(version, recorded(version, scenario))
    replay.run()

    for resource in ("rayjobs", "rayclusters"):
        want, got = replay.recording[resource], replay.states(resource)
        assert len(got) == len(want)
        for number, states in enumerate(want):
            if (version, scenario, resource, number) in DIFFERENCES:
                assert got[number] != states, "equal now: take it off the table"
            else:
                assert got[number] == states, f"{resource} {number}"


@pytest.mark.parametrize(("version", "scenario"), recordings())
@pytest.mark.parametrize("kind", ["RayJob", "RayCluster", "Pod"])
def test_a_replayed_recording_tells_the_recorded_events(version: str, scenario: str, kind: str) -> None:
    replay = Replay(version, recorded(version, scenario))
    replay.run()

    want, got = _told(replay.recording["events"], kind), _told(replay.events, kind)
    if (version, scenario, kind) in DIFFERENT_EVENTS:
        assert got != want, "equal now: take it off the table"
    else:
        assert got == want


def _told(events: list[list[str]], kind: str) -> list[Any]:
    """What was told about a kind of object, each once, in the order of its first time."""
    return in_first_order(event for event in events if event[0] == kind and event[2] not in NOT_TOLD)
