"""What a code location pays for `import dagster_ray.kuberay`, on top of `import dagster`.

    python benchmarks/import_cost.py [--turns N] [--without-older] [--json FILE]

Each measurement is a fresh process. One round before the turns writes the bytecode and fills the disk's cache.

`import dagster` leaves a full garbage collection due, which comes with the next few thousand objects that anything
makes: it is done before the measurement, or the cost of Dagster's heap would be counted for whatever comes next.
"""

import gc
import importlib
import sys
import time

from catalogue import IMPORT_COST
from rivals import Collected, measured, megabytes, parser_of, present, take_turns, tell

FIGURES = ("import-time", "import-memory")


def measure() -> dict[str, float]:
    """Import, in this process."""
    begun = time.perf_counter()
    importlib.import_module("dagster")
    dagster_seconds = time.perf_counter() - begun
    gc.collect()
    before, begun = megabytes("VmRSS"), time.perf_counter()
    importlib.import_module("dagster_ray.kuberay")
    seconds = time.perf_counter() - begun
    return {
        "dagster": dagster_seconds * 1000,
        "import-time": seconds * 1000,
        "import-memory": megabytes("VmRSS") - before,
    }


def main() -> None:
    """Measure in turns, or be a rival."""
    given = parser_of(IMPORT_COST, turns=9).parse_args()
    if given.measure:
        tell(measure())
        return
    pythons = {"ours": sys.executable}
    if not given.without_older:
        from older_project import older_python  # noqa: PLC0415 - not in the environment of the older project

        pythons["older"] = older_python()
    collected = Collected()
    for rival, python in pythons.items():
        measured(__file__, rival, python=python)
    for rival in take_turns(given.turns, list(pythons)):
        found = measured(__file__, rival, python=pythons[rival])
        collected.add(rival, found, FIGURES)
        if rival == "ours":  # the floor is of the same process
            collected.add("floor", found and {"import-time": found["dagster"]}, FIGURES[:1])
    present(IMPORT_COST, collected, given.json)


if __name__ == "__main__":
    main()
