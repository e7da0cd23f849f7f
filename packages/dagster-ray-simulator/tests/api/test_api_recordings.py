"""The simulated API server answers as kube-apiserver 1.36 with KubeRay's CRDs did: its recorded calls are replayed."""

import pytest
from api_replay import Replay, recorded, recordings

NOT_SERVED = "RayCronJob, RayService and v1alpha1 are not simulated"
OF_THE_SERVER = "what a server says of itself"
FASTER = "the replay does not wait"

# (scenario, what a difference's line holds) -> why it is kept. Everything else is equal.
DIFFERENCES: dict[tuple[str, str], str] = {
    ("api-shapes", "selfsubjectaccessreviews: .status.reason: missing"): "the binding that allows it has no name here",
    ("api-shapes", "GET /version: .compiler"): OF_THE_SERVER,
    ("api-shapes", "GET /version: .gitCommit"): OF_THE_SERVER,
    ("api-shapes", "GET /version: .goVersion"): OF_THE_SERVER,
    ("api-shapes", "GET /api: .serverAddressByClientCIDRs[0].serverAddress"): OF_THE_SERVER,
    ("api-shapes", "GET /apis/ray.io: .versions"): NOT_SERVED,
    ("api-shapes", "GET /apis/ray.io/v1: .resources"): NOT_SERVED,
    ("api-shapes", "rayclusters?limit=1: .rows[0].cells[8]: '0s'"): FASTER,
    ("api-shapes", "sendInitialEvents=true"): "the recorded API server had an old etcd and refused it",
    ("api-shapes", "Too large resource version: 99999999, current:"): "the number of this server's newest change",
    ("api-shapes", "too old resource version: 1 ("): "the number of this server's oldest change",
}


@pytest.mark.parametrize(("version", "scenario"), recordings())
def test_replayed_calls_get_the_recorded_answers(version: str, scenario: str) -> None:
    found = _differences(version, scenario)
    kept = [part for one, part in DIFFERENCES if one == scenario]
    assert [text for text in found if not any(part in text for part in kept)] == []
    assert [part for part in kept if not any(part in text for text in found)] == [], "equal now: take it off the table"


def _differences(version: str, scenario: str) -> list[str]:
    replay = Replay(version, scenario)
    replay.server.start()
    try:
        return [
            f"{number} {step.get('method')} {step.get('path')}: {difference}"
            for number, step in enumerate(recorded(version, scenario))
            for difference in replay.differences(step)
        ]
    finally:
        replay.server.stop()
