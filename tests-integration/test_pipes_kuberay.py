"""Ray jobs with Pipes on clusters of their own. Knows no target."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pipes_jobs
import pytest
from cluster_targets import ClusterTarget, eventually

from dagster_ray.kuberay import PipesKubeRayJobClient
from dagster_ray.kuberay.groups import head_group

# Dagster's own Pipes code warns about itself with the context of an asset.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

REPORTING = """
from dagster_pipes import open_dagster_pipes
with open_dagster_pipes() as context:
    context.log.info("Starting")
    print("a line of the log")
    context.report_asset_materialization(metadata={"n": context.get_extra("n")}, data_version="alpha")
"""
FAILING = """
import ray
ray.init()

@ray.remote(num_cpus=0)
def refuse_odd(number):
    raise ValueError(f"{number} is odd")

print("a line of the log", flush=True)
ray.get(refuse_odd.remote(3))
"""
HEAD_ALONE: dict[str, Any] = {"headGroupSpec": head_group(cpus=1, memory="2Gi"), "workerGroupSpecs": []}


@pytest.fixture(autouse=True)
def clean(target: ClusterTarget) -> None:
    """A test starts without what an earlier one has kept."""
    target.delete_all()


def test_an_asset_gets_what_its_job_reports(
    target: ClusterTarget, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the default cluster, whose head takes no jobs with CPUs: a worker comes, and the job runs there."""
    job = pipes_jobs.job_of(tmp_path, REPORTING) | {"entrypoint_num_cpus": 1.0, "entrypoint_memory": 1024**3}

    @dg.asset
    def computed(context: dg.AssetExecutionContext, ray_pipes_client: PipesKubeRayJobClient) -> None:
        return ray_pipes_client.run(context=context, ray_job=job, extras={"n": 3})  # type: ignore[return-value]

    with dg.DagsterInstance.ephemeral() as instance:
        client = PipesKubeRayJobClient(**target.pipes_options())
        result = dg.materialize([computed], resources={"ray_pipes_client": client}, instance=instance)
        texts = [entry.user_message for entry in instance.all_logs(result.run_id)]
    (made,) = result.asset_materializations_for_node("computed")
    assert made.metadata["n"].value == 3
    assert "a line of the log" in capsys.readouterr().out
    assert texts.count("Starting") == 1
    (rayjob,) = target.objects("rayjobs")
    assert rayjob["spec"]["jobId"] == made.metadata["dagster_ray/submission_id"].value
    eventually(lambda: target.objects("rayjobs")[0]["status"].get("jobStatus") == "SUCCEEDED", "the operator follows")


@pytest.mark.weekly
def test_a_job_that_fails_leaves_its_failed_tasks_and_the_end_of_its_log(
    target: ClusterTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    job = pipes_jobs.job_of(tmp_path, FAILING)
    options = target.pipes_options(spec={"rayClusterSpec": HEAD_ALONE}, evidence=str(tmp_path / "kept"), hours=True)

    @dg.asset
    def computed(context: dg.AssetExecutionContext, ray_pipes_client: PipesKubeRayJobClient) -> None:
        ray_pipes_client.run(context=context, ray_job=job)

    with dg.DagsterInstance.ephemeral() as instance:
        resources = {"ray_pipes_client": PipesKubeRayJobClient(**options)}
        result = dg.materialize([computed], resources=resources, instance=instance, raise_on_error=False)
        events = [entry.dagster_event for entry in instance.all_logs(result.run_id) if entry.dagster_event is not None]
    (index,) = tmp_path.rglob("index.md")
    kept = {path.name: path.read_text(encoding="utf-8") for path in index.parent.iterdir() if path.is_file()}
    assert "refuse_odd" in kept["tasks.yaml"]
    assert "a line of the log" in kept.get("driver.log", ""), kept["index.md"]
    assert "ValueError: 3 is odd" in kept["driver.log"]
    assert "Failed tasks and actors**: 1 x task refuse_odd (TASK_EXECUTION_EXCEPTION)" in kept["index.md"]
    (figures,) = [event for event in events if (event.message or "").startswith("Figures of ")]
    samples: Any = figures.engine_event_data.metadata["dagster_ray/usage_samples"].value
    assert samples >= 1


def test_a_killed_step_finds_its_job_again_on_a_cluster_with_a_token(
    target: ClusterTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    (jobs / "slow.py").write_text(pipes_jobs.SLOW)
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    options = target.pipes_options(spec={"rayClusterSpec": {**HEAD_ALONE, "authOptions": {"mode": "token"}}})
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("JOB_FOLDER", str(jobs))
    monkeypatch.setenv("KUBERAY_OPTIONS", json.dumps(options))
    with subprocess.Popen([sys.executable, str(pipes_jobs.__file__)]) as step:
        with dg.DagsterInstance.get() as instance:
            eventually(lambda: len(sent_messages(instance)) >= 5, "the first attempt hears its job")
        os.kill(step.pid, signal.SIGKILL)
        step.wait()
    with dg.DagsterInstance.get() as instance:
        (run,) = instance.get_runs()
        # UI and daemon set this tag for a re-execution from failure.
        again = dg.ReexecutionOptions(parent_run_id=run.run_id)
        tags = {"dagster/is_resume_retry": "true"}
        job = dg.reconstructable(pipes_jobs.slow_job)
        with dg.execute_job(job, instance, tags=tags, reexecution_options=again) as result:
            assert result.success
        sent = sent_messages(instance)
        made = instance.fetch_materializations(dg.AssetKey("slow_asset"), limit=10).records
    assert sorted(sent) == sorted(f"message {number}" for number in range(30))
    assert len(made) == 1
    assert len(target.objects("rayjobs")) == 1


def sent_messages(instance: dg.DagsterInstance) -> list[str]:
    """Return the job's messages in the event logs of all runs."""
    entries = [entry for run in instance.get_runs() for entry in instance.all_logs(run.run_id)]
    return [entry.user_message for entry in entries if entry.user_message.startswith("message ")]
