"""Carry out one plan of the kit in a process of its own: `python -m dagster_ray.core.testing._child PLAN`."""

# Not in `_jobs`: the package imports that, so Python would warn that it runs a module twice.
import sys
from pathlib import Path

from dagster_ray.core.testing._jobs import ephemeral_instance, materialize
from dagster_ray.core.testing._plan import load, read_plan


def main(plan_file: str) -> int:
    """Return 0 if the run succeeded."""
    plan = read_plan(Path(plan_file))
    backend = load(plan)
    with ephemeral_instance() as instance:
        return 0 if materialize(plan, backend, plan.make(backend), instance).success else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
