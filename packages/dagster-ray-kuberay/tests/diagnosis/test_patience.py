"""When it is looked closer at a cluster that does not come up."""

import pytest

from dagster_ray.kuberay._diagnosis.patience import look_is_due, probe_pause_seconds


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
