"""Two Dagster instances with one storage id: what a copy of a database may say about the objects of its original."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from collector_world import INSTANCE, NOON, RUN, STEP, World, labels, obj, raycluster, rayjob

from dagster_ray.core import instance_id_of
from dagster_ray.kuberay._collector.candidate import candidate_of
from dagster_ray.kuberay._collector.plan import judge
from dagster_ray.kuberay._collector.run_facts import Ask, InstanceFacts, Keep, Remove, Rules, RunFacts, StepRef
from dagster_ray.kuberay._kubernetes.fields import time_text
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, RAYJOBS, Kind
from dagster_ray.simulator import Simulator

ENDED = 7200.0
"""Seconds since the end of the run."""
ALWAYS, ON_EXCEPTION = labels(policy="always"), labels(policy="on_exception")
PIPES = {**ALWAYS, "dagster/pipes-call": "k"}
DRIVER = {**ALWAYS, "dagster/driver": "cluster"}
UNKNOWN = InstanceFacts(INSTANCE, {RUN: None})
RUNNING = InstanceFacts(INSTANCE, {RUN: RunFacts(is_finished=False)}, {StepRef(RUN, STEP): "FAILURE"})


def finished(word: str) -> InstanceFacts:
    run = RunFacts(
        is_finished=True, succeeded=word == "SUCCESS", was_canceled=word == "CANCELED", seconds_since_end=ENDED
    )
    return InstanceFacts(INSTANCE, {RUN: run})


def alive(seconds_ago: float) -> dict[str, str]:
    return {"dagster/alive-at": time_text(NOON - timedelta(seconds=seconds_ago))}


def cluster(heard: float | None, *, age: float = 36_000) -> tuple[Kind, dict[str, Any]]:
    return RAYCLUSTERS, obj(labels=ALWAYS, annotations={} if heard is None else alive(heard), age=age)


def job(
    word: str, heard: float | None, *, given: dict[str, str] = ALWAYS, age: float = 36_000, **spec: Any
) -> tuple[Kind, dict[str, Any]]:
    status = {"jobDeploymentStatus": word, "startTime": time_text(NOON - timedelta(seconds=age))}
    notes = {} if heard is None else alive(heard)
    return RAYJOBS, obj(labels=given, annotations=notes, age=age, spec=spec, status=status)


def connected(heard: float | None = 30_000, **more: Any) -> tuple[Kind, dict[str, Any]]:
    return job("Running", heard, jobId="01000000", **more)


def unseen(heard: float | None, **more: Any) -> tuple[Kind, dict[str, Any]]:
    """Return a RayJob whose driver is connected while a worker is missing, so that the operator looks at no job."""
    return job("Initializing", heard, jobId="01000000", **more)


LIVES = "keep: it shows life"
FAILED, CANCELED, SUCCEEDED = finished("FAILURE"), finished("CANCELED"), finished("SUCCESS")

SIGNS: dict[str, tuple[tuple[Kind, dict[str, Any]], InstanceFacts, str]] = {
    "unknown run, RayCluster heard of within the hour": (cluster(3599), UNKNOWN, LIVES),
    "unknown run, RayCluster silent for an hour": (cluster(3600), UNKNOWN, "delete"),
    "unknown run, RayCluster that is too new to have been heard of": (cluster(None, age=3599), UNKNOWN, LIVES),
    "unknown run, RayCluster whose mark lies in the future": (cluster(-86_400), UNKNOWN, "delete"),
    "unknown run, RayCluster whose mark is a little ahead": (cluster(-5), UNKNOWN, LIVES),
    "unknown run, RayJob with a driver, however long ago it came": (connected(), UNKNOWN, LIVES),
    "unknown run, RayJob of Pipes with a job": (connected(given=PIPES), UNKNOWN, LIVES),
    "unknown run, RayJob without a driver for an hour": (job("Waiting", None, age=3600), UNKNOWN, "delete"),
    "unknown run, RayJob without a driver for less": (job("Waiting", None, age=3599), UNKNOWN, LIVES),
    "unknown run, RayJob that the operator will end": (
        job("Waiting", None, preRunningDeadlineSeconds=40_000),
        UNKNOWN,
        LIVES,
    ),
    "unknown run, RayJob in a queue": (job("Suspended", None), UNKNOWN, LIVES),
    "unknown run, RayJob that the operator refuses": (job("ValidationFailed", None), UNKNOWN, "delete"),
    "finished run, RayCluster marked alive after the end": (cluster(3599), FAILED, LIVES),
    "canceled run, RayCluster marked alive after the end": (cluster(3599), CANCELED, LIVES),
    "succeeded run, RayCluster marked alive after the end": (cluster(3599), SUCCEEDED, LIVES),
    "finished run, RayCluster marked alive after the end, then silent for an hour": (cluster(3600), FAILED, "delete"),
    "finished run, RayCluster created after the end": (cluster(None, age=3599), FAILED, LIVES),
    "finished run, RayCluster silent since before the end": (cluster(7300), FAILED, "delete"),
    "failed run, RayJob with a driver that came before the end": (connected(), FAILED, LIVES),
    "failed run, RayJob in a queue": (job("Suspended", None), FAILED, LIVES),
    "failed run, RayJob that the operator refuses": (job("ValidationFailed", None), FAILED, "delete"),
    "canceled run, RayJob with a driver that came before the end": (connected(), CANCELED, "delete"),
    "canceled run, RayJob with a driver that came after the end": (connected(3599), CANCELED, LIVES),
    "succeeded run, RayJob with a driver that came before the end": (connected(), SUCCEEDED, "delete"),
    "unknown run, RayJob with a driver and without all pods, heard of within the hour": (unseen(3599), UNKNOWN, LIVES),
    "unknown run, RayJob with a driver and without all pods, silent for an hour": (unseen(3600), UNKNOWN, "delete"),
    "failed run, RayJob with a driver and without all pods, marked alive after the end": (unseen(3599), FAILED, LIVES),
    "failed run, RayJob with a driver and without all pods, silent since": (unseen(7300), FAILED, "delete"),
    "failed run, RayJob without all pods whose operator will end it": (
        unseen(7300, given=ON_EXCEPTION, preRunningDeadlineSeconds=40_000),
        FAILED,
        "keep: the operator ends it by its own deadline",
    ),
    "succeeded run, RayJob without all pods, which no operator would end": (
        unseen(7300, given=ON_EXCEPTION),
        SUCCEEDED,
        "delete",
    ),
    "run in progress, step failed, RayJob with a driver and without all pods, heard of since": (
        unseen(899),
        RUNNING,
        "keep: its run is in progress",
    ),
    "run in progress, step failed, RayJob with a driver and without all pods, silent": (unseen(900), RUNNING, "delete"),
    "run in progress, step failed, RayJob of Pipes without all pods, silent": (
        unseen(900, given=PIPES),
        RUNNING,
        "delete",
    ),
    "finished run, RayJob of Pipes whose step was last heard of before the end": (
        connected(given=PIPES),
        FAILED,
        "delete",
    ),
    "finished run, RayJob of Pipes whose step was heard of after the end": (
        connected(3599, given=PIPES),
        FAILED,
        LIVES,
    ),
    "unknown run, RayJob with a body": (connected(given=DRIVER), UNKNOWN, LIVES),
    "failed run, RayJob whose body outlives it, silent since": (connected(given=DRIVER), FAILED, "delete"),
    "failed run, RayJob whose body is followed": (connected(30, given=DRIVER), FAILED, LIVES),
    "run in progress, step failed, RayJob whose body is followed": (
        connected(899, given=DRIVER),
        RUNNING,
        "keep: its run is in progress",
    ),
    "run in progress, step failed, RayJob whose body nobody follows": (connected(900, given=DRIVER), RUNNING, "delete"),
    "run in progress, step failed, RayJob with a driver": (connected(900), RUNNING, "keep: its run is in progress"),
    "run in progress, step failed, RayCluster heard of since": (cluster(899), RUNNING, "keep: its run is in progress"),
    "run in progress, step failed, RayCluster not heard of since": (cluster(900), RUNNING, "delete"),
}


def verdict(found: tuple[Kind, dict[str, Any]], facts: InstanceFacts) -> str:
    match judge(candidate_of(*found), facts, NOON, Rules()):
        case Keep(because):
            return LIVES if "shows life" in because else f"keep: {because}"
        case Remove():
            return "delete"
        case Ask():
            return "ask"


@pytest.mark.parametrize(("found", "facts", "expected"), SIGNS.values(), ids=SIGNS)
def test_life_outweighs_a_storage_that_may_be_a_copy(
    found: tuple[Kind, dict[str, Any]], facts: InstanceFacts, expected: str
) -> None:
    assert verdict(found, facts) == expected


@pytest.mark.parametrize(("found", "facts", "expected"), SIGNS.values(), ids=SIGNS)
def test_with_an_id_of_its_own_an_instance_knows_its_runs(
    found: tuple[Kind, dict[str, Any]], facts: InstanceFacts, expected: str
) -> None:
    certain = "delete" if expected == LIVES else expected
    assert verdict(found, replace(facts, has_own_id=True)) == certain


@pytest.mark.parametrize(("heard", "expected"), [(300, LIVES), (899, LIVES), (900, "delete")])
def test_a_renewal_that_is_not_due_yet_is_waited_for(heard: float, expected: str) -> None:
    """A copy's monitoring has ended the run since the last mark, and the next one comes up to ten minutes later."""
    run = RunFacts(is_finished=True, seconds_since_end=heard - 50)
    assert verdict(cluster(heard), InstanceFacts(INSTANCE, {RUN: run})) == expected


def test_an_object_without_an_id_is_judged_like_one_of_a_copy() -> None:
    unlabeled = labels(instance=None, policy="always")
    kind, found = cluster(3599)
    facts = replace(FAILED, has_own_id=True)
    assert verdict((kind, {**found, "metadata": {**found["metadata"], "labels": unlabeled}}), facts) == LIVES


def test_an_object_with_the_storages_id_is_told_where_the_instance_has_another() -> None:
    facts = InstanceFacts("own", {RUN: None}, has_own_id=True, storage_id=INSTANCE)
    assert "made without DAGSTER_RAY_INSTANCE_ID" in verdict(cluster(None), facts)
    assert verdict(cluster(None), replace(facts, storage_id="x")).endswith("another Dagster instance")


# Two instances, one database


@dataclass
class Copies:
    """Production, and a staging instance whose database was restored from a dump of production's."""

    production: World
    staging: World

    def left(self) -> list[str]:
        """Return the names of all objects that are there."""
        return [*self.production.left("rayclusters"), *self.production.left("rayjobs")]


@contextmanager
def restored(folder: Path, *under_way: str) -> Generator[Copies]:
    """Yield both instances; runs of the given ids were under way at the dump."""
    original, copy = folder / "production", folder / "staging"
    original.mkdir()
    with (
        Simulator(operator=False, fake_heads=True) as simulator,
        dg.DagsterInstance.local_temp(str(original)) as production,
    ):
        instance_id_of(production)
        for run_id in under_way:
            begin(production, run_id)
        shutil.copytree(original, copy)
        with dg.DagsterInstance.local_temp(str(copy)) as staging:
            assert instance_id_of(staging) == instance_id_of(production)
            yield Copies(World(simulator, production, Rules()), World(simulator, staging, Rules()))


def begin(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun:
    return instance.add_run(dg.DagsterRun("train", run_id=run_id, status=dg.DagsterRunStatus.STARTED))


def use(world: World, run_id: str, instance_id: str | None = None) -> None:
    """Create what two steps of a run use: a RayCluster, and a RayJob whose driver has registered."""
    marked = world.instance_labels(run_id, policy="always")
    if instance_id is not None:
        marked["dagster/instance-id"] = instance_id
    alive_at = {"dagster/alive-at": time_text(world.simulator.store.now())}
    world.create(raycluster(f"cluster-{run_id}", marked, alive_at))
    job = rayjob(f"job-{run_id}", marked, jobId="01000000")
    job["metadata"]["annotations"] = alive_at
    stored = world.simulator.store.create("rayjobs", job)
    world.simulator.store.replace_status("rayjobs", {**stored, "status": {"jobDeploymentStatus": "Running"}})


def renew(world: World, run_id: str) -> None:
    """Mark the RayCluster of a run as alive, as its step does."""
    alive_at = {"dagster/alive-at": time_text(world.simulator.store.now())}
    world.simulator.store.patch(
        "rayclusters", "default", f"cluster-{run_id}", {"metadata": {"annotations": alive_at}}, ""
    )


def pass_seconds(copies: Copies, seconds: float) -> None:
    """Let time pass, for the API server and for both instances."""
    copies.production.simulator.faults.clock_offset_seconds += seconds
    copies.production.later += timedelta(seconds=seconds)
    copies.staging.later += timedelta(seconds=seconds)


def test_what_production_uses_outlives_every_tick_of_its_copy(tmp_path: Path) -> None:
    """A run that began after the dump is unknown to the copy; one that was under way is ended by its monitoring."""
    with restored(tmp_path, "before") as copies:
        use(copies.production, "before")
        begin(copies.production.instance, "after")
        use(copies.production, "after")
        (run,) = copies.staging.instance.get_runs()
        copies.staging.instance.report_run_failed(run, "Run monitoring: its worker is gone.")
        everything = copies.left()
        for _ in range(12):  # two hours
            pass_seconds(copies, 600)
            for run_id in ("before", "after"):
                renew(copies.production, run_id)
            copies.production.collect()
            copies.staging.collect()
            assert copies.left() == everything
        assert "cluster-after" in copies.staging.report.text()
        assert "shows life" in copies.staging.report.text()


def test_the_three_cases_of_a_restored_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with restored(tmp_path, "under-way", "over") as copies:
        production, staging = copies.production, copies.staging
        begin(production.instance, "after-the-dump")
        for run_id in ("under-way", "after-the-dump"):
            use(production, run_id)
        for run in staging.instance.get_runs():
            staging.instance.report_run_failed(run, "Run monitoring: its worker is gone.")
        pass_seconds(copies, 700)
        use(production, "over")  # a later step of a run that has ended in the copy only
        for run_id in ("under-way", "after-the-dump"):
            renew(production, run_id)
        everything = copies.left()
        staging.collect()
        assert copies.left() == everything, "a run under way at the dump, a run after it, and life after a run's end"

        run = begin(production.instance, "never-told")
        use(production, "never-told", "production")
        production.instance.report_run_canceled(run)
        pass_seconds(copies, 200)
        renew(production, "never-told")
        monkeypatch.setenv("DAGSTER_RAY_INSTANCE_ID", "production")
        production.collect()
        assert copies.left() == everything, "the step of a canceled run was never told, and its objects go"


def test_what_production_has_left_goes_all_the_same(tmp_path: Path) -> None:
    with restored(tmp_path, "before") as copies:
        use(copies.production, "before")
        (run,) = copies.production.instance.get_runs()
        copies.production.instance.report_run_canceled(run)
        pass_seconds(copies, 1000)
        copies.production.collect()
        assert copies.left() == []


def test_a_canceled_run_whose_step_was_never_told_goes_by_the_instances_own_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its step goes on and renews its mark, which is what the run of a copy's original looks like as well."""
    with restored(tmp_path) as copies:
        for run_id, instance_id in (("shared-id", None), ("own-id", "production")):
            run = begin(copies.production.instance, run_id)
            use(copies.production, run_id, instance_id)
            copies.production.instance.report_run_canceled(run)
        pass_seconds(copies, 600)
        for run_id in ("shared-id", "own-id"):
            renew(copies.production, run_id)
        copies.production.collect()
        assert copies.left() == ["cluster-own-id", "cluster-shared-id", "job-own-id"]
        monkeypatch.setenv("DAGSTER_RAY_INSTANCE_ID", "production")
        copies.production.collect()
        assert copies.left() == ["cluster-shared-id"]
        assert "made without DAGSTER_RAY_INSTANCE_ID" in copies.production.report.text()


def test_a_copy_with_an_id_of_its_own_leaves_everything_of_its_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with restored(tmp_path, "before") as copies:
        use(copies.production, "before")
        (run,) = copies.staging.instance.get_runs()
        copies.staging.instance.report_run_canceled(run)
        everything = copies.left()
        pass_seconds(copies, 86_400)
        monkeypatch.setenv("DAGSTER_RAY_INSTANCE_ID", "staging")
        copies.staging.collect()
        assert copies.left() == everything
