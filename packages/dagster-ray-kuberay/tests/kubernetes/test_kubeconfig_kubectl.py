"""kubectl makes of each kubeconfig what the table of cases says."""

import os
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
from kubeconfig_cases import CASES, Case, Setup
from kubeconfig_world import PROBE, Certificates, World

KUBECTL = shutil.which("kubectl")
SECONDS = 60

pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Generator[World]:
    with World(Certificates(tmp_path_factory.mktemp("certificates"))) as found:
        yield found


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_kubectl_agrees(case: Case, world: World, tmp_path: Path) -> None:
    world.begin()
    setup = Setup(world, tmp_path)
    case.prepare(setup)
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **setup.environment}
    words = ["--context", setup.context] if setup.context is not None else []
    command = [KUBECTL or "kubectl", *words, "get", "--raw", PROBE]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL
    )
    expected = case.sees if case.kubectl_sees is None else case.kubectl_sees
    if isinstance(expected, str):
        assert done.returncode != 0
        assert world.seen == []
        if expected != "refused":
            assert expected in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert world.seen == [expected]
