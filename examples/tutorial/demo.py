"""Materialize the tutorial's asset on two backends without a UI, and say what came out and where to look.

Runs from any folder: `python examples/tutorial/demo.py`. `make demo` calls it.
"""

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
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


def materialize(backend: str, **environment: str) -> dict[str, object]:
    """Run `dagster asset materialize` on the project with one backend; return what was written down."""
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "--select", "sum_of_squares"]
    done = subprocess.run(
        [*command, "-f", str(HERE / "definitions.py")],
        check=False,
        env={**os.environ, "DAGSTER_RAY_BACKEND": backend, **environment},
    )
    if done.returncode != 0:
        sys.exit(f"The run on the backend {backend} failed; its events are above.")
    with dg.DagsterInstance.get() as instance:
        return last_materialization(instance)


@contextmanager
def simulated_kubernetes() -> Generator[str]:
    """Serve a Kubernetes API with a KubeRay operator on this machine; yield the path of its kubeconfig.

    Its heads and workers find the tutorial's code on their path, as they would in an image that holds it.
    """
    command = [sys.executable, "-m", "dagster_ray.simulator"]
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            said = [] if process.stdout is None else [process.stdout.readline() for _ in range(2)]
            kubeconfig = said[-1].strip().removeprefix("export KUBECONFIG=")
            if not Path(kubeconfig).is_file():
                sys.exit("The simulator did not start.")
            yield kubeconfig
        finally:
            process.terminate()


def main() -> None:
    """Compute the asset twice, with a Dagster home in the checkout: on this machine's Ray, and on KubeRay."""
    HOME.mkdir(exist_ok=True)
    (HOME / "dagster.yaml").touch()
    os.environ["DAGSTER_HOME"] = str(HOME)
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # clusters on this machine, for some seconds
    # `make demo` runs under uv, and Ray would start the workers of a remote cluster by uv as well.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    found = {"local": materialize("local")}
    with simulated_kubernetes() as kubeconfig:
        found["kuberay"] = materialize("kuberay", KUBECONFIG=kubeconfig)
    print()
    for backend, metadata in found.items():
        result = f"sum_of_squares = {metadata['total']}, computed on {metadata['cluster']}"
        print(f"DAGSTER_RAY_BACKEND={backend}: {result}")
    print("The asset is the same file in both runs. Kubernetes was a simulator; the Ray clusters were real.")
    print(f"The runs are kept in {HOME}. To look at them and run the asset again:")
    dagster = Path(sys.executable).with_name("dagster")
    print(f"  DAGSTER_HOME={HOME} {dagster} dev -f {HERE / 'definitions.py'}")


if __name__ == "__main__":
    main()
