"""The objects that the steps of a run leave in Ray's object store, held by an actor that lives as long as the run.

`python -m dagster_ray.core._object_keeper RUN`, as a Ray job on the run's cluster, ends them.
"""

# Ray's functions are annotated in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

import contextlib
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray import exceptions
from ray._private.state import jobs
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dagster_ray.core._connection import connect
from dagster_ray.core._deadline import Deadline
from dagster_ray.core.run_objects import NAMESPACE, keeper_name

_LOOK_SECONDS = 15.0
_CALLS_AT_ONCE = 100
_HEAD = {"node:__internal_head__": 0.001}  # a node that the autoscaler never removes


class ObjectKeeper:
    """Owns objects, and ends itself when nobody has needed them for a time.

    A driver needs them from its first call on, for as long as it is connected.
    """

    def __init__(self, name: str, keep_seconds: float) -> None:
        """Take the actor's own name, and for how many seconds it outlives the last driver."""
        self._name, self._keep_seconds = name, keep_seconds
        self._refs: dict[str, Any] = {}
        self._drivers = set[str]()
        self._needed_at = time.monotonic()
        threading.Thread(target=self._watch, name="watch drivers", daemon=True).start()

    def adopt(self, job_id: str, key: str, refs: Sequence[Any], node_id: str) -> None:
        """Take an object of a driver, as a copy on the same node that this actor owns, and not the driver.

        Ray 2.56 has removed the owner that `ray.put` could name. The results of a task belong to the process that has
        called it, and lie where it ran. The list keeps the reference from being read here.
        """
        self._called(job_id)
        task: Any = ray.remote(_copied)
        (given,) = refs
        nearby = NodeAffinitySchedulingStrategy(node_id, soft=True)
        copy, is_done = task.options(num_cpus=0, num_returns=2, max_retries=0, scheduling_strategy=nearby).remote(given)
        ray.get(is_done)
        self._refs[key] = copy

    def find(self, job_id: str, keys: Sequence[str]) -> dict[str, Any]:
        """Return references to those of some objects that are there."""
        self._called(job_id)
        return {key: self._refs[key] for key in keys if key in self._refs}

    def _called(self, job_id: str) -> None:
        self._drivers.add(job_id)
        self._needed_at = time.monotonic()

    def _watch(self) -> None:
        pause = threading.Event()
        while time.monotonic() - self._needed_at <= self._keep_seconds:
            pause.wait(min(_LOOK_SECONDS, self._keep_seconds))
            with contextlib.suppress(Exception):  # what cannot be seen now is seen later
                if self._drivers & _living_drivers():
                    self._needed_at = time.monotonic()
        ray.kill(ray.get_actor(self._name, namespace=NAMESPACE))


def _copied(value: object) -> tuple[object, bool]:
    return value, True


def _living_drivers() -> set[str]:
    return {str(job["JobID"]) for job in jobs() if not job["IsDead"]}


def store(run_id: str, key: str, value: object, keep_seconds: float) -> None:
    """Leave an object in the object store for the steps of a run. A driver must be connected."""
    name, job_id = keeper_name(run_id), _job_id()
    actor_class: Any = ray.remote(ObjectKeeper)
    keeper = actor_class.options(
        name=name,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        resources=_HEAD,
        max_concurrency=_CALLS_AT_ONCE,
    ).remote(name, keep_seconds)
    ray.get(keeper.adopt.remote(job_id, key, [ray.put(value)], ray.get_runtime_context().get_node_id()))


def load(run_id: str, keys: Sequence[str]) -> tuple[Mapping[str, Any], str, bool]:
    """Return those of some objects of a run that are there, why others are not, and whether they were.

    A driver must be connected.
    """
    try:
        keeper: Any = ray.get_actor(keeper_name(run_id), namespace=NAMESPACE)
        refs: Any = ray.get(keeper.find.remote(_job_id(), list(keys)))
    except ValueError:
        return {}, "no step of this run has left an object in this cluster", False
    except exceptions.RayActorError as error:
        return {}, f"the actor that held the objects of this run is gone ({type(error).__name__})", True
    found: dict[str, Any] = {}
    reason, is_lost = "no step of this run has left it in this cluster", False
    for key, ref in refs.items():
        try:
            found[key] = ray.get(ref)
        except (exceptions.ObjectLostError, exceptions.ObjectFetchTimedOutError) as error:
            reason, is_lost = f"it was lost with its node ({type(error).__name__})", True
    return found, reason, is_lost


def end(run_id: str) -> None:
    """End the actor of a run, with all that it holds, if there is one. A driver must be connected."""
    with contextlib.suppress(ValueError):
        ray.kill(ray.get_actor(keeper_name(run_id), namespace=NAMESPACE))


def _job_id() -> str:
    return str(ray.get_runtime_context().get_job_id())


def main(run_id: str) -> None:
    """End the objects of a run, on the cluster whose job this is."""
    connect("RayIOManager", "auto", {"log_to_driver": False}, Deadline(60.0))
    end(run_id)


if __name__ == "__main__":
    main(sys.argv[1])
