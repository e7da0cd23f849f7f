"""Which Kubernetes cluster the suite runs on: `--target simulator` (default), `kubeconfig` or `kind`."""

from collections.abc import Generator

import dagster as dg
import pytest
from cluster_targets import ClusterTarget, kind_target, kubeconfig_target, simulator_target
from real_head import Head, ray_head


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what pytest-kind has not: it registers --kubeconfig, --cluster-name and --keep-cluster already."""
    group = parser.getgroup("dagster-ray")
    group.addoption("--target", choices=["simulator", "kubeconfig", "kind"], default="simulator")
    group.addoption("--context", help="context of the kubeconfig")
    group.addoption("--namespace", help="namespace for what the tests make")
    group.addoption("--image", help="Ray image that matches Ray and Python of this environment")
    group.addoption("--kuberay-version", default="1.7.0", help="operator that the simulator plays, or that kind gets")


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Let Ctrl-C end the session also while a step runs: Dagster makes an error of it, after which pytest goes on."""
    if call.excinfo is not None and call.excinfo.errisinstance(dg.DagsterExecutionInterruptedError):
        item.session.shouldstop = "a step was interrupted"


@pytest.fixture(scope="session")
def target(pytestconfig: pytest.Config) -> Generator[ClusterTarget]:
    """Yield the cluster of this session."""
    chosen = pytestconfig.getoption("--target")
    if chosen == "kubeconfig":
        context = kubeconfig_target(pytestconfig)
    elif chosen == "kind":
        context = kind_target(pytestconfig)
    else:
        context = simulator_target(str(pytestconfig.getoption("--kuberay-version")))
    with context as cluster:
        yield cluster


@pytest.fixture(scope="session")
def head() -> Generator[Head]:
    """Yield a Ray head of this machine, for all tests that submit jobs to one."""
    with ray_head() as found:
        yield found
