"""The collector against a simulated API server: what it deletes, what it survives, what it leaves to the next tick."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import logging
import threading
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from collector_world import CLUSTER_SPEC, STEP, World, labels, lock, raycluster, rayjob, shared

from dagster_ray.core import Deadline
from dagster_ray.kuberay._collector.collector import CHANGED, SELECTED
from dagster_ray.kuberay._collector.cursor import Cursor
from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS
from dagster_ray.kuberay.errors import ForbiddenError, UnavailableError
from dagster_ray.simulator import Account, Rule, Simulator

pytestmark = pytest.mark.many_processes  # make test runs them

CLUSTERS = "rayclusters/default"


@pytest.fixture
def world() -> Generator[World]:
    with Simulator(operator=False, fake_heads=True) as simulator, dg.DagsterInstance.ephemeral() as instance:
        yield World(simulator, instance)


def now() -> datetime:
    return datetime.now(UTC)


def expired(name: str) -> dict[str, Any]:
    return raycluster(name, shared(), lock(-5, now=now()))


def held(name: str) -> dict[str, Any]:
    return raycluster(name, shared(), lock(300, now=now()))


def deletes(world: World) -> int:
    """Count the deletes that the API server has carried out."""
    return sum(one.method == "DELETE" and one.status == 200 for one in world.simulator.requests)


def test_the_log_calls_no_cluster_deleted_whose_pods_are_still_there(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.create(expired("old"))
    with caplog.at_level(logging.INFO):
        world.collect()
    assert [line for line in caplog.messages if "RayCluster default/old is being deleted: " in line]


def test_an_expired_cluster_goes_and_a_locked_one_stays(world: World) -> None:
    world.create(expired("old"), held("used"), raycluster("foreign", {"team": "a"}))
    assert world.collect() == Cursor()
    assert world.left() == ["foreign", "used"]
    assert world.report.deleted == [("RayCluster default/old", world.report.deleted[0][1])]
    assert world.report.kept == {"a step holds a lock": 1}


def test_a_lock_that_comes_after_the_list_wins(world: World) -> None:
    world.create(expired("wanted"), expired("other"))

    def acquire() -> None:
        patch = {"metadata": {"annotations": lock(300, now=now(), name="b")}}
        world.simulator.store.patch("rayclusters", "default", "wanted", patch, "")

    world.collect(meanwhile=acquire)
    assert (world.left(), world.report.kept[CHANGED]) == (["wanted"], 1)


@pytest.mark.parametrize(
    "pins_version", [pytest.param(True, id="by uid and version"), pytest.param(False, id="by uid alone, as by hand")]
)
def test_a_new_cluster_of_an_old_name_stays(world: World, pins_version: bool) -> None:
    world.create(expired("one"))

    def replace() -> None:
        world.simulator.store.delete("rayclusters", "default", "one")
        world.create(held("one"))

    world.collect(meanwhile=replace, pins_version=pins_version)
    assert (world.left(), world.report.kept[CHANGED]) == (["one"], 1)


def test_two_collectors_at_once_delete_each_object_once(world: World) -> None:
    world.create(*(expired(f"c{number:02}") for number in range(40)))
    both_listed = threading.Barrier(2)
    threads = [threading.Thread(target=world.collect, kwargs={"meanwhile": both_listed.wait}) for _ in range(2)]
    # The lists of RayJobs are empty, so that each collector plans twice as well.
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (world.left(), deletes(world)) == ([], 40)
    assert sum(len(report.deleted) for report in world.reports) == 40
    assert [report.seen for report in world.reports] == [40, 40]
    assert not any(report.failures for report in world.reports)


def test_runs_of_this_instance_decide_and_those_of_others_do_not(world: World) -> None:
    failed, succeeded = world.run(fails=True), world.run(fails=False)
    ours = world.instance_labels
    world.create(
        raycluster("failed", ours(failed, policy="on_exception")),
        raycluster("succeeded", ours(succeeded, policy="on_exception")),
        raycluster("always", ours(succeeded, policy="always")),
        raycluster("never", ours(failed, policy="never")),
        raycluster("of-others", {**ours(failed, policy="always"), "dagster/instance-id": "other"}),
        raycluster("run-scoped", {**ours(failed), "dagster/cluster-sharing": "true", "dagster/sharing-scope": "run"}),
    )
    world.wait_for_silence()
    world.collect()
    assert world.left() == ["never", "of-others", "succeeded"]


def test_a_run_that_was_deleted_takes_its_objects_with_it_but_not_those_of_another_instance(world: World) -> None:
    run_id = world.run(fails=True)
    world.instance.delete_run(run_id)
    world.simulator.store.create("rayjobs", rayjob("ours", world.instance_labels(run_id, policy="always")))
    world.simulator.store.create("rayjobs", rayjob("others", labels(run=run_id, instance="other", policy="always")))
    world.wait_for_silence()
    world.collect()
    assert world.left("rayjobs") == ["others"]


def test_a_rayjob_waits_in_vain_while_its_run_goes_on(world: World) -> None:
    """A step that was killed before its driver connected: its run is in progress, the step is over."""
    seen: list[list[str]] = []
    world.rules = type(world.rules)(waiting_seconds=0)

    @dg.op
    def train() -> None:
        raise ValueError("told to fail")

    @dg.op
    def validate(context: dg.OpExecutionContext) -> None:
        for step in ("train", "validate"):
            made = rayjob(step, world.instance_labels(context.run_id, step=step, policy="always"))
            stored = world.simulator.store.create("rayjobs", made)
            status = {"jobDeploymentStatus": "Waiting", "startTime": "2026-01-01T00:00:00Z"}
            world.simulator.store.replace_status("rayjobs", {**stored, "status": status})
        world.collect()
        seen.append(world.left("rayjobs"))

    @dg.job
    def training() -> None:
        train()
        validate()

    training.execute_in_process(instance=world.instance, raise_on_error=False)
    assert seen == [["validate"]]


def test_a_cluster_that_somebodys_rayjob_runs_on_stays(world: World) -> None:
    world.create(expired("selected"), expired("other"))
    world.create_job_on("selected")
    world.collect()
    assert (world.left(), world.report.kept) == (["selected"], {SELECTED: 1})


@pytest.mark.parametrize(
    "hours", [pytest.param(1, id="the server is an hour ahead"), pytest.param(-1, id="the server is an hour behind")]
)
def test_only_the_servers_clock_dates_locks(world: World, hours: int) -> None:
    world.simulator.faults.clock_offset_seconds = 3600 * hours
    there = world.simulator.store.now()
    world.create(raycluster("used", shared(), lock(300, now=there)), raycluster("old", shared(), lock(-5, now=there)))
    world.collect()
    assert world.left() == ["used"]


# Errors


def test_a_page_that_cannot_be_read_is_left_to_the_next_tick(world: World) -> None:
    world.create(*(expired(f"c{number}") for number in range(6)))
    world.simulator.faults.add(verb="list", resource="rayclusters", path="continue=", status=503)
    cursor = world.collect(page=2)
    assert world.left() == ["c2", "c3", "c4", "c5"]
    assert set(cursor.places) == cursor.failed == {CLUSTERS}
    assert cursor.places[CLUSTERS]
    assert "list rayclusters.ray.io" in world.report.text()
    world.simulator.faults.clear()
    assert world.collect(cursor, page=2) == Cursor()
    assert (world.left(), deletes(world)) == ([], 6)


def test_a_delete_that_fails_stops_nothing_else(world: World) -> None:
    world.create(*(expired(f"c{number}") for number in range(4)))
    fault = world.simulator.faults.add(method="DELETE", path="/c1$", status=500)
    cursor = world.collect()
    assert (world.left(), len(world.report.deleted)) == (["c1"], 3)
    assert "delete rayclusters.ray.io default/c1" in world.report.text()
    assert cursor.failed == {CLUSTERS}
    world.simulator.faults.remove(fault)
    world.collect(cursor)
    assert world.left() == []


def test_an_answer_that_was_lost_is_no_second_delete(world: World) -> None:
    world.create(expired("one"), expired("two"))
    world.simulator.faults.add(method="DELETE", lose_answer=True, times=1)
    world.collect()
    assert (world.left(), world.report.gone, len(world.report.deleted)) == ([], 1, 1)


def test_a_list_that_the_server_has_forgotten_begins_again(world: World) -> None:
    world.create(*(expired(f"c{number}") for number in range(6)))
    pages: list[int] = []

    def forget_once() -> None:
        pages.append(1)
        if len(pages) == 2:
            world.simulator.faults.expire_watches()

    cursor = world.collect(page=2, meanwhile=forget_once)
    assert (world.left(), world.report.failures, cursor) == ([], [], Cursor())
    statuses = [one.status for one in world.simulator.requests if "continue=" in one.path]
    assert 410 in statuses


def test_a_kind_that_may_not_be_listed_is_told_and_the_other_one_goes_on(world: World) -> None:
    world.create(expired("old"))
    world.simulator.faults.deny("list", "rayjobs")
    world.collect()
    assert world.left() == []
    assert "list rayjobs.ray.io" in world.report.text()


def test_a_right_to_delete_that_is_missing_is_told(world: World) -> None:
    world.create(*(expired(f"c{number}") for number in range(9)))
    world.simulator.faults.deny("delete", "rayclusters")
    world.collect()
    assert len(world.left()) == 9
    assert world.report.kept == {"could not be deleted": 5, "was left when other deletes had failed": 4}
    assert "cannot delete resource" in world.report.text()


def test_a_tick_that_can_list_nothing_fails(world: World) -> None:
    for plural in ("rayclusters", "rayjobs"):
        world.simulator.faults.deny("list", plural)
    with pytest.raises(ForbiddenError):
        world.collect()
    world.simulator.faults.clear()
    with world.simulator.faults.outage(), pytest.raises(UnavailableError):
        world.collect()


class BrokenInstance:
    """A Dagster instance whose database is down."""

    def get_run_records(self, *_: object) -> None:
        raise ConnectionError("no database")


def test_without_run_storage_locks_still_decide(world: World) -> None:
    world.create(expired("old"), raycluster("of-a-run", labels(policy="always", instance=None)))
    world.collect(instance=BrokenInstance())
    assert world.left() == ["of-a-run"]
    assert "ConnectionError" in world.report.text()


# Rights and namespaces


def account(world: World, folder: Path, *namespaces: str) -> Path:
    rules = [Rule(["ray.io"], ["rayclusters", "rayjobs"], ["list", "delete"])]
    world.simulator.access.accounts["role"] = Account("collector", rules, frozenset(namespaces))
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(world.simulator.account("role")), encoding="utf-8")
    return file


def in_namespace(cluster: dict[str, Any], namespace: str) -> dict[str, Any]:
    return {**cluster, "metadata": {**cluster["metadata"], "namespace": namespace}}


def test_a_role_in_one_namespace_is_enough(world: World, tmp_path: Path) -> None:
    world.create(expired("old"), held("used"))
    world.collect(kubeconfig=account(world, tmp_path, "default"))
    assert (world.left(), world.report.failures) == (["used"], [])


def test_a_namespace_without_rights_is_told_and_the_others_go_on(world: World, tmp_path: Path) -> None:
    world.simulator.add_namespace("other")
    world.create(expired("old"), in_namespace(expired("old"), "other"))
    world.collect(kubeconfig=account(world, tmp_path, "default"), namespaces=["other", "default"])
    assert [one["metadata"]["namespace"] for one in world.simulator.store.list("rayclusters")] == ["other"]
    assert len(world.report.failures) == 2


def test_everywhere(world: World) -> None:
    world.simulator.add_namespace("other")
    world.create(expired("old"), in_namespace(expired("old"), "other"), in_namespace(held("used"), "other"))
    world.collect(namespaces=["*"])
    assert world.left() == ["used"]


# Many objects


class Clock:
    """Seconds that pass only when a page was listed."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def page(self) -> None:
        self.seconds += 1


def test_many_objects_are_seen_page_by_page_over_several_ticks_each_once(world: World) -> None:
    made = {"metadata": {"labels": shared(), "namespace": "default"}, "spec": CLUSTER_SPEC}
    used, over = lock(3000, now=now()), lock(-5, now=now())
    for number in range(1200):
        annotations = over if number % 100 == 0 else used
        metadata = {**made["metadata"], "name": f"c{number:04}", "annotations": annotations}
        world.simulator.store.create("rayclusters", {**made, "metadata": metadata})
    cursor, ticks = Cursor(), 0
    while ticks == 0 or cursor.places:
        clock = Clock()
        cursor = world.collect(cursor, page=100, deadline=Deadline(4.5, clock), meanwhile=clock.page)
        ticks += 1
    assert ticks == 3
    assert sum(report.seen for report in world.reports) == 1200
    assert (len(world.left()), deletes(world)) == (1188, 12)
    lists = [one.path for one in world.simulator.requests if one.method == "GET" and "rayclusters" in one.path]
    assert len(lists) == 12 + 2  # two pages had a delete left when the time was over
    assert all("limit=100" in path for path in lists)


def test_a_step_without_events_is_no_reason_to_keep_what_a_failed_run_has_left(world: World) -> None:
    run_id = world.run(fails=True)
    for step in (STEP, "never-began"):
        world.create(raycluster(step, world.instance_labels(run_id, step=step, policy="on_exception")))
    world.wait_for_silence()
    world.collect()
    assert world.left() == []


class CountingInstance:
    """A Dagster instance that notes which runs it is asked for."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._instance, name)

    def get_run_records(self, wanted: dg.RunsFilter) -> Any:
        self.asked += wanted.run_ids or []
        return self._instance.get_run_records(wanted)


def test_a_run_whose_clusters_are_on_several_pages_is_asked_for_once(world: World) -> None:
    run_id, instance = world.run(fails=True), CountingInstance(world.instance)
    labels_of_run = world.instance_labels(run_id, policy="always")
    world.create(*(raycluster(f"c{number}", labels_of_run) for number in range(3)))
    world.wait_for_silence()
    world.collect(page=1, instance=instance)
    assert world.left() == []
    assert instance.asked == [run_id]


def test_a_list_of_metadata_alone_has_no_specs(world: World) -> None:
    world.create(raycluster("one", shared(), {"note": "text"}))
    api = KubernetesApi.load(str(world.simulator.kubeconfig))
    try:
        whole, short = (
            api.list_page(RAYCLUSTERS, "default", Deadline(60), metadata_only=only).items for only in (False, True)
        )
    finally:
        api.close()
    assert [item["metadata"] for item in short] == [item["metadata"] for item in whole]
    assert (set(short[0]), set(whole[0]) - set(short[0])) == ({"apiVersion", "kind", "metadata"}, {"spec"})
