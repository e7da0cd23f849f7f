"""Which cluster and which lock of an earlier attempt a step with `driver="cluster"` goes on with: tables."""

from collections.abc import Mapping
from typing import Any

import pytest
from collector_world import NOON, lock, obj

from dagster_ray.core import Identity
from dagster_ray.kuberay._jobs.earlier import choose_left
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, RAYJOBS
from dagster_ray.kuberay._sharing.choice import Take, choose
from dagster_ray.kuberay._sharing.requests import lock_id_of
from dagster_ray.pipes.drivers import EarlierAttempts

ENDED = EarlierAttempts(ended=frozenset({"job-0"}))
REJECTED = EarlierAttempts(rejected=frozenset({"uid-one"}))
NEVER = {"dagster/cleanup": "never"}
GOING: dict[str, Any] = {"metadata": {"deletionTimestamp": "2026-01-01T12:00:00Z"}}


def job(
    name: str = "one", deployment: str = "Running", status: str = "RUNNING", job_id: str = "job-0", **more: Any
) -> dict[str, Any]:
    told = {"jobDeploymentStatus": deployment, "jobStatus": status, "rayClusterName": "c"}
    given: dict[str, Any] = {"spec": {"jobId": job_id} if job_id else {}, **more}
    return obj(name, status=told, **given)


COMPLETE = job(deployment="Complete", status="SUCCEEDED")
RAYJOBS_LEFT: dict[str, tuple[list[dict[str, Any]], EarlierAttempts, str | None, bool, list[str]]] = {
    "nothing": ([], EarlierAttempts(), None, False, []),
    "its job runs": ([job()], EarlierAttempts(), "one", False, []),
    "its job waits for resources": ([job(status="PENDING")], EarlierAttempts(), "one", False, []),
    "it comes up, without a job": ([job(deployment="Initializing", status="", job_id="")], ENDED, "one", False, []),
    "no operator has seen it": ([obj("one")], EarlierAttempts(), "one", False, []),
    "a queue holds it": ([job(deployment="Suspended", status="")], EarlierAttempts(), "one", False, []),
    "its job has succeeded, and nobody was told": ([COMPLETE], EarlierAttempts(), "one", True, []),
    "its job has ended the attempt": ([job()], ENDED, None, False, ["one"]),
    "the attempt could not use it": ([job()], REJECTED, None, False, ["one"]),
    "the same, and it is kept": ([job(labels=NEVER)], REJECTED, None, False, []),
    "its job has failed": ([job(deployment="Failed", status="FAILED")], EarlierAttempts(), None, False, []),
    "its job has failed just now": ([job(status="FAILED")], EarlierAttempts(), None, False, []),
    "its job was stopped": ([job(status="STOPPED")], EarlierAttempts(), None, False, []),
    "it ran out of time": ([job(deployment="Failed")], EarlierAttempts(), None, False, []),
    "it is being deleted": ([job(**GOING)], EarlierAttempts(), None, False, []),
    "its attempt has noted an outcome": ([job(labels={"dagster/outcome": "failed"})], ENDED, None, False, []),
    "two: the newer one": ([job("old", age=90), job("new", age=30)], EarlierAttempts(), "new", False, ["old"]),
    "two, the newer one is spent": (
        [job("old", age=90, job_id="job-1"), job("new", age=30)],
        ENDED,
        "old",
        False,
        ["new"],
    ),
}


@pytest.mark.parametrize(
    ("found", "earlier", "followed", "is_complete", "leftovers"), RAYJOBS_LEFT.values(), ids=RAYJOBS_LEFT
)
def test_which_rayjob_is_used_again(
    found: list[dict[str, Any]],
    earlier: EarlierAttempts,
    followed: str | None,
    is_complete: bool,
    leftovers: list[str],
) -> None:
    left = choose_left(RAYJOBS, "default", found, earlier)
    assert (left.followed.name if left.followed else None, left.is_complete) == (followed, is_complete)
    assert [one.name for one in left.leftovers] == leftovers


@pytest.mark.parametrize(
    ("found", "followed"),
    [
        pytest.param(obj("one"), "one", id="that of a killed attempt"),
        pytest.param(obj("one", spec={"suspend": True}), "one", id="a queue holds it"),
        pytest.param(obj("one", **GOING), None, id="it is being deleted"),
        pytest.param(obj("one", {"dagster/outcome": "failed"}), None, id="its attempt has noted an outcome"),
    ],
)
def test_a_raycluster_serves_another_body_whatever_became_of_the_first(
    found: dict[str, Any], followed: str | None
) -> None:
    left = choose_left(RAYCLUSTERS, "default", [found], EarlierAttempts(ENDED.ended, REJECTED.rejected))
    assert ((left.followed.name if left.followed else None), left.leftovers) == (followed, ())


def test_attempts_of_a_step_have_one_lock_and_go_where_it_is() -> None:
    """Also if another cluster has fewer locks, and if that of the killed attempt has ended meanwhile."""
    one = Identity(run_id="run", step_key="step", resource_key="ray", attempt=0)
    again = Identity(run_id="run", step_key="step", resource_key="ray", attempt=1)
    name = lock_id_of(one, driver_in_cluster=True)
    assert name == lock_id_of(again, driver_in_cluster=True)
    assert name != lock_id_of(Identity(run_id="run", step_key="other"), driver_in_cluster=True)
    assert lock_id_of(one, driver_in_cluster=False) != lock_id_of(one, driver_in_cluster=False)
    assert len({name, *(lock_id_of(again, driver_in_cluster=True, number=number) for number in (0, 1))}) == 3
    crowded = obj("crowded", annotations={**lock(60, name="x"), **lock(60, name="y"), **lock(-30, name=name)})
    empty: Mapping[str, Any] = obj("empty")
    assert choose([empty, crowded], NOON, (), 0, name) == Take(crowded)
    assert choose([empty, crowded], NOON, (), 0, "another") == Take(empty)
