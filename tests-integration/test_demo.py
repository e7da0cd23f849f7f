"""What the README says first: `make demo`, and the same project in Dagster's own commands."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEFINITIONS = ROOT / "examples/tutorial/definitions.py"
PATIENCE_SECONDS = 300


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        env={**os.environ, "RAY_AUTH_MODE": "disabled", **environment},
    )


def test_make_demo_computes_the_asset_on_two_backends_and_says_where_to_look() -> None:
    """Also that Ray's workers start under `uv run`, by which make runs it."""
    done = run("make", "demo")
    assert done.returncode == 0, done.stderr
    assert "DAGSTER_RAY_BACKEND=local: sum_of_squares = 333833500, computed on LocalRay" in done.stdout
    assert "DAGSTER_RAY_BACKEND=kuberay: sum_of_squares = 333833500, computed on RayJob default/" in done.stdout
    assert f"dev -f {DEFINITIONS}" in done.stdout
    assert "the head accepts drivers after" in done.stdout  # progress, as the cluster's resource logs it
    assert "DEBUG" not in done.stdout + done.stderr
    assert len(done.stdout.splitlines()) < 40
    log = (ROOT / ".dagster_home/demo.log").read_text(encoding="utf-8")
    assert log.count("RUN_SUCCESS") == 2


def test_dagster_loads_the_project() -> None:
    done = run(sys.executable, "-m", "dagster", "definitions", "validate", "-f", str(DEFINITIONS))
    assert done.returncode == 0, done.stderr


def test_a_backend_that_is_not_there_is_named_when_the_project_loads() -> None:
    """And the error says what is installed."""
    done = run(
        sys.executable, "-m", "dagster", "definitions", "validate", "-f", str(DEFINITIONS), DAGSTER_RAY_BACKEND="slurm"
    )
    assert done.returncode != 0
    assert "No backend 'slurm' is installed (installed: address, kuberay, local)" in done.stdout + done.stderr
