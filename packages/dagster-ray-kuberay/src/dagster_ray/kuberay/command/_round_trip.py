"""A throw-away cluster for `dagster-ray doctor --round-trip`: made, used once, and always deleted."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import importlib
from typing import Any

import dagster as dg

from dagster_ray.core import Deadline, run_phases
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay import KubeRayInteractiveJob
from dagster_ray.kuberay._kubernetes.errors import NotFoundError
from dagster_ray.kuberay._kubernetes.fields import at
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
from dagster_ray.kuberay.command._checks import Check
from dagster_ray.kuberay.command._terminal import CALL_SECONDS, Place
from dagster_ray.kuberay.groups import head_group

NAME = "round-trip"
_TASK_SECONDS = 60.0


def round_trip(place: Place, *, image: str | None, timeout: float, connects: bool) -> Check:
    """Make a cluster of one head, run a task on it, delete it.

    Args:
        place: The Kubernetes cluster.
        image: The head's image. None: as steps choose it.
        timeout: Seconds until the head accepts drivers.
        connects: Whether a driver connects and runs a task; without, the head need only accept drivers.
    """
    metadata = {} if place.namespace is None else {"namespace": place.namespace}
    spec: dict[str, Any] = {
        "rayClusterSpec": {"headGroupSpec": head_group(cpus=1, memory="2Gi"), "workerGroupSpecs": []}
    }
    resource = KubeRayInteractiveJob(
        image=image,
        timeout=timeout,
        kubeconfig_file=place.kubeconfig,
        kube_context=place.context,
        lifecycle={"connect": connects, "cleanup": "always"},  # pyright: ignore[reportArgumentType]
        ray_job={"metadata": metadata, "spec": spec},  # pyright: ignore[reportArgumentType]
    )
    name, did = "", "its head accepted drivers"
    try:
        with run_phases(resource, dg.build_init_resource_context()):
            name = resource.display_name
            if connects:
                did = f"a task ran on it ({_task()})"
        seconds = sum(resource.startup_seconds.values())
    except TimeoutError:
        sentence = f"{name} accepted a driver, and ran no task within {_TASK_SECONDS:.0f} s; it was deleted."
        return Check(NAME, "failed", sentence, "look at the head with `dagster-ray logs`, while a step runs")
    except DagsterRayError as error:
        return Check(NAME, "failed", error.problem, f"{error.remedy.rstrip('.')} [dagster-ray: {error.code}]")
    left = _left(place, resource.job_name)
    if left:
        return Check(NAME, "failed", f"{left} was used, and is still there.", "delete it with kubectl")
    return Check(NAME, "ok", f"{name} was ready after {seconds:.1f} s, {did}, and it was deleted.")


def _task() -> str:
    """Run one task; return where it ran. Ray loads here only, by name.

    Raises:
        TimeoutError: It was not done in time.
    """
    ray = importlib.import_module("ray")

    def where() -> str:
        import platform

        return f"Python {platform.python_version()}"

    # Heads offer no CPU of their own, so that the work of steps goes to workers.
    return str(ray.get(ray.remote(num_cpus=0)(where).remote(), timeout=_TASK_SECONDS))


def _left(place: Place, job: str | None) -> str | None:
    """Return what is left of the cluster, if it is not even being deleted."""
    if job is None:
        return None
    api = place.api()
    try:
        found = api.get(RAYJOBS, place.namespace or api.namespace, job, Deadline(CALL_SECONDS))
    except NotFoundError:
        return None
    finally:
        api.close()
    return None if at(found, "metadata", "deletionTimestamp") else f"RayJob {job}"
