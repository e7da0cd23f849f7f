"""`KubeRayComponent`: a Ray cluster on Kubernetes, and the cleanup sensor, in a `defs.yaml`."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

import dagster as dg
from pydantic import Field, create_model, validate_call
from typing_extensions import override

from dagster_ray.core import RayComponent
from dagster_ray.kuberay._cluster import KubeRayCluster
from dagster_ray.kuberay._interactive_job import KubeRayInteractiveJob


class KubeRayComponent(RayComponent):
    """A Ray cluster on Kubernetes as a resource (KubeRayInteractiveJob or KubeRayCluster), the cleanup sensor, or both.

    `cleanup_sensor` has the arguments of `build_cleanup_sensor`; an empty mapping is a sensor with its defaults.

    Attributes:
        sensor: The cleanup sensor. None without `cleanup_sensor`.
    """

    resource_types: ClassVar[tuple[type[dg.ConfigurableResource[Any]], ...]] = (KubeRayInteractiveJob, KubeRayCluster)
    may_lack_resource: ClassVar[bool] = True

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        arguments = self.extra.get("cleanup_sensor")
        self.sensor: dg.SensorDefinition | None = None
        if arguments is not None:
            from dagster_ray.kuberay._collector.sensor import build_cleanup_sensor

            self.sensor = validate_call(build_cleanup_sensor)(**arguments)

    @classmethod
    @override
    def extra_attributes(cls) -> Mapping[str, Any]:
        """Return `cleanup_sensor` with the names and types of the arguments of `build_cleanup_sensor`."""
        from dagster_ray.kuberay._collector.sensor import build_cleanup_sensor

        arguments: dict[str, Any] = {
            # Text may be a template.
            name: (parameter.annotation | str, parameter.default)
            for name, parameter in inspect.signature(build_cleanup_sensor).parameters.items()
        }
        sensor = create_model("CleanupSensorAttributes", __base__=dg.Model, **arguments)
        text = "The arguments of build_cleanup_sensor. Unset: no sensor. {}: one with all its defaults."
        return {"cleanup_sensor": (sensor, Field(default=None, description=text))}

    @override
    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the resource under its key, and the sensor."""
        defs = super().build_defs(context)
        return defs if self.sensor is None else dg.Definitions.merge(defs, dg.Definitions(sensors=[self.sensor]))
