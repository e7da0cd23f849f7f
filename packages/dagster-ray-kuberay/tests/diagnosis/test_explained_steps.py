"""What keeps a step's cluster away is told in the step's own log, as the page `troubleshooting` says."""

from typing import Any

import pytest
from fault_world import FAST, left, resource, run_step, simulated

from dagster_ray.kuberay._diagnosis.diagnosis import explain_answer
from dagster_ray.kuberay.groups import head_group, worker_group
from dagster_ray.simulator import KubeletOptions, Simulator
from dagster_ray.simulator._api.statuses import Refused

_RIGHT = 'rayjobs.ray.io is forbidden: User "jane" cannot create resource "rayjobs" in API group "ray.io"'
_FORBIDDEN = 'rayjobs.ray.io "x" is forbidden: '
_MISMATCH = (
    "RuntimeError: Version mismatch: The cluster was started with:\n    Ray: 2.60.0\n    Python: 3.11.14\n"
    "This process on node 10.1.2.3 was started with:\n    Ray: 2.59.1\n    Python: 3.11.9\n"
)


def refuse(simulator: Simulator, monkeypatch: pytest.MonkeyPatch, status: int, message: str) -> None:
    """Let admission refuse every RayJob."""
    create = simulator.store.create

    def refusing(plural: str, obj: dict[str, Any], **more: Any) -> Any:
        if plural == "rayjobs":
            raise Refused(status, "", message)
        return create(plural, obj, **more)

    monkeypatch.setattr(simulator.store, "create", refusing)


# Admission's answers as in the cases of the operator's own refusals: it is the same API server.
ADMISSION: dict[str, tuple[int, str, str, tuple[str, ...]]] = {
    "a quota": (
        403,
        _FORBIDDEN + "exceeded quota: q, requested: count/rayjobs.ray.io=1, used: count/rayjobs.ray.io=5, "
        "limited: count/rayjobs.ray.io=5",
        "quota",
        (
            "(403): quota q has no room (count/rayjobs.ray.io: 1 asked for, 5 of 5 used)",
            "have the ResourceQuota raised",
        ),
    ),
    "a webhook": (
        400,
        'admission webhook "policy.example.com" denied the request: no team label',
        "webhook-denied",
        ("admission policy policy.example.com refused it: no team label", "ask its owner for an exception"),
    ),
    "a namespace that ends": (
        403,
        _FORBIDDEN + "unable to create new content in namespace default because it is being terminated",
        "namespace-ending",
        ("namespace default is being deleted", "use another namespace"),
    ),
}


@pytest.mark.parametrize(("status", "message", "code", "says"), ADMISSION.values(), ids=ADMISSION)
def test_what_keeps_the_rayjob_out_of_the_cluster_is_told_with_the_remedy_that_fits(
    monkeypatch: pytest.MonkeyPatch, status: int, message: str, code: str, says: tuple[str, ...]
) -> None:
    with simulated() as simulator:
        refuse(simulator, monkeypatch, status, message)
        outcome = run_step(resource(simulator))
    assert not outcome.success
    assert f"(diagnosis {code})" in outcome.log
    assert "[dagster-ray: cannot-start]" in outcome.log
    assert [part for part in says if part not in outcome.log] == []


def test_a_webhook_that_is_down_until_the_deadline_is_named() -> None:
    """As the message of `UnavailableError` has it, with the status of the last answer."""
    down = 'Internal error occurred: failed calling webhook "mutate.example.com": connection refused'
    found = explain_answer(500, f"500 {down}")
    assert found is not None
    assert (found.code, found.reason, found.sentence) == ("webhook-down", "500", down)
    assert found.remedy.startswith("Have the webhook's service repaired")


@pytest.mark.parametrize("message", [_RIGHT, 'RayJob.ray.io "x" is invalid: spec.ttl: Invalid value', "Unauthorized"])
def test_what_has_an_error_of_its_own_is_left_to_it(message: str) -> None:
    assert explain_answer(403, message) is None


def test_workers_with_another_ray_than_the_heads_are_told_by_their_log() -> None:
    options = KubeletOptions(times=FAST, crash_log=_MISMATCH)
    workers = worker_group("small", replicas=1, image="rayproject/ray:crashing")
    cluster = {"headGroupSpec": head_group(cpus=1, memory="2Gi"), "workerGroupSpecs": [workers]}
    with simulated(kubelet_options=options) as simulator:
        outcome = run_step(resource(simulator, spec={"rayClusterSpec": cluster}, wait_for="workers", timeout=4))
        assert left(simulator) == []
    assert not outcome.success
    assert "runs Ray 2.59.1 with Python 3.11.9; its head Ray 2.60.0 with Python 3.11.14" in outcome.log
    assert "use one image for the head and all worker groups" in outcome.log
