"""What a Pipes client promises around its jobs: injectors, requirement files, plug-ins, tests, connections, proxies."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from ray_like_server import RayLike
from scripted_job_server import Server
from typing_extensions import override

from dagster_ray.pipes import PipesRayJobClient, RayJobClient
from dagster_ray.pipes._job_server import environ_proxies
from dagster_ray.pipes.errors import JobServerRefusedError, JobServerUnavailableError, PipesContextTooLargeError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

LARGE = {"text": "".join(map(str, range(80_000)))}


def run_op(client: PipesRayJobClient, job: dict[str, Any], extras: dict[str, Any] | None = None) -> list[str]:
    """Run an op that submits a job; return what its log says."""

    @dg.op
    def submits(context: dg.OpExecutionContext) -> None:
        client.run(context=context, ray_job=job, extras=extras)

    @dg.job
    def one_op() -> None:
        submits()

    with dg.DagsterInstance.ephemeral() as instance:
        run = one_op.execute_in_process(instance=instance)
        return [entry.user_message for entry in instance.all_logs(run.run_id)]


class FileInjector(dg.PipesContextInjector):
    """Writes the context into a file of this machine."""

    def __init__(self, folder: Path) -> None:
        self.inner = dg.PipesFileContextInjector(str(folder / "context.json"))

    @contextmanager
    @override
    def inject_context(self, context: Any) -> Generator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        with self.inner.inject_context(context) as params:
            yield params

    @override
    def no_messages_debug_text(self) -> str:
        return "a file"


def test_a_context_that_travels_in_a_file_may_be_large(ray: RayLike, tmp_path: Path) -> None:
    with pytest.raises(PipesContextTooLargeError):
        run_op(PipesRayJobClient(ray.url), {"entrypoint": "true"}, LARGE)
    run_op(PipesRayJobClient(ray.url, context_injector=FileInjector(tmp_path)), {"entrypoint": "true"}, LARGE)
    assert len(ray.jobs) == 1


def test_a_requirements_file_is_that_of_the_step_and_a_plugins_key_is_named_once(ray: RayLike, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("numpy==2.0.0\n")
    runtime_env = {"pip": str(tmp_path / "requirements.txt"), "my_company_plugin": {"a": 1}}
    said = run_op(PipesRayJobClient(ray.url), {"entrypoint": "true", "runtime_env": runtime_env})
    (job,) = ray.jobs.values()
    assert job["runtime_env"]["pip"] == ["numpy==2.0.0"]
    assert job["runtime_env"]["my_company_plugin"] == {"a": 1}
    assert len([line for line in said if "my_company_plugin" in line]) == 1


REPORTS = "from dagster_pipes import open_dagster_pipes as o\nwith o() as p: p.report_asset_materialization({'n': 1})"


def test_an_asset_and_an_op_that_a_test_calls_directly_work(ray: RayLike, tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(REPORTS.replace("({'n'", "(metadata={'n'"))
    client = PipesRayJobClient(ray.url)
    job = {"entrypoint": f"{sys.executable} {tmp_path / 'work.py'}"}

    @dg.asset
    def computed(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        completed: Any = client.run(context=context, ray_job=job)
        return completed.get_materialize_result()

    @dg.op
    def works(context: dg.OpExecutionContext) -> int:
        client.run(context=context, ray_job={"entrypoint": "true"})
        return 7

    result: Any = computed(dg.build_asset_context())
    assert result.metadata["n"].value == 1
    assert works(dg.build_op_context()) == 7
    assert len(ray.jobs) == 2


def test_a_job_that_fails_in_a_direct_call_is_the_same_error(ray: RayLike) -> None:
    @dg.op
    def works(context: dg.OpExecutionContext) -> None:
        PipesRayJobClient(ray.url).run(context=context, ray_job={"entrypoint": "exit 3"})

    with pytest.raises(Exception, match="ended as FAILED with exit code 3"):
        works(dg.build_op_context())


def open_sessions(client: RayJobClient) -> int:
    return len(client.server._sessions)  # pyright: ignore[reportPrivateUsage]


def test_a_client_of_a_long_process_keeps_no_connection_of_a_run(ray: RayLike) -> None:
    with RayJobClient(ray.url) as server:
        client = PipesRayJobClient(server)
        counts: list[int] = []
        for number in range(4):
            run_op(client, {"entrypoint": "true", "submission_id": f"job-{number}"})
            counts.append(open_sessions(server))
    assert counts == [1, 1, 1, 1], "that of this thread"


URLS = {
    "http://127.0.0.1:8265": False,
    "http://127.3.2.1:8265": False,
    "http://[::1]:8265": False,
    "http://localhost:8265": False,
    "http://head.localhost:8265": False,
    "http://ray-head.ray.svc:8265": True,
    "http://10.0.0.7:8265": True,
    "http://head.example:8265": False,
}


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HTTP_PROXY", "http://user:s3cr3t@127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "head.example")


@pytest.mark.usefixtures("proxied")
@pytest.mark.parametrize(("url", "is_proxied"), URLS.items())
def test_this_machine_is_never_asked_through_a_proxy(url: str, is_proxied: bool) -> None:
    assert bool(environ_proxies(url)) is is_proxied


@pytest.mark.usefixtures("proxied")
def test_a_job_server_of_this_machine_answers_although_there_is_a_proxy(ray: RayLike) -> None:
    with RayJobClient(ray.url, timeout=3.0) as client:
        assert client.nodes()


@pytest.mark.usefixtures("proxied")
def test_an_error_names_the_proxy_and_what_switches_it_off() -> None:
    client = RayJobClient("http://ray-head.ray.svc:8265", timeout=0.5)
    with client, pytest.raises(JobServerUnavailableError) as raised:
        client.list()
    assert "through the proxy 127.0.0.1:9, list ray-head.ray.svc in NO_PROXY" in str(raised.value)
    assert "s3cr3t" not in str(raised.value)


@pytest.mark.usefixtures("proxied")
def test_a_proxy_that_refuses_is_named(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.server_port}")
    server.script = lambda method, path, body: (403, "Access Denied by policy")
    client = RayJobClient("http://ray-head.ray.svc:8265", timeout=3.0)
    with client, pytest.raises(JobServerRefusedError, match="NO_PROXY"):
        client.list()
