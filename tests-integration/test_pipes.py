"""Pipes against a real Ray head."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import dagster as dg
import pipes_jobs
import pytest
from cutting_proxy import cutting_proxy
from real_head import Head

from dagster_ray.pipes import PipesRayJobClient, PipesRayJobMessageReader, RayJobClient
from dagster_ray.pipes.errors import PipesMessagesMissingError, RayJobFailedError

# Dagster's own Pipes code warns about itself with the context of an asset.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

COUNT = 400
NOISY = f"""
import sys, threading
from dagster_pipes import open_dagster_pipes
stop = threading.Event()
def noise(stream, text):
    while not stop.is_set():
        print(text * 20, file=stream, flush=True)
places = [(sys.stdout, "o"), (sys.stderr, "\u00e9")]
threads = [threading.Thread(target=noise, args=place) for place in places]
with open_dagster_pipes() as pipes:
    for thread in threads:
        thread.start()
    for number in range({COUNT}):
        pipes.report_custom_message({{"number": number, "text": "\u017c" * (number % 200)}})
    stop.set()
    for thread in threads:
        thread.join()
print("the last line")
"""
TRAINING = """
from dagster_pipes import open_dagster_pipes
with open_dagster_pipes() as context:
    context.log.info("Starting")
    print("a line of the log")
    parts = context.get_extra("num_partitions")
    context.report_asset_materialization(metadata={"num_partitions": parts}, data_version="alpha")
"""


def materialize(client: PipesRayJobClient, job: dict[str, Any], **extras: object) -> dg.ExecuteInProcessResult:
    """Run a job in an asset that is written as users write it."""

    @dg.asset
    def computed(context: dg.AssetExecutionContext, ray_pipes_client: PipesRayJobClient) -> None:
        return ray_pipes_client.run(context=context, ray_job=job, extras=extras)  # type: ignore[return-value]

    with dg.DagsterInstance.ephemeral() as instance:  # pyright: ignore[reportUnknownMemberType]
        return dg.materialize([computed], resources={"ray_pipes_client": client}, instance=instance)


@pytest.mark.parametrize("channel", ["file", "log"])
def test_an_asset_gets_what_its_job_reports(
    head: Head, tmp_path: Path, capsys: pytest.CaptureFixture[str], channel: Any
) -> None:
    client = PipesRayJobClient(head.dashboard, message_channel=channel)
    result = materialize(client, pipes_jobs.job_of(tmp_path, TRAINING), num_partitions=4)
    (made,) = result.asset_materializations_for_node("computed")
    assert made.metadata["num_partitions"].value == 4
    assert (made.tags or {})["dagster/data_version"] == "alpha"
    assert {"dagster_ray/submission_id", "dagster_ray/run_seconds"} <= set(made.metadata)
    assert "dagster_ray/dashboard" not in made.metadata, "a link to this machine is not kept with the asset"
    assert capsys.readouterr().out.count("a line of the log\n") == 1


def test_a_job_that_fails_fails_the_step_with_its_last_lines(head: Head, tmp_path: Path) -> None:
    job = pipes_jobs.job_of(tmp_path, "import sys\nprint('about to fail')\nsys.exit(3)")
    with pytest.raises(RayJobFailedError) as raised:
        materialize(PipesRayJobClient(head.dashboard), job)
    assert (raised.value.status, raised.value.exit_code) == ("FAILED", 3)
    assert "about to fail" in raised.value.last_lines


def test_a_session_that_was_never_closed_is_no_success(head: Head, tmp_path: Path) -> None:
    code = "import os\nfrom dagster_pipes import open_dagster_pipes\nopen_dagster_pipes().log.info('x')\nos._exit(0)"
    with pytest.raises(PipesMessagesMissingError):
        materialize(PipesRayJobClient(head.dashboard), pipes_jobs.job_of(tmp_path, code))


@pytest.mark.parametrize("place", ["agent", "dashboard"])
def test_each_message_comes_once_and_in_order_through_connections_that_break(
    head: Head, tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = NOISY if place == "agent" else NOISY.replace("thread.start()", "pass").replace("thread.join()", "pass")
    job, reached = pipes_jobs.job_of(tmp_path, code), list[dict[str, Any]]()
    port = head.agent_port if place == "agent" else int(head.dashboard.rpartition(":")[2])

    @dg.op
    def send(context: dg.OpExecutionContext) -> None:
        # The dashboard serves a file from its beginning only, so a connection must be able to carry all of it.
        longest = 20_000 if place == "agent" else 500_000
        with cutting_proxy(("127.0.0.1", port), longest=longest, seed=7) as proxy:
            client = RayJobClient(head.dashboard if place == "agent" else proxy.url)
            # Through the dashboard only: no way to the agent.
            reader = PipesRayJobMessageReader(client, route=lambda _: proxy.url if place == "agent" else None)
            with dg.open_pipes_session(context, dg.PipesEnvContextInjector(), reader) as session:
                env = {"env_vars": dict(session.get_bootstrap_env_vars()), **job["runtime_env"]}
                submission_id = RayJobClient(head.dashboard).submit(entrypoint=job["entrypoint"], runtime_env=env)
                session.report_launched({"extras": {"submission_id": submission_id}})
            reached.extend(session.get_custom_messages())
            assert proxy.cuts > (3 if place == "agent" else 0)

    @dg.job  # pyright: ignore[reportUnknownMemberType]
    def messages() -> None:
        send()

    assert messages.execute_in_process().success
    assert [message["number"] for message in reached] == list(range(COUNT))
    assert capsys.readouterr().out.count("the last line\n") == 1


def texts_of(instance: dg.DagsterInstance) -> list[str]:
    """Return what all runs have logged."""
    return [entry.user_message for run in instance.get_runs() for entry in instance.all_logs(run.run_id)]


def test_a_step_that_was_killed_finds_its_job_when_it_is_retried(head: Head, tmp_path: Path) -> None:
    """One submission, one materialization, each message once."""

    home, folder = tmp_path / "home", tmp_path / "job"
    home.mkdir()
    folder.mkdir()
    (folder / "slow.py").write_text(pipes_jobs.SLOW)
    env = {**os.environ, "DAGSTER_HOME": str(home), "JOB_SERVER": head.dashboard, "JOB_FOLDER": str(folder)}
    command = [sys.executable, pipes_jobs.__file__]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("JOB_SERVER", "JOB_FOLDER"):
            patch.setenv(name, env[name])
        with dg.DagsterInstance.from_config(str(home)) as instance:
            pause = threading.Event()
            while "message 5" not in texts_of(instance):
                assert process.poll() is None
                pause.wait(0.2)
            process.kill()
            process.wait()
            (killed,) = instance.get_runs()
            instance.report_run_failed(killed)
            options = dg.ReexecutionOptions.from_failure(killed.run_id, instance)
            tags = {"dagster/is_resume_retry": "true"}  # the UI and the daemon set it, `execute_job` does not
            job = dg.reconstructable(pipes_jobs.slow_job)
            with dg.execute_job(job, instance, tags=tags, reexecution_options=options) as result:
                assert result.success
            texts = texts_of(instance)
            made = instance.fetch_materializations(dg.AssetKey("slow_asset"), limit=10).records
    sent = [text for text in texts if text.startswith("message ")]
    assert sorted(sent) == sorted(f"message {number}" for number in range(30))
    assert len(made) == 1
    with RayJobClient(head.dashboard) as client:
        ours = [details for details in client.list() if "dagster/step-key" in details.metadata]
    assert len([details for details in ours if details.metadata["dagster/step-key"] == "slow_asset"]) == 1, json.dumps(
        [details.submission_id for details in ours]
    )


def test_packages_arrive_and_what_is_excluded_does_not(
    head: Head, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    work, module = tmp_path / "work", tmp_path / "own_module"
    work.mkdir()
    module.mkdir()
    (module / "__init__.py").write_text("ANSWER = 42\n")
    (work / "a.py").write_text("import os, own_module\nprint('found', own_module.ANSWER, sorted(os.listdir('.')))\n")
    (work / ".gitignore").write_text("*.tmp\n")
    for name in ("left.tmp", "left.log"):
        (work / name).write_text("x")
    environment = {"working_dir": str(work), "py_modules": [str(module)], "excludes": ["*.log"]}
    job = {"entrypoint": "python a.py", "runtime_env": environment, "entrypoint_num_cpus": 0.5}
    assert materialize(PipesRayJobClient(head.dashboard), job).success
    assert "found 42 ['.gitignore', 'a.py']" in capfd.readouterr().out
