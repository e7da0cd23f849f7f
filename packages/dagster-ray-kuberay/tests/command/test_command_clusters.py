"""`dagster-ray clusters` and `gc` on the simulator: what is told, and what is deleted."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from collector_world import CLUSTER_SPEC, NOON, labels, lock, obj, raycluster, rayjob, shared
from command_world import Printed, dagster_ray
from fault_world import eventually, simulated

from dagster_ray.kuberay import _rights as rights
from dagster_ray.kuberay._collector.plan import plan
from dagster_ray.kuberay._collector.run_facts import InstanceFacts, Rules
from dagster_ray.kuberay._kubernetes.fields import time_text
from dagster_ray.kuberay._labels import POOL_LABEL, POOL_NAME_LABEL, SLOT_LABEL
from dagster_ray.kuberay._pool.members import SIZES_ANNOTATION, USED_ANNOTATION, USES_ANNOTATION, Sizes
from dagster_ray.kuberay._pool.schedule import Entry, Schedule
from dagster_ray.kuberay.command._cluster_rows import candidates_of, rows_of
from dagster_ray.simulator import Account, Rule, Simulator

NO_HOME: dict[str, str | None] = {"DAGSTER_HOME": None}


@pytest.fixture
def simulator() -> Generator[Simulator]:
    with simulated(operator=False) as world:
        yield world


def verb(simulator: Simulator, *arguments: str, environ: dict[str, str | None] | None = None) -> Printed:
    return dagster_ray(*arguments, "--kubeconfig", simulator.kubeconfig, environ={**NO_HOME, **(environ or {})})


def now() -> datetime:
    return datetime.now(UTC)


def create(simulator: Simulator) -> None:
    """Make one of each sort."""
    held, over = lock(3000, now=now(), name="h"), lock(-60, now=now(), name="o")
    simulator.store.create("rayclusters", raycluster("held", shared(), {**held, **over}))
    simulator.store.create("rayclusters", raycluster("over", shared(), over))
    simulator.store.create("rayclusters", raycluster("own", labels(policy="always")))
    simulator.store.create("rayclusters", raycluster("theirs", {}, held))
    simulator.store.create("rayclusters", raycluster("foreign", {}))
    simulator.store.create("rayjobs", rayjob("job", labels()))


def by_name(printed: Printed) -> dict[str, Any]:
    return {row["name"]: row for row in printed.data}


def test_each_sort_of_cluster_is_told_with_its_locks_and_its_fate(simulator: Simulator) -> None:
    create(simulator)
    printed = verb(simulator, "clusters", "--json")
    found = by_name(printed)
    assert printed.code == 0
    assert {name: (row["kind"], row["use"], row["would_be_deleted"]) for name, row in found.items()} == {
        "held": ("RayCluster", "shared", False),
        "over": ("RayCluster", "shared", True),
        "own": ("RayCluster", "own", False),
        "theirs": ("RayCluster", "adopted", False),
        "job": ("RayJob", "own", False),
    }
    assert [(one["id"], one["is_live"], one["run_id"]) for one in found["held"]["locks"]] == [
        ("h", True, "run-1"),
        ("o", False, "run-1"),
    ]
    assert found["held"]["because"] == "a step holds a lock"
    assert found["own"]["because"] == "belongs to a run of another Dagster instance"
    assert found["job"]["age_seconds"] < 60


def test_people_get_a_table(simulator: Simulator) -> None:
    create(simulator)
    printed = verb(simulator, "clusters")
    line = next(one for one in printed.out.splitlines() if "default/held" in one)
    assert "train of run run-1; 1 ended" in line
    assert "keeps: a step holds a lock" in line
    assert "pod-hours so far, of the pods that exist" in printed.out
    assert "\x1b" not in printed.out


def test_where_there_is_nothing_that_is_said(simulator: Simulator) -> None:
    assert verb(simulator, "clusters").out == "No RayCluster or RayJob of dagster-ray.\n"
    assert verb(simulator, "clusters", "--json").data == []


def test_one_namespace_or_all(simulator: Simulator) -> None:
    simulator.add_namespace("other")
    made = raycluster("there", shared())
    simulator.store.create("rayclusters", {**made, "metadata": {**made["metadata"], "namespace": "other"}})
    assert verb(simulator, "clusters", "--json").data == []
    assert list(by_name(verb(simulator, "clusters", "-n", "other", "--json"))) == ["there"]
    assert list(by_name(verb(simulator, "clusters", "-A", "--json"))) == ["there"]


def test_the_clusters_of_a_step_show_their_head_and_what_their_pods_have_cost() -> None:
    with simulated() as simulator:
        simulator.store.create("rayjobs", rayjob("job", labels()))
        eventually(lambda: by_name(verb(simulator, "clusters", "--json"))["job"]["head"].endswith("(ready)"))
        row = by_name(verb(simulator, "clusters", "--json"))["job"]
        assert row["pod_hours"] >= 0
        simulator.faults.deny("list", "pods")
        printed = verb(simulator, "clusters", "--json")
        assert (printed.code, by_name(printed)["job"]["pod_hours"]) == (0, None)
        assert "Pod-hours are not known" in printed.err


def pod(cluster: str, seconds: float, *, ended: float | None = None) -> dict[str, Any]:
    """Return a pod that started so long before noon, and perhaps ended so long before it."""
    at = (NOON - timedelta(seconds=seconds)).isoformat()
    status: dict[str, Any] = {"phase": "Running", "startTime": at}
    if ended is not None:
        finished = (NOON - timedelta(seconds=ended)).isoformat()
        terminated = {"state": {"terminated": {"finishedAt": finished}}}
        status = {"phase": "Succeeded", "startTime": at, "containerStatuses": [terminated]}
    return {"metadata": {"namespace": "default", "labels": {"ray.io/cluster": cluster}}, "status": status}


def test_pod_hours_are_the_sum_of_what_the_pods_have_run() -> None:
    cluster = obj("one", shared(), spec=CLUSTER_SPEC)
    pods = [pod("one", 3600), pod("one", 7200, ended=3600), pod("other", 9000), pod("one", -5)]
    chosen = candidates_of([cluster], [])
    planned = plan([what for what, _ in chosen], InstanceFacts(None), NOON, Rules())
    (row,) = rows_of(chosen, [cluster], pods, planned, NOON, wanted={})
    assert row.pod_hours == pytest.approx(2.0)  # pyright: ignore[reportUnknownMemberType]
    assert row.goes


def pooled(name: str, slot: int, size: int | Schedule, **more: str) -> dict[str, Any]:
    """Return a cluster of a pool that has just been given back."""
    made = raycluster(name, {**labels(), POOL_LABEL: "digest", POOL_NAME_LABEL: "train", SLOT_LABEL: str(slot)})
    sizes = Sizes(size=size, max_size=3)
    notes = {SIZES_ANNOTATION: sizes.text(), USED_ANNOTATION: time_text(now()), USES_ANNOTATION: "3", **more}
    return {**made, "metadata": {**made["metadata"], "annotations": notes}}


def test_the_size_of_a_pool_is_told_and_when_it_ends(simulator: Simulator) -> None:
    tomorrow = (now() + timedelta(days=1)).replace(second=0, microsecond=0)
    until = time_text(tomorrow)
    schedule = Schedule((Entry("@yearly", 3), Entry(f"{tomorrow:%M %H %d %m} *", 0)))
    simulator.store.create("rayclusters", pooled("train-1", 1, schedule))
    row = by_name(verb(simulator, "clusters", "--json"))["train-1"]
    assert (row["use"], row["pool"], row["uses"]) == ("pool", "train", 3)
    assert (row["pool_size"], row["pool_size_until"]) == (3, until)
    assert f"pool train, used 3 times, size 3 until {until}" in verb(simulator, "clusters").out


@pytest.mark.parametrize(
    ("notes", "size", "words"),
    [
        pytest.param({}, 2, "pool train, used 3 times, size 2  ", id="of a pool without a schedule"),
        pytest.param({SIZES_ANNOTATION: "?"}, None, "pool train, used 3 times  ", id="where it cannot be read"),
    ],
)
def test_the_size_of_a_pool_has_no_end(
    simulator: Simulator, notes: dict[str, str], size: int | None, words: str
) -> None:
    simulator.store.create("rayclusters", pooled("train-1", 1, 2, **notes))
    row = by_name(verb(simulator, "clusters", "--json"))["train-1"]
    assert (row["pool_size"], row["pool_size_until"]) == (size, None)
    assert words in verb(simulator, "clusters").out


# gc


@pytest.mark.parametrize(
    ("flags", "left", "hint"),
    [
        pytest.param(
            [], ["foreign", "held", "over", "own", "theirs"], True, id="neither flag is a dry run with a hint"
        ),
        pytest.param(["--dry-run"], ["foreign", "held", "over", "own", "theirs"], False, id="a dry run"),
        pytest.param(["--yes"], ["foreign", "held", "own", "theirs"], False, id="yes deletes"),
    ],
)
def test_gc_deletes_only_when_told(simulator: Simulator, flags: list[str], left: list[str], hint: bool) -> None:
    create(simulator)
    printed = verb(simulator, "gc", *flags)
    assert printed.code == 0
    found = simulator.store.list("rayclusters")
    assert sorted(one["metadata"]["name"] for one in found if "deletionTimestamp" not in one["metadata"]) == left
    assert len(simulator.store.list("rayjobs")) == 1
    assert ("`dagster-ray gc --yes` deletes" in printed.err) is hint
    word = "deleted" if "--yes" in flags else "would delete"
    assert f"{word}  RayCluster default/over: its last lock ended" in printed.out
    assert "kept  RayCluster default/held: a step holds a lock" in printed.out


def test_gc_for_machines(simulator: Simulator) -> None:
    create(simulator)
    data = verb(simulator, "gc", "--json").data
    assert data["dry_run"] is True
    assert [one["object"] for one in data["deleted"]] == ["RayCluster default/over"]


def test_gc_knows_runs_where_dagster_is_configured(simulator: Simulator, tmp_path: Path) -> None:
    import dagster as dg

    from dagster_ray.core import instance_id_of

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        shared_id = labels(instance=instance_id_of(instance), policy="always")
    simulator.store.create("rayclusters", raycluster("of-a-deleted-run", labels(instance="ours", policy="always")))
    simulator.store.create("rayclusters", raycluster("of-a-copy", shared_id))
    environ: dict[str, str | None] = {
        "DAGSTER_HOME": str(tmp_path),
        "DAGSTER_RAY_CLEANUP_RUN_GRACE_SECONDS": "0",
        "DAGSTER_RAY_INSTANCE_ID": "ours",
    }
    printed = verb(simulator, "gc", "--yes", environ=environ)
    assert "deleted  RayCluster default/of-a-deleted-run: its run was deleted from Dagster" in printed.out
    assert "kept  RayCluster default/of-a-copy: has the id of this instance's run storage" in printed.out


def test_both_flags_are_wrong_usage(simulator: Simulator) -> None:
    assert verb(simulator, "gc", "--yes", "--dry-run").code == 2


def test_a_part_that_fails_is_a_finding(simulator: Simulator) -> None:
    create(simulator)
    simulator.faults.deny("list", "rayjobs")
    printed = verb(simulator, "gc")
    assert printed.code == 1
    assert "failed  Kubernetes refused to list rayjobs.ray.io" in printed.out


# Errors


@pytest.mark.parametrize("words", [["clusters"], ["gc"]])
def test_an_error_is_problem_remedy_and_code_without_a_traceback(simulator: Simulator, words: list[str]) -> None:
    for plural in ("rayclusters", "rayjobs"):
        simulator.faults.deny("list", plural)
    printed = verb(simulator, *words)
    assert (printed.code, printed.out) == (3, "")
    assert "To fix: allow `list` on `rayclusters.ray.io`" in printed.err
    assert "[dagster-ray: kubernetes-forbidden]" in printed.err
    assert "Traceback" not in printed.err
    assert verb(simulator, *words, "--json").data["error"]["code"] == "kubernetes-forbidden"


def test_the_role_of_the_command_is_enough_for_its_lists(simulator: Simulator, tmp_path: Path) -> None:
    create(simulator)
    rules = [rule for rule, _ in rights.rules_of(rights.rights_of(rights.features_of(["command"])))]
    granted = [Rule(one["apiGroups"], one["resources"], one["verbs"]) for one in rules]
    simulator.access.accounts["role"] = Account("command", granted, frozenset({"default"}))
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(simulator.account("role")), encoding="utf-8")
    printed = dagster_ray("clusters", "--kubeconfig", file, environ=NO_HOME)
    assert (printed.code, printed.err) == (0, "")
