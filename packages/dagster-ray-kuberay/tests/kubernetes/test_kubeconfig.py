"""A kubeconfig means what kubectl makes of it, for calls and for port-forwards."""

import warnings
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from kubeconfig_cases import CASES, Case, Setup
from kubeconfig_world import PROBE, Certificates, World

from dagster_ray.core import Deadline
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
from dagster_ray.kuberay._kubernetes.errors import KubernetesError

SECONDS = 3.0

Use = Callable[[KubernetesApi], object]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Generator[World]:
    with World(Certificates(tmp_path_factory.mktemp("certificates"))) as found:
        yield found


def call(api: KubernetesApi) -> None:
    api.read(PROBE, Deadline(SECONDS))


def stream(api: KubernetesApi) -> None:
    """Open a stream; this server only tells that it has none."""
    with pytest.raises(KubernetesError, match="create pods/portforward"):
        api.open_stream("default", "probe", 10001, SECONDS)


def prepared(case: Case, world: World, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    for name in ("KUBECONFIG", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    world.begin()
    setup = Setup(world, folder)
    case.prepare(setup)
    monkeypatch.setenv("HOME", str(folder))
    for name, value in setup.environment.items():
        monkeypatch.setenv(name, value)
    return setup


def use(setup: Setup, way: Use) -> None:
    api = KubernetesApi.load(None, setup.context)
    try:
        way(api)
    finally:
        api.close()


@pytest.mark.parametrize("way", [call, stream])
@pytest.mark.parametrize(
    "case",
    [case for case in CASES.values() if not isinstance(case.sees, str)],
    ids=[name for name, case in CASES.items() if not isinstance(case.sees, str)],
)
def test_the_server_sees_who_calls(
    case: Case, way: Use, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = prepared(case, world, tmp_path, monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        use(setup, way)
    assert world.seen == [case.sees]


@pytest.mark.parametrize(
    "case",
    [case for case in CASES.values() if isinstance(case.sees, str)],
    ids=[name for name, case in CASES.items() if isinstance(case.sees, str)],
)
def test_what_kubectl_refuses_is_refused_and_named(
    case: Case, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = prepared(case, world, tmp_path, monkeypatch)
    with pytest.raises(DagsterRayError) as caught:
        use(setup, call)
    assert str(case.sees) in str(caught.value)
    assert world.seen == []
