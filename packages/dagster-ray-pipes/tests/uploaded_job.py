"""A code location by its file: a test writes it into a folder of its own, which is sent to the cluster."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import dagster as dg
from watched_ray import watched

from dagster_ray.core import RayResource


@dg.op
def looks(context: dg.OpExecutionContext, ray_cluster: RayResource) -> None:
    import value  # pyright: ignore[reportMissingImports, reportUnknownVariableType]

    context.log.info("%s from %s", value.VALUE, value.__file__)  # pyright: ignore[reportUnknownMemberType]


@dg.job(resource_defs={"ray_cluster": watched("URL", "cluster", driver_code="upload", driver_pip=[])})
def uploaded() -> None:
    looks()


def the_job() -> dg.JobDefinition:
    return uploaded
