"""Materialize the tutorial's asset without a UI, and say what came out and where to look.

Runs from any folder: `python examples/tutorial/demo.py`. `make demo` calls it.
"""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg

HERE = Path(__file__).parent
HOME = HERE.parents[1] / ".dagster_home"


def last_materialization(instance: dg.DagsterInstance) -> dict[str, object]:
    """Return the metadata of the asset's newest materialization."""
    event = instance.get_latest_materialization_event(dg.AssetKey("sum_of_squares"))
    if event is None or event.asset_materialization is None:
        sys.exit("sum_of_squares was not materialized")
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def main() -> None:
    """Run `dagster asset materialize` on the project, with a Dagster home in the checkout."""
    HOME.mkdir(exist_ok=True)
    (HOME / "dagster.yaml").touch()
    os.environ["DAGSTER_HOME"] = str(HOME)
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # one cluster on this machine, for some seconds
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "--select", "sum_of_squares"]
    done = subprocess.run([*command, "-f", str(HERE / "definitions.py")], check=False)
    if done.returncode != 0:
        sys.exit("The run failed; its events are above.")
    with dg.DagsterInstance.get() as instance:
        found = last_materialization(instance)
    print(f"\nsum_of_squares = {found['total']}, computed on {found['cluster']}")
    print(f"The run is kept in {HOME}. To look at it and run it again:")
    dagster = Path(sys.executable).with_name("dagster")
    print(f"  DAGSTER_HOME={HOME} {dagster} dev -f {HERE / 'definitions.py'}")


if __name__ == "__main__":
    main()
