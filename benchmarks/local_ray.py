"""What LocalRay costs on top of `ray.init`.

    python benchmarks/local_ray.py [--turns N] [--without-older] [--json FILE]

Each measurement is a fresh process that has imported everything.
"""

# pyright: reportUnknownMemberType=false
# ruff: noqa: PLC0415 - each process imports only what is in its own environment

import importlib
import sys
import time
from collections.abc import Callable
from typing import Any

from catalogue import LOCAL_RAY
from rivals import Collected, measured, parser_of, present, take_turns, tell

CPUS = 2


def bare() -> float:
    """Return the seconds of `ray.init` alone."""
    import ray

    start = time.perf_counter()
    ray.init(address="local", num_cpus=CPUS)
    seconds = time.perf_counter() - start
    ray.shutdown()
    return seconds


def ours() -> float:
    """Return the seconds from the start of the resource's set-up until the step would begin."""
    import dagster as dg

    from dagster_ray.core import run_phases
    from dagster_ray.local import LocalRay

    importlib.import_module("ray")
    context = dg.build_init_resource_context()
    start = time.perf_counter()
    with run_phases(LocalRay(num_cpus=CPUS), context):
        return time.perf_counter() - start


def older() -> float:
    """Return the same of the older project."""
    import dagster as dg

    package: Any = importlib.import_module("dagster_ray")
    importlib.import_module("ray.data")  # its connect imports it, which is not what is measured
    context = dg.build_init_resource_context()
    start = time.perf_counter()
    with package.LocalRay(ray_init_options={"num_cpus": CPUS}).yield_for_execution(context):
        return time.perf_counter() - start


RIVALS: dict[str, Callable[[], float]] = {"floor": bare, "ours": ours, "older": older}


def main() -> None:
    """Measure in turns, or be a rival."""
    given = parser_of(LOCAL_RAY).parse_args()
    if given.measure:
        tell({"local-start": RIVALS[given.measure[0]]()})
        return
    pythons = {"floor": sys.executable, "ours": sys.executable}
    if not given.without_older:
        from older_project import older_python

        pythons["older"] = older_python()
    collected = Collected()
    for rival in take_turns(given.turns, list(pythons)):
        collected.add(rival, measured(__file__, rival, python=pythons[rival]), ["local-start"])
    present(LOCAL_RAY, collected, given.json)


if __name__ == "__main__":
    main()
