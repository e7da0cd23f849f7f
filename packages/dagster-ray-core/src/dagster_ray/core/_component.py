"""`RayComponent`: what a `defs.yaml` says of a Ray cluster, as a resource."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import functools
from collections.abc import Mapping
from importlib import import_module
from types import NoneType
from typing import Any, ClassVar, Literal, Self, Union, cast, get_args, get_origin

import dagster as dg
from pydantic import BaseModel, Field, create_model
from typing_extensions import override

from dagster_ray.core._config import VariablesConfig, refuse_unknown_fields
from dagster_ray.core._config_types import is_plain, options_of, python_type
from dagster_ray.core.errors import UnknownFieldError


class _Scaffolder(dg.Scaffolder[Any]):
    """Writes a `defs.yaml` with the attributes that decide what else can stand there."""

    @override
    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write it, or the outline of a `component.py`."""
        module, _, name = request.type_name.rpartition(".")
        fields = getattr(import_module(module), name).model().model_fields
        attributes = {key: fields[key].default for key in ("resource_key", "resource") if key in fields}
        dg.scaffold_component(request, attributes)


@dg.scaffold_with(_Scaffolder)
class RayComponent(dg.Component, dg.Resolvable):
    """A Dagster component that declares a Ray cluster, for `defs.yaml` and for `dg.component_instance`.

    The attributes are `resource_key`, the fields of the resource, and, where a component has several resources to
    choose from, `resource`: the name of one. In Python the same names are keyword arguments. A plain value may be
    `{"env": "NAME"}`, which is read when a step runs.

    The author of a backend subclasses it, sets `resource_types`, and registers the module of the subclass under the
    entry point group `dagster_dg_cli.registry_modules`.

    Attributes:
        resource_key: The key of the resource in Dagster.
        ray_cluster: The resource. None if the component declares none.

    Raises:
        UnknownFieldError: An attribute does not exist.
        ValidationError: pydantic's. The value of an attribute is not what its field takes.
    """

    resource_types: ClassVar[tuple[type[dg.ConfigurableResource[Any]], ...]] = ()
    """The resources to choose from; the first one is the default."""
    may_lack_resource: ClassVar[bool] = False
    """Whether `resource: null` is meant, as where a component declares more than a resource."""

    def __init__(self, **attributes: Any) -> None:
        refuse_unknown_fields(self.model(), attributes)
        own = {"resource_key", "resource", *self.extra_attributes()}
        # The resource's own fields may be objects in Python, which only the resource knows how to read.
        fields = {key: value for key, value in attributes.items() if key not in own}
        given = self.model()(**{key: value for key, value in attributes.items() if key in own})
        self.extra: dict[str, Any] = given.model_dump(exclude_unset=True)
        self.resource_key: str = self.extra.pop("resource_key", "ray_cluster")
        name = self.extra.pop("resource", self.resource_types[0].__name__)
        self.ray_cluster: dg.ConfigurableResource[Any] | None = None
        for resource_type in self.resource_types:
            if resource_type.__name__ == name:
                self.ray_cluster = _made(resource_type, fields)
        if self.ray_cluster is None and fields:
            known = ("resource", "resource_key", *self.extra_attributes())
            raise UnknownFieldError(f"{type(self).__name__} without a resource", next(iter(fields)), None, known)

    @classmethod
    def extra_attributes(cls) -> Mapping[str, Any]:
        """Return what a subclass has beside a resource: pairs of type and pydantic field, by name."""
        return {}

    @classmethod
    @override
    def model(cls) -> type[BaseModel]:
        """Return the attributes as Dagster's schema of a `defs.yaml` has them.

        It tells names and simple types; the resource's own model decides on what stands below.
        """
        return _schema_of(cls)

    @classmethod
    @override
    def resolve_from_model(cls, context: dg.ResolutionContext, model: BaseModel) -> Self:
        """Make the component of a `defs.yaml` whose templates are not yet replaced."""
        given = model.model_dump(exclude_unset=True)
        return cls(**{name: context.at_path(name).resolve_value(value) for name, value in given.items()})

    @override
    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the resource under its key."""
        return dg.Definitions(resources={} if self.ray_cluster is None else {self.resource_key: self.ray_cluster})


@functools.cache
def _schema_of(component: type[RayComponent]) -> type[BaseModel]:
    key = Field(default="ray_cluster", description="The key of the resource in Dagster.")
    fields: dict[str, Any] = {"resource_key": (str, key)}
    names: tuple[str, ...] = tuple(cast("type", resource_type).__name__ for resource_type in component.resource_types)
    if len(names) > 1 or component.may_lack_resource:
        choice: Any = Literal[names]
        kind = choice | None if component.may_lack_resource else choice
        fields["resource"] = (kind, Field(default=next(iter(names)), description="Which resource."))
    fields |= component.extra_attributes()
    for resource_type in component.resource_types:
        for name, field in resource_type.model_fields.items():
            # The resource has the default; this one only says that the attribute need not be there.
            fields.setdefault(name, (_yaml_type(field.annotation), Field(default=None, description=field.description)))
    return create_model(component.__name__, __base__=dg.Model, **fields)


def _made(resource_type: type[dg.ConfigurableResource[Any]], given: Mapping[str, Any]) -> dg.ConfigurableResource[Any]:
    if issubclass(resource_type, VariablesConfig):
        return resource_type(**given)
    fields = resource_type.model_fields
    values = {
        name: _with_variables(value, fields[name].annotation) if name in fields else value
        for name, value in given.items()
    }
    return resource_type(**values)


def _with_variables(value: Any, annotation: Any) -> Any:
    """Return the value with `dg.EnvVar` where the annotation takes text and `{"env": "NAME"}` stands.

    Dagster reads `{"env": "NAME"}` in run config, and nothing but `EnvVar` in Python. Below `Any` it stays as it is,
    where backends read it themselves.
    """
    options = options_of(annotation)
    if str in options and isinstance(value, Mapping):
        reference = cast("Mapping[str, object]", value)
        name = reference.get("env")
        return dg.EnvVar(name) if len(reference) == 1 and isinstance(name, str) else reference
    for option in options:
        arguments = get_args(option)
        if get_origin(option) is dict and isinstance(value, Mapping):
            items = cast("Mapping[str, Any]", value).items()
            return {key: _with_variables(item, arguments[1]) for key, item in items}
        if get_origin(option) is list and isinstance(value, list):
            return [_with_variables(item, arguments[0]) for item in cast("list[Any]", value)]
        if isinstance(option, type) and issubclass(option, dg.Config) and isinstance(value, Mapping):
            kinds = {name: field.annotation for name, field in option.model_fields.items()}
            kinds |= {field.alias: field.annotation for field in option.model_fields.values() if field.alias}
            items = cast("Mapping[str, Any]", value).items()
            return {key: _with_variables(item, kinds.get(key, Any)) for key, item in items}
    return value


def _yaml_type(annotation: Any) -> Any:
    """Return what the schema of a `defs.yaml` takes for a field; text is everywhere, since it may be a template."""
    options = [option for option in options_of(python_type(annotation)) if option is not NoneType]
    if not is_plain(annotation):
        options = [list[Any] if get_origin(option) is list else dict[str, Any] for option in options]
    else:
        options.append(dict[str, str])
    return Union[(*options, str, None)]
