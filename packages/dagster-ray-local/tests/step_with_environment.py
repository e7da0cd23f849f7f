"""A step on a shared cluster that writes down what its tasks see. `python step_with_environment.py <name> <other>`."""

# pyright: reportUnknownMemberType=false

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import ray

from dagster_ray.core import Deadline, RayResource
from dagster_ray.local import LocalRay

FOLDER = Path(os.environ["MEETING"])
NAME, OTHER = sys.argv[1:]


@ray.remote
def look() -> dict[str, Any]:
    import mine  # pyright: ignore[reportMissingImports] - each step has its own

    return {
        "key": os.environ.get("KEY"),
        "mode": os.environ.get("MODE"),
        "only": sorted(name for name in os.environ if name.startswith("ONLY_")),
        "module": mine.NAME,
        "cwd": str(Path.cwd()),
    }


def jobs() -> str:
    """Return what everybody who sees this cluster can read about its jobs."""
    worker: Any = importlib.import_module("ray._private.worker").global_worker
    return repr(list(worker.gcs_client.get_all_job_info().values()))


@dg.asset
def seen(ray_cluster: RayResource) -> None:
    (FOLDER / f"{NAME}.here").touch()
    deadline = Deadline(200)
    while not (FOLDER / f"{OTHER}.here").exists() and deadline.sleep(0.05):
        pass
    holder = psutil.Process(int(ray_cluster.display_name.split("process ")[1].rstrip(")")))
    everything = [process.environ() for process in (holder, *holder.children())]
    said = {**ray.get(look.remote()), "address": ray_cluster.address, "jobs": jobs(), "holder": repr(everything)}
    (FOLDER / f"{NAME}.part").write_text(json.dumps(said))
    (FOLDER / f"{NAME}.part").rename(FOLDER / f"{NAME}.said")
    while not (FOLDER / f"{OTHER}.said").exists() and deadline.sleep(0.05):
        pass


if __name__ == "__main__":
    cluster = LocalRay(
        share=True,
        num_cpus=2,
        ray_init_options={"include_dashboard": False},
        runtime_env={"env_vars": {"MODE": "of runtime_env"}},
    )
    dg.materialize([seen], resources={"ray_cluster": cluster})
