"""Ray Data, Ray Train and Ray Tune in bodies inside the cluster, and the examples that use them: `make libraries`."""

# Dagster's events are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from cluster_targets import ClusterTarget

from dagster_ray.core.step_report import progress_watch
from dagster_ray.kuberay.groups import head_group

for needed in ("pandas", "pyarrow", "tensorboardX", "lightgbm"):
    pytest.importorskip(needed, reason=f"Ray's libraries need {needed}; make libraries installs it")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore:.*:Warning")
NATIVE = {"native": True, "ray_client": False}
# On a machine that is busy, a job may begin later than 30 s after its package was uploaded, when Ray forgets it.
PATIENT = {"RAY_RUNTIME_ENV_TEMPORARY_REFERENCE_EXPIRATION_S": "600"}
SMALL = {"headGroupSpec": head_group(cpus=2, memory="4Gi", num_cpus=4, env=PATIENT), "workerGroupSpecs": []}
IN_PROCESS: dict[str, Any] = {"execution": {"config": {"in_process": {}}}}


@pytest.fixture
def instance(tmp_path: Path) -> Generator[dg.DagsterInstance]:
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "home")) as found:
        yield found


def run(instance: dg.DagsterInstance, function: str, *given: Any, **options: Any) -> Mapping[str, Mapping[str, Any]]:
    """Run a job of `library_jobs`; return what each asset has reported."""
    job = dg.build_reconstructable_job("library_jobs", function, given, {}, str(Path(__file__).parent))
    result = dg.execute_job(job, instance, run_config=IN_PROCESS, raise_on_error=True, **options)
    events = [event.event_specific_data for event in result.all_events if event.is_step_materialization]
    found = [getattr(event, "materialization", None) for event in events]
    return {
        one.asset_key.to_user_string(): {name: value.value for name, value in one.metadata.items()}
        for one in found
        if isinstance(one, dg.AssetMaterialization)
    }


def test_data_train_and_tune_run_as_on_a_cluster_of_their_own(
    target: ClusterTarget, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    found = run(instance, "libraries_job", target.cluster_fields(spec=SMALL, timeout=300.0), str(tmp_path))
    assert found["data"] == {"total": sum(n * n for n in range(100)), **NATIVE}
    assert found["trained"] == {"loss": pytest.approx(1 / 3), "workers": 2, "elsewhere": True, **NATIVE}
    assert found["tuned"] == {"x": 2, **NATIVE}
    tables = tables_of(instance)
    assert "| - ReadRange->MapBatches(squared) | finished | 2/2 | 100 |  |" in tables["data", "ray_data"]
    (trained,) = tables["trained", "ray_train"][2:]
    assert trained.startswith("| trained | finished | 1 | 2 | ")


def tables_of(instance: dg.DagsterInstance) -> Mapping[tuple[str | None, str], list[str]]:
    """Return the lines of the tables of all runs, by step and library."""
    found: dict[tuple[str | None, str], list[str]] = {}
    entries = [entry for run in instance.get_runs() for entry in instance.all_logs(run.run_id)]
    for event in [entry.dagster_event for entry in entries if entry.dagster_event is not None]:
        if str(event.message).startswith("Progress on "):
            metadata = event.engine_event_data.metadata
            tables = {name: one for name, one in metadata.items() if name.startswith("dagster_ray/ray_")}
            for name, table in tables.items():
                found[event.step_key, name.removeprefix("dagster_ray/")] = str(table.value).splitlines()
    return found


def test_progress_is_a_line_and_a_table_in_the_log_of_the_run(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setattr(progress_watch, "_INTERVAL_SECONDS", 0.5)
    run(instance, "local_job", str(tmp_path))
    entries = [entry for found in instance.get_runs() for entry in instance.all_logs(found.run_id)]
    assert any(entry.user_message.startswith("Progress: trained: ") for entry in entries)
    tables = {library: lines[2:] for (_, library), lines in tables_of(instance).items()}
    datasets = tables["ray_data"]
    assert len([line for line in datasets if line.startswith("| **dataset_")]) == 2
    assert "| - ReadRange->MapBatches(squared) | finished | 2/2 | 100 |  |" in datasets
    (trained,) = tables["ray_train"]
    assert trained.startswith("| trained | finished | 1 | 2 | ")


@pytest.fixture
def on_kubernetes(target: ClusterTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user sets to run an example on a cluster."""
    monkeypatch.setenv("DAGSTER_RAY_BACKEND", "kuberay")
    monkeypatch.setenv("KUBECONFIG", target.kubeconfig)
    monkeypatch.setenv("MODELS", str(tmp_path / "models"))


@pytest.mark.usefixtures("on_kubernetes")
def test_the_example_trains_its_model_in_the_cluster(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    metadata = run(instance, "example_job", "ray_train", "definitions.py")["model"]
    assert metadata["loss"] < 0.1
    assert str(metadata["cluster"]).startswith("RayJob ")
    assert str(metadata["checkpoint"]).startswith(str(tmp_path / "models"))
    assert list(Path(metadata["checkpoint"]).iterdir())


@pytest.mark.usefixtures("on_kubernetes")
def test_the_example_scores_a_partition_in_the_cluster(instance: dg.DagsterInstance) -> None:
    tags = {"dagster/partition": "2026-01", "dagster/backfill": "abcdefgh"}
    found = run(instance, "example_job", "batch_inference", "ray_data_definitions.py", tags=tags)
    metadata = found["scores_by_ray_data"]
    assert (metadata["reviews"], metadata["mean"]) == (100, 0.25)
    assert str(metadata["cluster"]).startswith("RayCluster ")
