"""What LocalRay costs on top of `ray.init`: `python benchmarks/local_ray.py [pairs]`.

Each measurement is a fresh process that has imported everything. The two kinds take turns, so that a machine
whose speed drifts treats both alike; what counts is the ratio within a pair.
"""

# pyright: reportUnknownMemberType=false

import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

CPUS = 2


def bare() -> float:
    """Return the seconds of `ray.init` alone."""
    import ray  # noqa: PLC0415 - measured without the import

    start = time.perf_counter()
    ray.init(address="local", num_cpus=CPUS)
    seconds = time.perf_counter() - start
    ray.shutdown()
    return seconds


def local_ray() -> float:
    """Return the seconds from the start of the resource's set-up until the step would begin."""
    import dagster as dg  # noqa: PLC0415

    from dagster_ray.core import run_phases  # noqa: PLC0415
    from dagster_ray.local import LocalRay  # noqa: PLC0415

    importlib.import_module("ray")
    context = dg.build_init_resource_context()
    start = time.perf_counter()
    with run_phases(LocalRay(num_cpus=CPUS), context):
        return time.perf_counter() - start


KINDS: dict[str, Callable[[], float]] = {"ray.init": bare, "LocalRay": local_ray}


def measured(kind: str) -> float:
    """Return what a fresh process measures."""
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run([sys.executable, __file__, kind], check=True, capture_output=True, text=True, env=environment)
    return float(json.loads(done.stdout.splitlines()[-1]))


def row(name: str, values: list[float], unit: str) -> str:
    """Return minimum, median and maximum as a line."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{name:<20} {low:8.3f} {middle:8.3f} {high:8.3f} {unit}"


def main(pairs: int) -> None:
    """Measure in pairs and print the table."""
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for number in range(pairs):
        for kind in list(KINDS) if number % 2 else reversed(list(KINDS)):
            seconds[kind].append(measured(kind))
    ratios = [ours / rays for ours, rays in zip(seconds["LocalRay"], seconds["ray.init"], strict=True)]
    added = [ours - rays for ours, rays in zip(seconds["LocalRay"], seconds["ray.init"], strict=True)]
    print(f"{pairs} pairs{'':<14} {'min':>7} {'median':>8} {'max':>8}")
    for kind, values in seconds.items():
        print(row(kind, values, "s"))
    print(row("LocalRay - ray.init", added, "s, pair by pair"))
    print(row("LocalRay / ray.init", ratios, "pair by pair"))


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in KINDS:
        print(json.dumps(KINDS[sys.argv[1]]()))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
