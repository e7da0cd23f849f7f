"""LocalRay in real Dagster runs in this process."""

# Ray's functions are annotated in part only.
# pyright: reportUnknownMemberType=false

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
import ray

from dagster_ray.core import Lifecycle, RayResource
from dagster_ray.local import LocalRay

CHEAP = {"include_dashboard": False}
INTERRUPTED = Path(__file__).with_name("interrupted_start.py")
PATIENCE_SECONDS = 120.0


@pytest.fixture(autouse=True)
def no_ray_before_and_after() -> Iterator[None]:
    assert not ray.is_initialized()
    yield
    ray.shutdown()


def run(seen: dict[str, Any], cluster: LocalRay, *, fails: bool = False) -> Mapping[str, Any]:
    """Materialize an asset on `cluster`; return the metadata of the event that tells of its start."""

    @ray.remote
    def shout(number: int) -> int:
        for line in range(40):
            print(f"loud{'x' * (number + 1)} {line} {'o' * line}")  # Ray folds lines that differ only in numbers
        return number

    @dg.asset
    def squares(ray_cluster: RayResource) -> int:
        seen["handler"] = signal.getsignal(signal.SIGTERM)
        seen["cpus"] = ray.cluster_resources()["CPU"]
        seen["address"], seen["job"] = ray_cluster.address, ray_cluster.job_id
        context: Any = ray_cluster.context
        seen["session"] = Path(context.address_info["session_dir"])
        current = seen["session"].parent / "ray_current_cluster"
        seen["of its job server"] = current.read_text() if current.exists() else ""
        result = sum(ray.get([shout.remote(number) for number in range(2)]))
        if fails:
            raise ValueError("as asked")
        return result

    with dg.instance_for_test() as instance:
        result = dg.materialize([squares], resources={"ray_cluster": cluster}, instance=instance, raise_on_error=False)
        assert result.success is not fails
        records = instance.get_records_for_run(result.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT).records
    events = [record.event_log_entry.dagster_event for record in records]
    told = [event.engine_event_data.metadata for event in events if event and "Connected to" in (event.message or "")]
    return {name: value.value for name, value in told[0].items()}


def test_a_run_gets_its_own_ray_and_leaves_nothing_behind(capfd: pytest.CaptureFixture[str]) -> None:
    """Environment, signal handler and processes are as before, and no line of a task is lost."""
    before = dict(os.environ)
    del os.environ["RAY_AUTH_MODE"]  # Ray then chooses for itself, and changes the environment
    os.environ["RAY_AUTH_TOKEN"] = "0" * 32  # and writes no token into the home folder
    wanted = dict(os.environ)
    seen: dict[str, Any] = {}
    try:
        told = run(seen, LocalRay(num_cpus=3, ray_init_options=CHEAP))
        assert dict(os.environ) == wanted
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert not ray.is_initialized()
    assert seen["cpus"] == 3
    assert (getattr(seen["handler"], "__module__", "") or "").partition(".")[0] != "ray"
    assert told["dagster_ray/job_id"] == seen["job"]
    assert told["dagster_ray/startup_seconds"] > 0
    assert seen["address"].count(":") == 1
    assert seen["of its job server"] == seen["address"]
    assert not seen["session"].exists()
    assert capfd.readouterr().out.count(" loudx") == 80


def test_a_ray_that_was_there_before_is_used_and_not_stopped() -> None:
    present: Any = ray.init(num_cpus=1, include_dashboard=False)
    seen: dict[str, Any] = {}
    run(seen, LocalRay(num_cpus=7))
    assert seen["address"] == present.address_info["gcs_address"]
    assert seen["cpus"] == 1
    assert ray.is_initialized()


def test_the_first_of_two_threads_to_finish_leaves_ray_to_the_other() -> None:
    """Two sensors, or two calls of `materialize`: before, the second one's next task started a Ray of its own."""
    both_are_connected, first_has_left = threading.Barrier(2), threading.Event()
    addresses: dict[str, tuple[str, str]] = {}

    @ray.remote
    def where() -> str:
        runtime: Any = ray.get_runtime_context()
        return str(runtime.gcs_address)

    def asset_of(name: str) -> dg.AssetsDefinition:
        @dg.asset(name=name)
        def connected(ray_cluster: RayResource) -> None:
            both_are_connected.wait(PATIENCE_SECONDS)
            if name == "second":
                assert first_has_left.wait(PATIENCE_SECONDS)
            addresses[name] = (ray_cluster.address, ray.get(where.remote()))

        return connected

    def materialize(name: str) -> bool:
        cluster = LocalRay(num_cpus=1, ray_init_options=CHEAP)
        return dg.materialize([asset_of(name)], resources={"ray_cluster": cluster}, raise_on_error=False).success

    with ThreadPoolExecutor(2) as threads:
        second = threads.submit(materialize, "second")
        assert threads.submit(materialize, "first").result()
        assert ray.is_initialized()
        first_has_left.set()
        assert second.result()
    assert len({address for pair in addresses.values() for address in pair}) == 1
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("cleanup", "fails", "stays"),
    [
        pytest.param("never", True, True, id="never keeps it for a look, until the process ends"),
        pytest.param("on_exception", True, False, id="on_exception ends it after a failure"),
    ],
)
def test_what_the_lifecycle_says_happens(cleanup: Any, *, fails: bool, stays: bool) -> None:
    cluster = LocalRay(num_cpus=1, lifecycle=Lifecycle(cleanup=cleanup), ray_init_options=CHEAP)
    seen: dict[str, Any] = {}
    run(seen, cluster, fails=fails)
    assert ray.is_initialized() is stays
    assert (seen["session"] / "logs").is_dir()  # Ray's logs of a step that failed are kept


def test_a_run_that_is_terminated_while_ray_starts_leaves_no_process(tmp_path: Path) -> None:
    process = psutil.Popen(
        [sys.executable, str(INTERRUPTED), str(tmp_path)], start_new_session=True, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "starting Ray\n"
    children: list[psutil.Process] = []
    while not any(child.name() == "gcs_server" for child in children):
        assert process.poll() is None
        children = process.children(recursive=True)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    _, alive = psutil.wait_procs(children, timeout=PATIENCE_SECONDS)
    assert not alive
    assert out.splitlines()[-1] == "cleanup after: interrupted"
