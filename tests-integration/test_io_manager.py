"""`RayIOManager` on a real Ray head: by jobs of the executor, and by drivers of this process."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import dagster as dg
import object_jobs
import pytest
import ray
from ray.util.state import list_actors
from real_head import Head

from dagster_ray.core import RayIOManager
from dagster_ray.core.run_objects import NAMESPACE, keeper_name

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore:.*:Warning")
HERE = str(Path(__file__).parent)


@pytest.fixture
def instance(tmp_path: Path) -> Generator[dg.DagsterInstance]:
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "home")) as found:
        yield found


@pytest.fixture
def driver(head: Head, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    ray.init(address=head.gcs, log_to_driver=False)
    yield
    ray.shutdown()


def materialize(assets: list[Any], instance: dg.DagsterInstance, **options: Any) -> dg.ExecuteInProcessResult:
    resources = {"io_manager": options.pop("io_manager", RayIOManager())}
    return dg.materialize(assets, resources=resources, instance=instance, raise_on_error=False, **options)


def causes(result: dg.ExecuteInProcessResult) -> str:
    errors = [event.event_specific_data for event in result.all_events if event.is_step_failure]
    return "\n".join(str(error) for error in errors)


def is_there(run_id: str) -> bool:
    try:
        ray.get_actor(keeper_name(run_id), namespace=NAMESPACE)
    except ValueError:
        return False
    return True


def test_steps_that_are_jobs_pass_objects_and_nothing_is_left_after_the_run(
    instance: dg.DagsterInstance, head: Head
) -> None:
    nothing: Any = ()
    job = dg.build_reconstructable_job("object_jobs", "passing_job", nothing, {}, HERE)
    config = {"execution": {"config": {"ray": {"address": head.dashboard}}}}
    run = dg.execute_job(job, instance, run_config=config, raise_on_error=False)
    told = "\n".join(str(event.event_specific_data) for event in run.all_events)
    assert run.success, told
    pause, states = threading.Event(), [""]
    for _ in range(600):
        actors: Any = list_actors(head.dashboard, filters=[("name", "=", keeper_name(run.run_id))])
        states = [actor.state for actor in actors]
        if states == ["DEAD"]:
            break
        pause.wait(0.2)
    assert states == ["DEAD"]


@pytest.mark.usefixtures("driver")
def test_assets_and_partitions(instance: dg.DagsterInstance) -> None:
    found = materialize([object_jobs.number, object_jobs.next_number], instance)
    assert found.output_for_node("next_number") == 6
    found = materialize([object_jobs.letter, object_jobs.twice], instance, partition_key="b")
    assert found.output_for_node("twice") == "BB"


@pytest.mark.usefixtures("driver")
def test_a_missing_object_is_an_error_that_says_what_to_run_again(instance: dg.DagsterInstance) -> None:
    assert materialize([object_jobs.number], instance).success
    assets = [object_jobs.number, object_jobs.next_number]
    failed = materialize(assets, instance, selection=["next_number"])
    assert "The asset number is not in the object store" in causes(failed)
    assert "run the step of the asset number again" in causes(failed)
    failed = materialize([object_jobs.letter, object_jobs.word], instance, selection=["word"])
    assert "(partitions a, b, c)" in causes(failed)


@pytest.mark.usefixtures("driver")
def test_what_must_last_is_read_from_the_underlying_io_manager(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    files = dg.FilesystemIOManager(base_dir=str(tmp_path / "files"))
    io_manager = RayIOManager(underlying=files)
    for key in "abc":
        assert materialize([object_jobs.letter], instance, partition_key=key, io_manager=io_manager).success
    assets = [object_jobs.letter, object_jobs.word]
    found = materialize(assets, instance, selection=["word"], io_manager=io_manager)
    assert found.output_for_node("word") == "ABC"


@pytest.mark.usefixtures("driver")
def test_an_object_whose_actor_is_gone_is_an_error_and_none_is_a_value(instance: dg.DagsterInstance) -> None:
    @dg.job(resource_defs={"io_manager": RayIOManager()})
    def losing() -> None:
        data = object_jobs.make()
        object_jobs.read(object_jobs.lose(data), data)

    @dg.job(resource_defs={"io_manager": RayIOManager()})
    def nothing() -> None:
        object_jobs.expect_none(object_jobs.nothing())

    failed = losing.execute_in_process(instance=instance, raise_on_error=False)
    assert "run the step make again" in causes(failed)
    assert nothing.execute_in_process(instance=instance).output_for_node("expect_none") == "None"


@pytest.mark.usefixtures("driver")
def test_the_actor_ends_itself_when_no_driver_needs_it(instance: dg.DagsterInstance, head: Head) -> None:
    run = materialize([object_jobs.number], instance, io_manager=RayIOManager(keep_seconds=1.0))
    pause = threading.Event()
    pause.wait(4.0)
    assert is_there(run.run_id)
    ray.shutdown()
    ray.init(address=head.gcs, log_to_driver=False)
    for _ in range(300):
        if not is_there(run.run_id):
            break
        pause.wait(0.2)
    assert not is_there(run.run_id)


def test_without_a_cluster_nothing_is_started(instance: dg.DagsterInstance) -> None:
    failed = materialize([object_jobs.number], instance)
    assert "`RayIOManager.address` is not set" in causes(failed)
    assert not ray.is_initialized()
