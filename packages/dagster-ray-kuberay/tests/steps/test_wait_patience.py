"""How long a wait bears with what an operator and a kubelet write, in the time of their own clock."""

from typing import Any

import pytest
from diagnosis_objects import explained
from operator_world import START, World, container, rayjob

from dagster_ray.kuberay._diagnosis.diagnosis import Diagnosis
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
from dagster_ray.kuberay._status.cluster_state import created
from dagster_ray.kuberay._steps.wait_state import WaitState
from dagster_ray.simulator import PodTimes

PAGE = "error parsing HTTP 503 response body: invalid character '<' looking for beginning of value"
CUT = "failed to extract layer sha256:ab: archive/tar: invalid tar header: unknown"
RACE = 'failed to prepare extraction snapshot "extract-1": parent snapshot sha256:ab does not exist: not found'
CREDENTIALS = "pull access denied, repository does not exist or may require authorization: no basic auth credentials"


class Waiting:
    """A wait in the time of a simulated world, without a network."""

    def __init__(self, version: str, image: str, *, may_read: bool = True, times: PodTimes | None = None) -> None:
        self.world, self._may_read = World(version, times), may_read
        job = rayjob()
        job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"] = [container(image=image)]
        self.world.create(job)
        self.known = WaitState(created(RAYJOBS, "ns", self._object("rayjobs")))
        self._seen: dict[str, Any] = {}
        self._watches = False

    def hopeless_after(self, seconds: int) -> tuple[float, Diagnosis] | None:
        """Return when the wait is given up within some seconds, and why; None if it is not."""
        for now in range(seconds):
            self.world.run(1)
            self._take(float(now))
            if self.known.needs_look(now):
                self._look(now)
            if self.known.is_hopeless(now):
                self._look(now)
            if self.known.is_hopeless(now) and self.known.diagnosis is not None:
                return (self.world.clock - START).total_seconds(), self.known.diagnosis
        return None

    def _object(self, plural: str) -> dict[str, Any]:
        found = self.world.store.list(plural)
        return found[0] if found else {}

    def _take(self, now: float) -> None:
        if self._is_new("rayjobs"):
            self.known.note(self._object("rayjobs"), now)
        if self.known.needs_cluster_watch(now):
            self.known.watched()
            self._watches = True
        if self._watches and self._is_new("rayclusters"):
            self.known.note_cluster(self._object("rayclusters"), now)

    def _is_new(self, plural: str) -> bool:
        before, self._seen[plural] = self._seen.get(plural), self._object(plural)
        return before != self._seen[plural]

    def _look(self, now: float) -> None:
        events = self.world.store.list("events")
        cluster = self._object("rayclusters")
        found = explained(self.world.pods(), events, rayjob=self._object("rayjobs"), raycluster=cluster)
        self.known.looked(found if self._may_read else None, now)


@pytest.mark.parametrize(
    ("version", "may_read"),
    [
        pytest.param("1.4.2", True, id="1.4.2"),
        pytest.param("1.5.0", True, id="1.5.0"),
        pytest.param("1.7.0", True, id="1.7.0"),
        pytest.param("1.7.0", False, id="1.7.0 without the right to read pods and events"),
    ],
)
def test_an_image_that_does_not_exist_is_given_up_after_two_attempts_and_within_half_a_minute(
    version: str, may_read: bool
) -> None:
    waiting = Waiting(version, "ray:missing", may_read=may_read)
    found = waiting.hopeless_after(100)
    assert found is not None
    assert found[1].code == "image-not-found"
    assert found[0] <= 30
    pulls = [text for _, reason, text in waiting.world.pod_events if reason == "Pulling"]
    assert len(pulls) == 2


@pytest.mark.parametrize("version", ["1.4.2", "1.7.0"])
@pytest.mark.parametrize("errors", [(PAGE,), (CUT, CUT), (RACE, PAGE, CUT, PAGE), (CREDENTIALS, CREDENTIALS)])
def test_a_registry_that_fails_for_a_while_is_waited_for(version: str, errors: tuple[str, ...]) -> None:
    waiting = Waiting(version, "ray:flaky", times=PodTimes(pull_errors={"flaky": errors}))
    assert waiting.hopeless_after(300) is None
    assert waiting.known.is_operator_ready
    assert waiting.known.diagnosis is None


@pytest.mark.parametrize("version", ["1.4.2", "1.7.0"])
def test_credentials_that_stay_wrong_are_given_up_after_two_minutes(version: str) -> None:
    found = Waiting(version, "ray:flaky", times=PodTimes(pull_errors={"flaky": (CREDENTIALS,) * 20})).hopeless_after(
        600
    )
    assert found is not None
    assert found[1].code == "image-unauthorized"
    assert 120 <= found[0] <= 150


@pytest.mark.parametrize("version", ["1.4.2", "1.7.0"])
def test_a_head_that_crashes_is_given_up_after_five_restarts(version: str) -> None:
    waiting = Waiting(version, "ray:crashing")
    found = waiting.hopeless_after(600)
    assert found is not None
    assert (found[1].code, found[1].attempts) == ("container", 5)
    assert found[0] >= 150


@pytest.mark.parametrize("version", ["1.4.2", "1.7.0"])
def test_a_head_that_crashes_twice_before_it_serves_is_waited_for(version: str) -> None:
    waiting = Waiting(version, "ray:2.60.0")
    for _ in range(2):
        assert waiting.hopeless_after(15) is None
        waiting.world.kubelet.crash_container("ns", waiting.world.pods("head")[0]["metadata"]["name"])
    assert waiting.hopeless_after(60) is None
    assert waiting.known.is_operator_ready
