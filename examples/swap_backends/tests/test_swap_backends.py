"""The same file computes the asset on this machine, and loads for Kubernetes; a wrong name is an error at load."""

import os
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[1]
PATIENCE_SECONDS = 300
ON_THIS_MACHINE = """
import dagster as dg
import definitions as example

result = dg.materialize([example.word_count], resources=example.on_a_laptop())
(event,) = result.get_asset_materialization_events()
found = event.materialization.metadata
print("FOUND", found["words"].value, found["cluster"].value.split()[0])
"""
ON_KUBERNETES = """
import os
from importlib import reload

import definitions as example

for name in ("simulator", "cluster"):
    os.environ["DEPLOYMENT"] = name
    reload(example)
    cluster = example.definitions.resources["ray_cluster"]
    sensors = [sensor.name for sensor in example.definitions.sensors]
    print("FOUND", name, type(cluster).__name__, cluster.driver, sensors)
os.environ["DEPLOYMENT"] = "moon"
try:
    reload(example)
except ValueError as error:
    print("FOUND", error)
"""


def found_by(script: str, **variables: str) -> list[str]:
    """Return what a script prints after FOUND, in the folder of the example."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=EXAMPLE,
        env={**os.environ, "RAY_AUTH_MODE": "disabled", **variables},
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.removeprefix("FOUND ") for line in done.stdout.splitlines() if line.startswith("FOUND ")]


def test_a_laptop_computes_the_asset() -> None:
    assert found_by(ON_THIS_MACHINE) == ["8 LocalRay"]


def test_the_other_deployments_load_and_an_unknown_one_is_named() -> None:
    assert found_by(ON_KUBERNETES) == [
        "simulator KubeRayInteractiveJob step []",
        "cluster KubeRayInteractiveJob cluster ['cleanup_expired_rayclusters']",
        "DEPLOYMENT is 'moon'; it must be one of laptop, simulator, cluster",
    ]
