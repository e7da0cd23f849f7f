"""A `defs.yaml` becomes a resource: names, templates, references to the environment, and what is refused."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import dagster as dg
import pytest
from pydantic import Field, ValidationError

from dagster_ray.core import RayComponent, StrictConfig
from dagster_ray.core.errors import UnknownFieldError


class Shape(StrictConfig):
    zone: str | None = Field(default=None, alias="zoneName")
    free: dict[str, Any] = Field(default_factory=dict)


class SmallRay(dg.ConfigurableResource[Any]):
    """A resource with every kind of field."""

    image: str | None = Field(default=None, description="The image.")
    workers: int = Field(default=1, gt=0)
    mode: Literal["a", "b"] = "a"
    variables: dict[str, str] = Field(default_factory=dict)
    shape: Shape = Field(default_factory=Shape)
    shapes: list[Shape] = Field(default_factory=list[Shape])


class OtherRay(dg.ConfigurableResource[Any]):
    image: str | None = None


class SmallRayComponent(RayComponent):
    """A small Ray."""

    resource_types: ClassVar[tuple[type[dg.ConfigurableResource[Any]], ...]] = (SmallRay,)


class ChoiceComponent(RayComponent):
    """One of two, or none."""

    resource_types: ClassVar[tuple[type[dg.ConfigurableResource[Any]], ...]] = (SmallRay, OtherRay)
    may_lack_resource: ClassVar[bool] = True


def loaded(attributes: Mapping[str, Any], kind: type[RayComponent] = SmallRayComponent) -> RayComponent:
    return kind.from_attributes_dict(attributes=dict(attributes))


def resources_of(component: RayComponent) -> Mapping[str, Any]:
    return component.build_defs(dg.ComponentTree.for_test().load_context).resources or {}


ACCEPTED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing: the resource's defaults": ({}, {"image": None, "workers": 1}),
    "a number": ({"workers": 3}, {"workers": 3}),
    "text that is a template": ({"image": "repo/{{ env.TAG }}"}, {"image": "repo/7"}),
    "a number that is a template": ({"workers": "{{ env.TAG }}"}, {"workers": 7}),
    "a template in a free dictionary, where digits become a number": (
        {"shape": {"free": {"a": ["{{ env.TAG }}", "v{{ env.TAG }}"]}}},
        {"shape": Shape(free={"a": [7, "v7"]})},
    ),
    "a template without its variable: nothing": ({"image": "{{ env.NOT_THERE }}"}, {"image": None}),
    "a reference where text is taken": ({"image": {"env": "IMAGE"}}, {"image": dg.EnvVar("IMAGE")}),
    "a reference in a dictionary of text": (
        {"variables": {"A": {"env": "IMAGE"}, "env": "b"}},
        {"variables": {"A": dg.EnvVar("IMAGE"), "env": "b"}},
    ),
    "a dictionary of text that looks like a reference": ({"variables": {"env": "b"}}, {"variables": {"env": "b"}}),
    "a reference in a nested field, by its alias": (
        {"shapes": [{"zoneName": {"env": "ZONE"}}]},
        {"shapes": [Shape(zoneName=dg.EnvVar("ZONE"))]},
    ),
    "a reference in a free dictionary is left to the backend": (
        {"shape": {"free": {"a": {"env": "ZONE"}}}},
        {"shape": Shape(free={"a": {"env": "ZONE"}})},
    ),
}


@pytest.mark.parametrize(("attributes", "expected"), ACCEPTED.values(), ids=ACCEPTED)
def test_attributes_are_the_fields_of_the_resource(
    attributes: dict[str, Any], expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAG", "7")
    resources = resources_of(loaded(attributes))

    assert list(resources) == ["ray_cluster"]
    found = {name: getattr(resources["ray_cluster"], name) for name in expected}
    assert found == expected
    assert [type(found["image"])] == [type(expected["image"])] if "image" in expected else True


def test_a_reference_is_read_when_a_step_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    component = loaded({"image": {"env": "IMAGE"}, "resource_key": "small"})
    monkeypatch.setenv("IMAGE", "repo/later")
    seen: list[str | None] = []

    @dg.asset
    def reads(small: SmallRay) -> None:
        seen.append(small.image)

    assert dg.materialize([reads], resources=resources_of(component)).success
    assert seen == ["repo/later"]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a misspelled field": ({"imag": "i"}, "imag"),
    "a value of a wrong type": ({"workers": "many"}, "workers"),
    "a value that the resource refuses": ({"workers": 0}, "workers"),
    "a misspelled field further down": ({"shape": {"fre": {}}}, "Shape has no field `fre`. To fix: write `free`"),
    "a scalar where a mapping belongs": ({"shape": 3}, "shape"),
    "a template of digits where text is taken": ({"image": "{{ env.TAG }}"}, "image"),
    "a template without its variable where nothing is not taken": ({"workers": "{{ env.NOT_THERE }}"}, "workers"),
}


@pytest.mark.parametrize(("attributes", "named"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_meant_is_named(attributes: dict[str, Any], named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAG", "7")
    with pytest.raises(ValidationError, match=named):
        loaded(attributes)


def test_in_python_the_attributes_are_keyword_arguments() -> None:
    given = Shape(free={"a": 1})
    component = SmallRayComponent(resource_key="small", shape=given, workers=2)

    made = resources_of(component)["small"]
    assert (made.shape, made.workers) == (given, 2)
    with pytest.raises(UnknownFieldError, match=r"SmallRayComponent has no field `wokers`.*write `workers`"):
        SmallRayComponent(wokers=2)


def test_a_component_may_have_a_choice_of_resources() -> None:
    assert type(loaded({}, ChoiceComponent).ray_cluster) is SmallRay
    assert type(loaded({"resource": "OtherRay", "image": "i"}, ChoiceComponent).ray_cluster) is OtherRay
    assert resources_of(loaded({"resource": None}, ChoiceComponent)) == {}
    with pytest.raises(ValidationError, match="resource"):
        loaded({"resource": "ThirdRay"}, ChoiceComponent)
    with pytest.raises(UnknownFieldError, match="ChoiceComponent without a resource has no field `image`"):
        loaded({"resource": None, "image": "i"}, ChoiceComponent)


def test_the_schema_has_the_descriptions_of_the_resource() -> None:
    schema = ChoiceComponent.model().model_json_schema()

    assert list(schema["properties"])[:2] == ["resource_key", "resource"]
    assert schema["properties"]["image"]["description"] == "The image."
    assert schema["additionalProperties"] is False
