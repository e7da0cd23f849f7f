"""Materialize the tutorial's asset on two backends without a UI, and show what came out and where to look.

Runs from any folder: `python examples/tutorial/demo.py`. `make demo` calls it.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import dagster as dg

HERE = Path(__file__).parent
HOME = HERE.parents[1] / ".dagster_home"
LOG = HOME / "demo.log"
# The events of Dagster, and the lines of the cluster's resource, that show how far a run is.
EVENTS = {
    "RUN_START": "Dagster started the run",
    "RESOURCE_INIT_STARTED": "a Ray cluster is being started",
    "STEP_START": "connected to the cluster; the asset is being computed",
    "RUN_SUCCESS": "done",
}
EVENT = re.compile(rf" - ({'|'.join(EVENTS)}) - ")
RESOURCE_LINE = re.compile(r" - (?:INFO|WARNING|ERROR) - resource:\w+ - [\w-]+ - \w+ - (?:RayJob [\w/-]+: )?(.+)")
# One process for the run and its step: a reader waits for one import of Dagster less.
IN_PROCESS = '{"execution": {"config": {"in_process": {}}}}'


def progress(line: str) -> str | None:
    """Return what a line of the run's output says to a person who waits; None if that is nothing."""
    if found := EVENT.search(line):
        return EVENTS[found[1]]
    found = RESOURCE_LINE.search(line)
    return None if found is None or found[1].endswith(": create") else found[1]


def show(lines: Iterable[str], log: TextIO) -> None:
    """Write every line to the log, and print those that show progress, with the seconds since the start."""
    start = time.monotonic()
    for line in lines:
        log.write(line)
        log.flush()
        if text := progress(line):
            print(f"  {time.monotonic() - start:5.1f} s  {text}", flush=True)


def last_materialization() -> dict[str, object]:
    """Return the metadata of the asset's newest materialization."""
    with dg.DagsterInstance.get() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("sum_of_squares"))
    if event is None or event.asset_materialization is None:
        sys.exit("sum_of_squares was not materialized")
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def materialize(title: str, backend: str, log: TextIO, **environment: str) -> str:
    """Run `dagster asset materialize` on the project with one backend; return the result in a sentence."""
    print(f"{title} (DAGSTER_RAY_BACKEND={backend})", flush=True)
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "--select", "sum_of_squares"]
    with subprocess.Popen(
        [*command, "-f", str(HERE / "definitions.py"), "--config-json", IN_PROCESS],
        env={**os.environ, "DAGSTER_RAY_BACKEND": backend, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        show(process.stdout or (), log)
    if process.returncode != 0:
        sys.exit(f"The run on the backend {backend} failed. Its log is in {LOG}.")
    metadata = last_materialization()
    return f"DAGSTER_RAY_BACKEND={backend}: sum_of_squares = {metadata['total']}, computed on {metadata['cluster']}"


@contextmanager
def simulated_kubernetes(log: TextIO) -> Generator[str]:
    """Serve a Kubernetes API with a KubeRay operator on this machine; yield the path of its kubeconfig.

    Its heads and workers find the tutorial's code on their path, as they would in an image that holds it.
    """
    command = [sys.executable, "-m", "dagster_ray.simulator"]
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment) as process:
        try:
            said = [] if process.stdout is None else [process.stdout.readline() for _ in range(2)]
            kubeconfig = said[-1].strip().removeprefix("export KUBECONFIG=")
            if not Path(kubeconfig).is_file():
                sys.exit(f"The simulator did not start. Its log is in {LOG}.")
            yield kubeconfig
        finally:
            process.terminate()


def main() -> None:
    """Compute the asset twice, with a Dagster home in the checkout: on this machine's Ray, and on KubeRay."""
    HOME.mkdir(exist_ok=True)
    (HOME / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    os.environ["DAGSTER_HOME"] = str(HOME)
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # clusters on this machine, for some seconds
    # `make demo` runs under uv, and Ray would start the workers of a remote cluster by uv as well.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    print(f"One asset, two backends. The full log is in {LOG}.\n", flush=True)
    with LOG.open("w", encoding="utf-8") as log, simulated_kubernetes(log) as kubeconfig:
        results = [
            materialize("1. Ray on this machine", "local", log),
            materialize("2. Ray on a simulated Kubernetes", "kuberay", log, KUBECONFIG=kubeconfig),
        ]
    print("\nResults")
    for result in results:
        print(f"  {result}")
    print("  The asset is the same file in both runs. Kubernetes was simulated; the Ray clusters were real.")
    print("\nNext: look at both runs in Dagster's UI, and run the asset again, at http://127.0.0.1:3000")
    print(f"  DAGSTER_HOME={HOME} {Path(sys.executable).with_name('dg')} dev -f {HERE / 'definitions.py'}")
    print(f"The asset is in {HERE / 'definitions.py'}.")


if __name__ == "__main__":
    main()
