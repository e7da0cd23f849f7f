"""`KubeRayComponent`: a Ray cluster on Kubernetes, and the cleanup sensor, in a `defs.yaml`."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Union, get_args

import dagster as dg
from pydantic import Field, create_model
from typing_extensions import override

from dagster_ray.core import RayComponent
from dagster_ray.core.variables import variables
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

            self.sensor = build_cleanup_sensor(**_checked(arguments))

    @classmethod
    @override
    def extra_attributes(cls) -> Mapping[str, Any]:
        """Return `cleanup_sensor` with the names and types of the arguments of `build_cleanup_sensor`."""
        arguments: dict[str, Any] = {
            name: (_as_written(kind) if takes_variables else kind | str, default)
            for name, (kind, default, takes_variables) in _arguments().items()
        }
        sensor = create_model("CleanupSensorAttributes", __base__=dg.Model, **arguments)
        text = "The arguments of build_cleanup_sensor. Unset: no sensor. {}: one with all its defaults."
        return {"cleanup_sensor": (sensor, Field(default=None, description=text))}

    @override
    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the resource under its key, and the sensor."""
        defs = super().build_defs(context)
        return defs if self.sensor is None else dg.Definitions.merge(defs, dg.Definitions(sensors=[self.sensor]))


def _as_written(kind: Any) -> Any:
    """Return the type of an argument in YAML: text may be a template, and a mapping a reference to a variable."""
    several = list[str | dict[str, str]] if Sequence[str] in get_args(kind) else str
    return kind | str | dict[str, str] | several


def _arguments() -> dict[str, tuple[Any, Any, bool]]:
    """Return the arguments of `build_cleanup_sensor`: type of a value, default, and whether it may be a variable."""
    from dagster_ray.kuberay._collector.sensor import build_cleanup_sensor

    union: Any = Union
    found: dict[str, tuple[Any, Any, bool]] = {}
    for name, parameter in inspect.signature(build_cleanup_sensor).parameters.items():
        kind, options = parameter.annotation, get_args(parameter.annotation)
        if takes_variables := dg.EnvVar in options:
            kind = union[tuple(each for each in options if each is not dg.EnvVar)]
        found[name] = kind, parameter.default, takes_variables
    return found


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of the types that they have; what is a variable, or holds one, is known at a tick only."""
    known = _arguments()
    later = {
        name: value for name, value in given.items() if known[name][2] and any(variables(value, is_text_map=False))
    }
    types: dict[str, Any] = {name: (kind, default) for name, (kind, default, _) in known.items()}
    found = create_model("cleanup_sensor", **types)(
        **{name: value for name, value in given.items() if name not in later}
    )
    return {name: later[name] if name in later else getattr(found, name) for name in given}
