"""What the evidence of a failed step costs.

    python benchmarks/failed_step.py [--turns N] [--json FILE]

Runs on the simulator with real local heads. The body of a step of `KubeRayInteractiveJob` raises after a task of it has
failed. Seconds are from that moment to the end of the run, whose cluster is deleted by then. Two steps take turns, each
in a fresh process, with a cluster of its own:

- ours: with `evidence`, in a folder of this machine;
- floor: without.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# ruff: noqa: PLC0415 - each process imports only what it measures

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from catalogue import FAILED_STEP
from interactive_step import spec_of
from rivals import Collected, measured, parser_of, present, take_turns, tell

FIGURES = ("evidence-seconds", "evidence-requests")
TIMEOUT_SECONDS = 120.0


def failing(kubeconfig: str, folder: str | None) -> float:
    """Return the seconds from the error of a step's body to the end of its run."""
    import dagster as dg
    import ray

    from dagster_ray.kuberay import KubeRayInteractiveJob

    raised: list[float] = []

    def odd() -> None:
        raise ValueError("odd number 3")

    @dg.asset(required_resource_keys={"ray_cluster"})
    def step() -> None:
        task: Any = ray.remote(num_cpus=1)(odd)
        try:
            ray.get(task.remote())
        finally:
            raised.append(time.perf_counter())

    given: dict[str, Any] = {"access": "direct", "head_host": "{pod_ip}", "evidence": folder}
    cluster = KubeRayInteractiveJob(
        kubeconfig_file=kubeconfig,
        ray_job={"spec": spec_of(None)},
        lifecycle={"cleanup": "always"},
        timeout=TIMEOUT_SECONDS,
        **given,
    )
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([step], resources={"ray_cluster": cluster}, instance=instance, raise_on_error=False)
        end = time.perf_counter()
    if result.success:
        raise RuntimeError("the step did not fail")
    return end - raised[0]


def with_evidence(kubeconfig: str) -> float:
    """Return the same for a step that keeps evidence."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = failing(kubeconfig, folder)
        summaries = [file.read_text(encoding="utf-8") for file in Path(folder).rglob("index.md")]
    if len(summaries) != 1 or "odd number 3" not in summaries[0]:
        raise RuntimeError("the evidence does not name the cause")
    return seconds


def turn(simulator: Any, rival: str) -> dict[str, float] | None:
    """Measure a step in a fresh process: its seconds, and its Kubernetes API requests once its driver is connected.

    A slow start is diagnosed, which costs requests that say nothing of evidence. The PATCH of the job's id ends it.
    """
    before = len(simulator.requests)
    seconds = measured(__file__, rival, str(simulator.kubeconfig))
    asked = [one for one in simulator.requests[before:] if not one.user_agent.startswith("kuberay")]
    if seconds is None:
        return None
    asked = asked[1 + max(place for place, one in enumerate(asked) if one.method == "PATCH") :]
    print(f"{rival}: {[f'{one.method} {one.path}' for one in asked]}", file=sys.stderr)
    return dict(zip(FIGURES, (seconds, len(asked)), strict=True))


def main() -> None:
    """Measure in turns, or be a rival."""
    from dagster_ray.simulator import Simulator

    given = parser_of(FAILED_STEP).parse_args()
    if given.measure:
        rival, kubeconfig = given.measure
        tell(with_evidence(kubeconfig) if rival == "ours" else failing(kubeconfig, None))
        return
    collected = Collected()
    with Simulator() as simulator:
        for rival in take_turns(given.turns, ["floor", "ours"]):
            collected.add(rival, turn(simulator, rival), FIGURES)
    present(FAILED_STEP, collected, given.json)


if __name__ == "__main__":
    main()
