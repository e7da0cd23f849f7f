"""A run whose LocalRay says when it starts Ray and how it was cleaned up. `python interrupted_start.py <folder>`."""

# pyright: reportUnknownMemberType=false

import sys

import dagster as dg
from typing_extensions import override

from dagster_ray.core import DagsterContext, RayResource, StepOutcome
from dagster_ray.local import LocalRay


class TalkingRay(LocalRay):
    """LocalRay with hooks."""

    @override
    def on_create(self, context: DagsterContext) -> None:
        print("starting Ray", flush=True)

    @override
    def on_cleanup(self, context: DagsterContext, outcome: StepOutcome) -> None:
        print(f"cleanup after: {outcome.value}", flush=True)


@dg.op
def work(ray_cluster: RayResource) -> None:
    print("the step ran", flush=True)


@dg.job(
    resource_defs={"ray_cluster": TalkingRay(num_cpus=1).get_resource_definition()}, executor_def=dg.in_process_executor
)
def job() -> None:
    work()


if __name__ == "__main__":
    with dg.DagsterInstance.local_temp(sys.argv[1]) as instance:
        job.execute_in_process(instance=instance, raise_on_error=False)
