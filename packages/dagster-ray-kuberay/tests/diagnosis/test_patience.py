"""When it is looked closer at a cluster that does not come up."""

import pytest

from dagster_ray.kuberay._diagnosis.patience import Dials, look_is_due, probe_pause_seconds
from dagster_ray.kuberay._status.cluster_state import Head


@pytest.mark.parametrize(
    ("quiet_seconds", "looks", "reason", "is_told", "due"),
    [
        pytest.param(9, 0, "", True, False, id="not before ten seconds without a movement"),
        pytest.param(10, 0, "", True, True, id="then"),
        pytest.param(10, 1, "", True, False, id="not again at once"),
        pytest.param(20, 1, "", True, True, id="but after twice the time"),
        pytest.param(10, 0, "HeadPodNotFound", True, True, id="whatever else the operator says"),
        pytest.param(19, 0, "ContainerCreating", True, False, id="an image may take some time to be pulled"),
        pytest.param(20, 0, "ContainerCreating", True, True, id="but not without a look"),
        pytest.param(44, 0, "ContainersNotReady", True, False, id="Ray may take some time to start"),
        pytest.param(45, 0, "ContainersNotReady", True, True, id="but not without a look either"),
        pytest.param(10, 0, "ContainersNotReady", False, True, id="an older operator says that of every trouble"),
    ],
)
def test_a_look_is_due(quiet_seconds: float, looks: int, reason: str, is_told: bool, due: bool) -> None:
    assert look_is_due(quiet_seconds, looks, reason, is_told=is_told) is due


@pytest.mark.parametrize(
    ("tried_seconds", "direct", "pause_seconds"),
    [
        pytest.param(0, True, 0.2, id="a refused connection costs nothing"),
        pytest.param(600, True, 0.2, id="however long it takes"),
        pytest.param(0, False, 0.5, id="a stream through the API server costs a little"),
        pytest.param(15, False, 1.0, id="so a slow head is tried less often"),
    ],
)
def test_how_often_a_port_is_tried(tried_seconds: float, direct: bool, pause_seconds: float) -> None:
    assert probe_pause_seconds(tried_seconds, direct=direct) == pause_seconds


@pytest.mark.parametrize(
    ("reason", "is_ready", "dialed_at"),
    [
        pytest.param("ContainersNotReady", False, [6, 36, 66, 96], id="seldom while Ray starts"),
        pytest.param("ContainerCreating", False, [30, 60, 90, 120], id="more seldom while there is no container"),
        pytest.param("HeadPodRunningAndReady", False, list(range(121)), id="always if the head is ready"),
        pytest.param("ContainersNotReady", True, list(range(121)), id="or the cluster"),
        pytest.param("", False, list(range(121)), id="or nothing is said of it"),
    ],
)
def test_when_a_head_is_dialed_through_the_api_server(reason: str, is_ready: bool, dialed_at: list[int]) -> None:
    head, dials = Head("c", pod="p", reason=reason), Dials()
    assert [at for at in range(121) if dials.begin(head, at, is_ready, at_once=False)] == dialed_at


def test_a_change_of_the_head_begins_anew() -> None:
    dials, seen = Dials(), list[int]()
    for at in range(40):
        pod, reason = "one" if at < 30 else "two", "ContainerCreating" if at < 10 else "ContainersNotReady"
        if dials.begin(Head("c", pod=pod, reason=reason), at, False, at_once=False):
            seen.append(at)
    assert seen == [16, 36]


def test_since_when_a_head_is_dialed() -> None:
    dials, starts, ready = Dials(), Head("c", pod="p", reason="ContainersNotReady"), Head("c", pod="p")
    assert (dials.seconds(9), dials.ready_seconds(9)) == (0, 0)
    assert dials.begin(starts, 10, False, at_once=True)
    assert dials.begin(ready, 14, True, at_once=False)
    assert (dials.seconds(20), dials.ready_seconds(20)) == (10, 6)
    assert dials.begin(Head("c", pod="q"), 21, False, at_once=False)
    assert (dials.seconds(22), dials.ready_seconds(22)) == (1, 0)
