"""Rules of KubeRay's releases: an error where every release has them, a warning or a preflight check otherwise."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false, reportArgumentType=false

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from fault_world import fields, run_step, simulated
from pydantic import ValidationError

from dagster_ray.kuberay import KubeRayCluster, KubeRayInteractiveJob, configs
from dagster_ray.kuberay._operator_rules.crd_fields import versions
from dagster_ray.kuberay._operator_rules.crd_release import missing_fields
from dagster_ray.kuberay._spec.unknown_keys import misspelled
from dagster_ray.kuberay.configs import InteractiveRayJobConfig, RayClusterConfig

CONTAINER: dict[str, Any] = {"name": "ray-head", "image": "own:1"}


def head(container: dict[str, Any] = CONTAINER, **start: str) -> dict[str, Any]:
    return {"headGroupSpec": {"rayStartParams": start, "template": {"spec": {"containers": [container]}}}}


def worker(**given: Any) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "w", "image": "own:1"}]}}
    return {"groupName": "w", "replicas": 0, "rayStartParams": {}, "template": template, **given}


V2: dict[str, Any] = {**CONTAINER, "env": [{"name": "RAY_enable_autoscaler_v2", "value": "1"}]}
SOME: dict[str, tuple[dict[str, Any], str, str]] = {
    "Ray's labels as a start parameter": (head(labels='{"a": "b"}'), "rayStartParams.labels", "1.3 and 1.4"),
    "bounds that cross": (
        {**head(), "workerGroupSpecs": [worker(minReplicas=2, maxReplicas=1)]},
        "workerGroupSpecs[0].minReplicas",
        "1.3 and 1.4 and 1.5",
    ),
    "the second autoscaler by a variable, without autoscaling": (
        {**head(V2), "enableInTreeAutoscaling": False},
        "RAY_enable_autoscaler_v2",
        "1.3 and 1.4",
    ),
}


@pytest.fixture(autouse=True)
def nothing_is_said_yet() -> Iterator[None]:
    configs._said.clear()  # pyright: ignore[reportPrivateUsage]
    yield
    configs._said.clear()  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(("spec", "text", "accepting"), SOME.values(), ids=SOME)
def test_what_only_some_releases_refuse_is_said_once_and_accepted(
    spec: dict[str, Any], text: str, accepting: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "dagster_ray"):
        for _ in range(2):
            KubeRayCluster(ray_cluster=RayClusterConfig(spec=spec))
    (said,) = caplog.messages
    assert text in said
    assert f"KubeRay {accepting} would accept it" in said


@pytest.mark.parametrize(("spec", "text", "accepting"), SOME.values(), ids=SOME)
@pytest.mark.parametrize("version", versions())
def test_the_preflight_check_applies_the_release_that_is_installed(
    spec: dict[str, Any], text: str, accepting: str, version: str
) -> None:
    with simulated(version) as simulator:
        common = {key: value for key, value in fields(simulator).items() if key != "ray_job"}
        outcome = run_step(KubeRayCluster(ray_cluster={"spec": spec}, **common))
        made = simulator.store.list("rayclusters")
    assert outcome.success is (version in accepting), outcome.log
    if not outcome.success:
        assert "[dagster-ray: invalid-spec]" in outcome.log
        assert text in outcome.log
        assert f"KubeRay {version}" in outcome.log
        assert made == [], "nothing is created"


def test_without_preflight_the_operators_own_words_end_the_step() -> None:
    with simulated("1.7.0") as simulator:
        job = {"rayClusterSpec": head(labels="a=b")}
        outcome = run_step(KubeRayInteractiveJob(**fields(simulator, spec=job, preflight="off")))
        schemas = [request for request in simulator.requests if "/openapi" in request.path]
    assert not outcome.success
    assert "rayStartParams['labels'] is not supported" in outcome.log
    assert schemas == []


def test_a_specification_that_every_release_accepts_costs_no_request_for_the_release() -> None:
    with simulated("1.7.0") as simulator:
        assert run_step(KubeRayInteractiveJob(**fields(simulator))).success
        assert [request.path for request in simulator.requests if "/openapi" in request.path] == []


def test_a_release_that_cannot_be_read_is_no_reason_to_stop() -> None:
    with simulated("1.4.2") as simulator:
        refused = simulator.faults.add(path="/openapi", status=403)
        common = {key: value for key, value in fields(simulator).items() if key != "ray_job"}
        outcome = run_step(KubeRayCluster(ray_cluster={"spec": head(labels="a=b")}, **common))
    assert outcome.success, outcome.log
    assert refused.hits == 1


ALL: dict[str, tuple[dict[str, Any], str]] = {
    "a strategy that no release takes": ({"deletionStrategy": {}}, "deletionStrategy.onSuccess"),
    "an upgrade strategy, which older releases do not know": (
        {"rayClusterSpec": {**head(), "upgradeStrategy": {"type": "Recreate"}}},
        "upgradeStrategy",
    ),
    "suspended without shutdown": ({"suspend": True, "shutdownAfterJobFinishes": False}, "spec.suspend"),
    "a negative time": ({"ttlSecondsAfterFinished": -1}, "ttlSecondsAfterFinished"),
}


@pytest.mark.parametrize(("spec", "field"), ALL.values(), ids=ALL)
def test_what_no_release_takes_is_an_error_at_load(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        InteractiveRayJobConfig(spec=spec)


def test_a_long_name_is_one_of_older_releases() -> None:
    RayClusterConfig(metadata={"name": "a" * 60})
    with pytest.raises(ValidationError, match="not a name of Kubernetes"):
        RayClusterConfig(metadata={"name": "A_b"})


def rules(policy: str, status: str = "SUCCEEDED") -> dict[str, Any]:
    return {"deletionStrategy": {"deletionRules": [{"policy": policy, "condition": {"jobStatus": status}}]}}


UNKNOWN: dict[str, tuple[dict[str, Any], str]] = {
    "a policy": (rules("DeleteLater"), "deletionRules[0].policy` is 'DeleteLater'"),
    "a status": (rules("DeleteSelf", "PREEMPTED"), "condition.jobStatus` is 'PREEMPTED'"),
    "a manager": ({"managedBy": "example.com/other"}, "`spec.managedBy` is 'example.com/other'"),
    "a cluster's manager": ({"rayClusterSpec": {"managedBy": "example.com/x"}}, "rayClusterSpec.managedBy` is"),
}


@pytest.mark.parametrize(("spec", "text"), UNKNOWN.values(), ids=UNKNOWN)
def test_a_value_of_a_later_release_is_said_and_accepted(
    spec: dict[str, Any], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "dagster_ray"):
        InteractiveRayJobConfig(spec=spec)
    (said,) = caplog.messages
    assert text in said


@pytest.mark.parametrize(("policy", "meant"), [("DeleteSlef", "DeleteSelf"), ("deletecluster", "DeleteCluster")])
def test_a_value_that_is_a_known_one_misspelled_is_an_error(policy: str, meant: str) -> None:
    with pytest.raises(ValidationError, match=f"write '{meant}'"):
        InteractiveRayJobConfig(spec=rules(policy))


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("rayVersio", "rayVersion"),
        ("workerGroupSpec", "workerGroupSpecs"),
        ("RAYVERSION", "rayVersion"),
        ("rayVersionNew", None),
        ("tky", "tty"),
        ("arg", None),
        ("", None),
    ],
)
def test_which_words_are_known_ones_misspelled(word: str, meant: str | None) -> None:
    assert misspelled(word, ("rayVersion", "workerGroupSpecs", "tty", "env")) == meant


def test_fields_that_a_release_does_not_have_are_found_in_lists_too() -> None:
    spec = {"workerGroupSpecs": [{"groupName": "a"}, {"groupName": "b", "priority": 1}], "authOptions": None}
    assert list(missing_fields("RayCluster", {"spec": spec}, (1, 6, 0))) == ["spec.workerGroupSpecs[].priority"]
    assert list(missing_fields("RayCluster", {"spec": spec}, (1, 7, 0))) == []
