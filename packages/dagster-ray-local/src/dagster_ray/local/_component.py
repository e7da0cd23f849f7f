"""`LocalRayComponent`: `LocalRay` in a `defs.yaml`."""

from typing import Any, ClassVar

import dagster as dg

from dagster_ray.core import RayComponent
from dagster_ray.local._local_ray import LocalRay


class LocalRayComponent(RayComponent):
    """Ray on the machine of the step: `dagster_ray.local.LocalRay` as a resource."""

    resource_types: ClassVar[tuple[type[dg.ConfigurableResource[Any]], ...]] = (LocalRay,)
