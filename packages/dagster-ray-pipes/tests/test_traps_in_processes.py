"""What a plain step launcher of Dagster gets wrong, by either executor that runs steps on this machine.

Such a launcher calls `run_step_from_ref` elsewhere, hands each event to Dagster and believes what it hears. Thirteen
things go wrong then, most of them in silence. Each is tested under the in-process and the multiprocess executor, and
what a run tells is compared with what it tells by Dagster alone, in one process. Here:

    The default IO manager's files are the worker's own         test_a_value_that_only_its_worker...
    The worker's resources are never torn down, hooks run twice test_resources_are_torn_down...
    Dynamic keys are unknown in the worker                      test_partitions, test_ranges..., test_an_input_of...
    Changes of the instance are lost                            test_a_change_of_dagsters_own_data...
    Events of another Dagster become engine events              test_an_event_that_this_dagster_cannot_read...
    A resource in another one does not launch the step          test_a_nested_resource...

In `test_driver_in_cluster`:

    Data versions ignore upstream assets; checks are about
        nothing, or about an id of the worker's own database    test_assets_checks_and_their_versions
    The selection of checks is dropped                          test_only_the_selected_checks_run
    A resource that fails in the cluster kills the run          test_a_resource_that_fails_in_the_cluster...
    Retry policies do not count for a lost driver, and its
        error comes after an end that the worker has told       test_a_worker_that_dies...
    Dynamic outputs vanish when a process follows another       test_a_killed_process_of_the_step...
    SIGTERM is not seen, or starts another attempt              test_a_termination_ends_the_worker...

An executor whose steps are pods of their own learns of events from the log only. What it makes of a resource that fails
in the cluster, and of dynamic outputs when a pod follows another, is tested in `test_traps_in_pods`.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import pickle
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.partitions.utils import get_tags_from_multi_partition_key
from driver_runs import IN_PROCESS, execute, reconstructable, runs, same, told
from forked_workers import FORKED_STEPS, ForkedWorkers, start_fork_server
from scripted_job_server import job_server
from trap_jobs import NEWER

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore:.*:Warning")
EXECUTORS = [pytest.param(IN_PROCESS, id="in process"), pytest.param(FORKED_STEPS, id="multiprocess")]
RARELY_IN_PROCESS = [pytest.param(IN_PROCESS, id="in process", marks=pytest.mark.weekly), EXECUTORS[1]]
ENDS = {"STEP_SUCCESS", "STEP_FAILURE", "STEP_UP_FOR_RETRY"}


@dataclass(frozen=True)
class Told:
    """A run of all steps of `trap_jobs`, and what it has told."""

    folder: Path
    run: dg.JobExecutionResult
    events: Sequence[Any]
    bodies: Sequence[str]
    """The steps that were submitted, one after another."""

    def of(self, step: str) -> list[str]:
        """Return what a step has told, as text that does not say in which folder."""
        return [str(each).replace(str(self.folder), "FOLDER") for each in self.events if each[1] == step]

    def kinds(self, step: str) -> list[str]:
        """Return the types of the step's events, without lines of its log."""
        return [kind for kind, key, _ in self.events if key == step and kind != "LOG"]

    def lines(self, step: str) -> list[str]:
        """Return the lines of the step's log."""
        return [text for kind, key, text in self.events if key == step and kind == "LOG"]

    def ends(self, step: str) -> list[str]:
        """Return how the step's attempts have ended."""
        return [kind for kind in self.kinds(step) if kind in ENDS]

    def error(self, step: str) -> str:
        """Return what the step's last failure says."""
        failures = [event for event in self.run.all_events if event.is_step_failure and event.step_key == step]
        return failures[-1].step_failure_data.error_display_string

    def notes(self, name: str) -> list[str]:
        """Return what was written into a file of the run's folder."""
        return (self.folder / name).read_text().splitlines()


@dataclass(frozen=True)
class World:
    """A job server, an instance of Dagster, and a run by Dagster alone."""

    folder: Path
    instance: dg.DagsterInstance
    workers: ForkedWorkers

    def execute(self, driver: str, config: Any) -> Told:
        folder = self.folder / f"{driver}-{len(self.instance.get_runs())}"
        folder.mkdir()
        before = len(self.workers.bodies)
        job = reconstructable("traps", self.workers.url, driver, folder, module="trap_jobs")
        run = execute(self.instance, job, config)
        steps = [str(body["metadata"]["dagster/step-key"]) for body in self.workers.bodies[before:]]
        return Told(folder, run, told(self.instance, run.run_id), steps)


def write_as_another_dagster(workers: ForkedWorkers) -> None:
    """Let the worker's events arrive with classes that this Dagster does not have, once the worker has ended."""
    answer = workers.server.script

    def script(method: str, path: str, body: bytes) -> tuple[int, object]:
        status, content = answer(method, path, body)
        name = re.search(r"dagster-step-([\w-]+)\.jsonl", path)
        if name is None or not isinstance(content, bytes):
            return status, content
        known = NEWER.get(workers.jobs[name[1]]["metadata"]["dagster/step-key"])
        if known is None:
            return status, content
        return status, content.replace(known, known + b"Next") if b'"end":' in content else b""

    workers.server.script = script


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Generator[World]:
    folder = tmp_path_factory.mktemp("traps")
    (folder / "home").mkdir()
    start_fork_server()
    with job_server() as server, dg.DagsterInstance.local_temp(str(folder / "home")) as instance:
        workers = ForkedWorkers(folder / "ray", server)
        write_as_another_dagster(workers)
        yield World(folder, instance, workers)
        workers.close()


@pytest.fixture(scope="module")
def alone(world: World) -> Told:
    """By Dagster alone, in this process."""
    return world.execute("step", IN_PROCESS)


@pytest.fixture(scope="module", params=EXECUTORS)
def there(world: World, request: pytest.FixtureRequest) -> Told:
    """With the bodies in the cluster."""
    return world.execute("cluster", request.param)


def test_a_value_that_only_its_worker_could_load_is_refused_before_the_body_runs(alone: Told, there: Told) -> None:
    """Dagster's default IO manager keeps values below the instance; the step would succeed, and the next one fail."""
    assert (alone.ends("keeps"), alone.ends("takes")) == (["STEP_SUCCESS"], ["STEP_SUCCESS"])
    assert (there.ends("keeps"), there.kinds("takes")) == (["STEP_FAILURE"], [])
    assert "[dagster-ray: step-not-movable]" in there.error("keeps")
    assert "no `base_dir` is given" in there.error("keeps")
    assert "keeps" not in there.bodies
    assert "keeps" not in there.notes("bodies")


def test_a_value_that_nobody_loads_is_lost_with_a_warning(alone: Told, there: Told) -> None:
    (warning,) = there.lines("keeps_for_nobody")
    assert "with driver='cluster' that is lost with the worker" in warning
    where_it_is = "HANDLED_OUTPUT"
    here, elsewhere = (
        [text for text in found.of("keeps_for_nobody") if where_it_is not in text and warning not in text]
        for found in (alone, there)
    )
    assert elsewhere == here


def test_resources_are_torn_down_on_both_sides_and_hooks_run_once(alone: Told, there: Told) -> None:
    assert alone.notes("loud") == ["up host", "down host"]
    assert there.notes("loud") == ["up host", "up cluster", "down cluster", "down host"]
    assert there.of("loud_op") == alone.of("loud_op")
    hooks = [[line for line in found.notes("hooks") if "loud_op" in line] for found in (alone, there)]
    assert hooks == [["success loud_op"]] * 2


def test_a_change_of_dagsters_own_data_fails_the_step_and_is_not_lost(world: World, alone: Told, there: Told) -> None:
    assert world.instance.get_dynamic_partitions("runs") == [alone.run.run_id]
    assert (alone.ends("changes_the_instance"), there.ends("changes_the_instance")) == (
        ["STEP_SUCCESS"],
        ["STEP_FAILURE"],
    )
    assert "`instance.add_dynamic_partitions` does not work" in there.error("changes_the_instance")


@pytest.mark.parametrize(
    ("step", "next_step", "event", "lines"),
    [
        pytest.param(
            "newer_output", "takes_output", "STEP_OUTPUT", ["before", "between", "after"], id="an output, twice"
        ),
        pytest.param("newer_success", "takes_success", "STEP_SUCCESS", ["before"], id="the step's success"),
    ],
)
def test_an_event_that_this_dagster_cannot_read_fails_the_step_for_good(
    alone: Told, there: Told, *, step: str, next_step: str, event: str, lines: list[str]
) -> None:
    """All before it is as it would be here, no line is lost, and another attempt would tell the same."""
    assert there.ends(step) == ["STEP_FAILURE"]
    assert "[dagster-ray: driver-start]" in there.error(step)
    assert f"Could not deserialize event of type {event}" in there.error(step)
    assert "install the same dagster in the image and in the code location" in there.error(step)
    before = alone.of(step)[: [kind for kind, key, _ in alone.events if key == step].index(event)]
    assert there.of(step)[: len(before)] == before
    assert there.lines(step) == alone.lines(step) == lines
    assert (alone.kinds(next_step) != [], there.kinds(next_step)) == (True, [])
    assert there.bodies.count(step) == there.notes("bodies").count(step) == 1


def test_a_nested_resource_needs_the_cluster_beside_it(alone: Told, there: Told) -> None:
    """Dagster does not launch a step by a resource that is only in another one; its body would run without Ray."""
    assert there.of("nested_too") == alone.of("nested_too")
    assert (there.ends("nested_too"), there.ends("nested_only")) == (["STEP_SUCCESS"], ["STEP_FAILURE"])
    assert "[dagster-ray: driver-elsewhere]" in there.error("nested_only")
    assert ("nested_too" in there.bodies, "nested_only" in there.bodies) == (True, False)


# Keys that only Dagster's own instance knows


def both(
    instance: dg.DagsterInstance, workers: ForkedWorkers, folder: Path, job: tuple[str, str], config: Any, **tags: str
) -> None:
    """Run a job of a module with either driver, and compare."""
    module, name = job
    instance.add_dynamic_partitions("groups", ["g1", "g2", "g3"])
    here, there = runs(instance, workers.url, folder, name, config, module=module, tags=tags)
    assert (here.success, there.success, len(workers.bodies) > 0) == (True, True, True)
    same(instance, folder, here, there, partitions_at_once="dagster/asset_partition_range_end" in tags)


@pytest.mark.parametrize(
    ("name", "key", "config"),
    [
        pytest.param("days", "2026-01-02", IN_PROCESS, id="a time window, with an upstream asset"),
        pytest.param("groups", "g2", IN_PROCESS, id="one of several dynamic keys"),
        pytest.param("groups", "g2", FORKED_STEPS, id="one of several, multiprocess", marks=pytest.mark.weekly),
        pytest.param("cells", "2026-01-02|g1", IN_PROCESS, id="multi, dynamic inside"),
        pytest.param("cells", "2026-01-02|g1", FORKED_STEPS, id="multi, multiprocess", marks=pytest.mark.weekly),
    ],
)
def test_partitions(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path, *, name: str, key: str, config: Any
) -> None:
    tags = {"dagster/partition": key}
    if name == "cells":
        day, group = key.split("|")
        tags |= get_tags_from_multi_partition_key(dg.MultiPartitionKey({"day": day, "group": group}))
    both(instance, workers, tmp_path, ("driver_jobs", name), config, **tags)


@pytest.mark.parametrize("config", RARELY_IN_PROCESS)
@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        pytest.param("groups_at_once_job", "g1", "g2", id="dynamic"),
        pytest.param(
            "cells_at_once_job", "2026-01-01|g1", "2026-01-02|g2", id="multi, dynamic inside", marks=pytest.mark.weekly
        ),
    ],
)
def test_ranges_of_dynamic_partitions(
    instance: dg.DagsterInstance,
    workers: ForkedWorkers,
    tmp_path: Path,
    *,
    name: str,
    first: str,
    last: str,
    config: Any,
) -> None:
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    both(instance, workers, tmp_path, ("trap_jobs", name), config, **tags)


@pytest.mark.parametrize("config", RARELY_IN_PROCESS)
def test_an_input_of_all_dynamic_partitions(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path, config: Any
) -> None:
    for driver in ("step", "cluster"):
        (tmp_path / driver / "size").mkdir(parents=True)
        for number in range(1, 4):
            (tmp_path / driver / "size" / f"g{number}").write_bytes(pickle.dumps(number))
    both(instance, workers, tmp_path, ("trap_jobs", "sizes_job"), config)
