"""A job of two steps that run at the same time on one shared cluster. `python steps_that_meet.py <folder>`.

Each step writes down where it is, and waits until the other is there too. The environment variable DIES names
a step that then kills itself as the kernel would.
"""

# pyright: reportUnknownMemberType=false

import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import ray

from dagster_ray.core import Deadline, RayResource
from dagster_ray.local import LocalRay

FOLDER = Path(os.environ["MEETING"])
PATIENCE_SECONDS = 90.0


@ray.remote
def square(number: int) -> int:
    print(f"squaring {number}")
    return number**2


def there(name: str) -> bool:
    return (FOLDER / name).exists()


def write(name: str, **said: object) -> None:
    (FOLDER / f"{name}.part").write_text(json.dumps(said))
    (FOLDER / f"{name}.part").rename(FOLDER / name)


def meet(name: str, other: str, cluster: RayResource) -> int:
    write(name, address=cluster.address, pid=os.getpid(), holder=cluster.display_name)
    deadline = Deadline(PATIENCE_SECONDS)
    while not there(other) and deadline.sleep(0.05):
        pass
    if os.environ.get("DIES") == name:
        os.kill(os.getpid(), signal.SIGKILL)
    if os.environ.get("DIES") == other:
        pid = json.loads((FOLDER / other).read_text())["pid"]
        while Path(f"/proc/{pid}/root").exists() and deadline.sleep(0.05):
            pass
    result = sum(ray.get([square.remote(number) for number in range(4)]))
    write(f"{name}.done", result=result, alone=not there(other), jobs=jobs())
    return result


def jobs() -> str:
    """Return what Ray's dashboard knows of the drivers."""
    worker: Any = importlib.import_module("ray._private.worker").global_worker
    return repr(list(worker.gcs_client.get_all_job_info().values()))


@dg.op
def first(ray_cluster: RayResource) -> int:
    return meet("first", "second", ray_cluster)


@dg.op
def second(ray_cluster: RayResource) -> int:
    return meet("second", "first", ray_cluster)


@dg.job(
    resource_defs={
        "ray_cluster": LocalRay(
            share=True, num_cpus=2, ray_init_options={"include_dashboard": False}
        ).get_resource_definition()
    }
)
def meeting() -> None:
    first()
    second()


if __name__ == "__main__":
    with (
        dg.DagsterInstance.local_temp(sys.argv[1]) as instance,
        dg.execute_job(dg.reconstructable(meeting), instance=instance) as result,
    ):
        failed = sorted(event.step_key or "" for event in result.all_events if event.is_step_failure)
    write("run", success=result.success, failed=failed)
