"""The project loads without Ray Train, on every backend; `make libraries` trains the model."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1]
PATIENCE_SECONDS = 300
LOADED = """
import sys
import definitions as example

cluster = example.definitions.resources["ray_cluster"]
print("FOUND", type(cluster).__name__, getattr(cluster, "driver", "native"), "ray.train" in sys.modules)
"""


@pytest.mark.parametrize(
    ("backend", "expected"),
    [("local", "LocalRay native False"), ("kuberay", "KubeRayInteractiveJob cluster False")],
)
def test_the_code_location_needs_no_ray_train(backend: str, expected: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED],
        cwd=EXAMPLE,
        env={**os.environ, "DAGSTER_RAY_BACKEND": backend},
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split("FOUND ")[1].strip() == expected
