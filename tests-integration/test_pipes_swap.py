"""The tutorial's Ray job with Pipes: the same asset on this machine's Ray, on a job server, and on Kubernetes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cluster_targets import ClusterTarget
from real_head import Head

FILE = Path(__file__).parents[1] / "examples" / "tutorial" / "pipes_definitions.py"
PATIENCE_SECONDS = 240


def materialize(home: Path, **variables: str) -> str:
    """Materialize the example's asset as a user does it; return what Dagster printed."""
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    env = {**os.environ, "PATH": path, "DAGSTER_HOME": str(home), "RAY_AUTH_MODE": "disabled", **variables}
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-f", str(FILE), "--select", "sum_by_pipes"]
    done = subprocess.run(
        command,
        check=False,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def check(said: str) -> None:
    """The job logged its sum into the event log, and the asset was materialized."""
    assert "The sum is 328350" in said
    assert "ASSET_MATERIALIZATION - Materialized value sum_by_pipes." in said
    assert "RUN_SUCCESS" in said


def test_on_a_job_server(head: Head, tmp_path: Path) -> None:
    check(materialize(tmp_path, RAY_JOB_SERVER=head.dashboard))


@pytest.mark.weekly  # the others of this file run the same asset, and test_pipes_kuberay.py its client
@pytest.mark.usefixtures("head")
def test_beside_a_job_server_on_the_ray_of_this_machine(tmp_path: Path) -> None:
    check(materialize(tmp_path))


@pytest.mark.weekly
def test_on_kubernetes(tmp_path: Path, target: ClusterTarget) -> None:
    if target.context is not None:
        pytest.skip("the example takes the current context of the kubeconfig, and another one is asked for")
    said = materialize(tmp_path, DAGSTER_RAY_BACKEND="kuberay", KUBECONFIG=target.kubeconfig)
    check(said)
