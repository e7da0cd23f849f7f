"""The one driver of a process: who uses it, and who ends it. Ray is the stand-in."""

# Dagster's decorators are typed in part only.
# pyright: reportUnknownMemberType=false, reportPrivateUsage=false

import contextlib
import importlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import pytest
from probe_clusters import Line, ProbeCluster, journal_lines
from typing_extensions import override

from dagster_ray.core import Deadline, Lifecycle, RayResource
from dagster_ray.core._connection import _named_driver, connect
from dagster_ray.core._driver import Connection, fits, is_connected, present_driver, process_driver
from dagster_ray.core.errors import DriverInUseError, NotConnectedError

pytestmark = [
    pytest.mark.usefixtures("stand_in_ray"),
    # Dagster's own, when it sets up a resource that another one depends on.
    pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def no_driver_before_and_after(stand_in_ray: None) -> Iterator[None]:
    assert present_driver() is None
    yield
    assert not the_ray().is_initialized()


def the_ray() -> Any:
    return importlib.import_module("ray")


def use(address: str = "auto") -> Connection:
    return connect("Ray of a test", address, {}, Deadline(10))


@pytest.mark.parametrize(
    ("wanted", "present", "expected"),
    [
        pytest.param("local", "10.0.0.1:6379", True, id="a local Ray is whatever the process has"),
        pytest.param("auto", "10.0.0.1:6379", True, id="and so is any Ray"),
        pytest.param("local", "ray://head:10001", False, id="but a client is no driver on this machine"),
        pytest.param("10.0.0.1:6379", "10.0.0.1:6379", True, id="the same GCS"),
        pytest.param("10.0.0.1:6379", "10.0.0.2:6379", False, id="the GCS of another cluster"),
        pytest.param("ray://head:10001", "ray://head:10001", True, id="the same client server"),
        pytest.param("ray://head:10001/", "ray://head:10001", True, id="with a path"),
        pytest.param("ray://head:10001", "ray://other:10001", False, id="another client server"),
        pytest.param("ray://head:10001", "head:10001", False, id="a client is wanted and a native driver is there"),
    ],
)
def test_which_driver_serves_whom(wanted: str, present: str, expected: bool) -> None:
    assert fits(wanted, present) is expected


def test_the_last_of_two_users_ends_the_driver() -> None:
    first, second = use(), use()
    assert first.identity == second.identity
    process_driver.leave(first)
    assert is_connected(second)
    process_driver.leave(second)
    assert present_driver() is None


def test_users_that_come_and_go_in_threads_never_lose_the_driver() -> None:
    lost: list[str] = []

    def come_and_go() -> None:
        for _ in range(50):
            mine = use()
            if not is_connected(mine):
                lost.append("the driver ended under its user")
            process_driver.leave(mine)

    threads = [threading.Thread(target=come_and_go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not lost
    assert present_driver() is None


def test_a_driver_that_the_step_connected_is_used_and_never_ended() -> None:
    the_ray().init("local")
    process_driver.leave(use())
    assert the_ray().is_initialized()
    the_ray().shutdown()


def test_after_the_steps_own_shutdown_nothing_of_its_own_is_ended() -> None:
    mine = use()
    the_ray().shutdown()
    assert not is_connected(mine)
    the_ray().init("local")  # the step's own Ray
    assert not is_connected(mine)
    process_driver.leave(mine)
    assert the_ray().is_initialized()
    the_ray().shutdown()


def test_a_driver_on_another_cluster_is_refused() -> None:
    the_ray().init("10.0.0.1:6379")
    with pytest.raises(DriverInUseError, match=r"connected to the cluster at 10\.0\.0\.1:6379"):
        use("ray://head:10001")
    the_ray().shutdown()


class Helper(dg.ConfigurableResource[Any]):
    """A user's resource that needs Ray too."""

    cluster: dg.ResourceDependency[RayResource]


class ElsewhereCluster(ProbeCluster):
    """It always makes a cluster of its own."""

    @override
    def can_use_driver_at(self, address: str) -> bool:
        return False


def did(lines: list[Line]) -> list[str]:
    return [line["did"] for line in lines]


@pytest.mark.parametrize(
    "order", [pytest.param(("ray_cluster", "helper"), id="step"), pytest.param(("helper", "ray_cluster"), id="helper")]
)
def test_within_a_step_one_configuration_is_one_cluster_and_one_driver(journal: str, order: tuple[str, str]) -> None:
    """Dagster sets a resource up again for each resource that depends on it."""
    seen: list[bool] = []

    @dg.op(required_resource_keys=set(order))
    def work(context: dg.OpExecutionContext) -> None:
        cluster, helper = context.resources.ray_cluster, context.resources.helper
        seen.append(cluster is helper.cluster and cluster.is_connected)

    cluster = ProbeCluster(journal=journal)
    bound = {"ray_cluster": cluster, "helper": Helper(cluster=cluster)}
    job = dg.GraphDefinition("one", node_defs=[work]).to_job(resource_defs={key: bound[key] for key in order})
    assert job.execute_in_process().success
    assert seen == [True]
    assert did(journal_lines(journal)) == ["create", "wait", "connect", "delete", "cleanup"]
    assert journal_lines(journal)[-1]["outcome"] == "succeeded"


def test_a_step_that_fails_ends_the_cluster_of_both_once(journal: str) -> None:
    @dg.op(required_resource_keys={"ray_cluster", "helper"})
    def work(context: dg.OpExecutionContext) -> None:
        raise ValueError("the step's own error")

    cluster = ProbeCluster(journal=journal, lifecycle=Lifecycle(cleanup="on_exception"))
    resources = {"ray_cluster": cluster, "helper": Helper(cluster=cluster)}
    job = dg.GraphDefinition("one", node_defs=[work]).to_job(resource_defs=resources)
    assert not job.execute_in_process(raise_on_error=False).success
    assert did(journal_lines(journal)) == ["create", "wait", "connect", "delete", "cleanup"]
    assert journal_lines(journal)[-1]["outcome"] == "failed"


def test_what_cannot_fit_is_refused_before_it_is_asked_for(journal: str) -> None:
    the_ray().init("10.0.0.1:6379")
    with (
        dg.build_init_resource_context() as context,
        pytest.raises(DriverInUseError, match="second needs a Ray driver"),
    ):
        ElsewhereCluster(journal=journal, label="second").create(context)
    assert journal_lines(journal) == []
    the_ray().shutdown()


def test_a_resource_knows_that_the_steps_own_code_has_disconnected(journal: str) -> None:
    told: list[str] = []

    @dg.op(required_resource_keys={"ray_cluster"})
    def work(context: dg.OpExecutionContext) -> None:
        cluster = context.resources.ray_cluster
        the_ray().shutdown()
        assert not cluster.is_connected
        with pytest.raises(NotConnectedError) as caught:
            _ = cluster.job_id
        told.append(caught.value.why)
        cluster.connect(context)
        assert cluster.is_connected

    job = dg.GraphDefinition("one", node_defs=[work]).to_job(
        resource_defs={"ray_cluster": ProbeCluster(journal=journal)}
    )
    assert job.execute_in_process().success
    assert told[0].startswith("it was disconnected, by `ray.shutdown`")


def interrupted_run(journal: str, instance: dg.DagsterInstance, body: Callable[[], None]) -> Any:
    """Run a step that is interrupted in its body; return what its failure says."""

    @dg.op(required_resource_keys={"ray_cluster"})
    def work() -> None:
        body()

    job = dg.GraphDefinition("one", node_defs=[work]).to_job(
        resource_defs={"ray_cluster": ProbeCluster(journal=journal)}
    )
    assert not job.execute_in_process(instance=instance, raise_on_error=False).success
    assert journal_lines(journal)[-1]["outcome"] == "interrupted"
    (record,) = instance.get_run_records()
    (failure,) = instance.all_logs(record.dagster_run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    assert failure.dagster_event is not None
    return failure.dagster_event.step_failure_data


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=lambda signum: signum.name)
def test_an_interrupt_within_ray_is_dagsters_own(
    journal: str, instance: dg.DagsterInstance, signum: signal.Signals
) -> None:
    said = interrupted_run(journal, instance, lambda: the_ray().get(signum))
    assert said.error.cls_name == "DagsterExecutionInterruptedError"
    assert f"{signum.name} ended the step within a call of Ray" in said.error.message
    assert said.error_source.value == "INTERRUPT"


def test_an_interrupt_elsewhere_is_as_dagster_raises_it(journal: str, instance: dg.DagsterInstance) -> None:
    """A library of the body that catches KeyboardInterrupt must not keep it."""

    def body() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)

    said = interrupted_run(journal, instance, body)
    assert said.error.cls_name == "DagsterExecutionInterruptedError"
    assert said.error.cause is None


def test_dagster_is_left_as_it_was_when_the_driver_ends() -> None:
    errors = importlib.import_module("dagster._core.errors")
    before = errors.raise_interrupts_as
    first, second = use(), use()
    process_driver.leave(first)
    assert errors.raise_interrupts_as is not before
    process_driver.leave(second)
    assert errors.raise_interrupts_as is before


def test_the_driver_of_a_client_has_the_steps_name() -> None:
    """Ray imports the module that an address has as its scheme, and takes its `ClientBuilder`."""
    with _named_driver("ray://head:10001", "step[part]") as address:
        scheme, _, place = address.partition("://")
        assert importlib.import_module(scheme).ClientBuilder(place).connect() == (
            "head:10001",
            {"job_name": "step[part]"},
        )
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(scheme)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        pytest.param("10.0.0.1:6379", "step", id="a native driver"),
        pytest.param("ray://head:10001", None, id="several steps"),
    ],
)
def test_other_drivers_connect_as_ray_does(address: str, name: str | None) -> None:
    with _named_driver(address, name) as found:
        assert found == address
