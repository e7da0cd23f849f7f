"""Dagster's own page of a resource explains its fields."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest

from dagster_ray.kuberay import KubeRayCluster, KubeRayInteractiveJob
from dagster_ray.local import LocalRay


def descriptions_of(config: type[Any]) -> Iterator[tuple[str, str | None]]:
    """Yield each field of a class and of the classes in it, with its description."""
    for name, field in config.model_fields.items():
        yield f"{config.__name__}.{name}", field.description
        for part in (field.annotation, *get_args(field.annotation)):
            if hasattr(part, "model_fields"):
                yield from descriptions_of(part)


@pytest.mark.parametrize("resource", [KubeRayInteractiveJob, KubeRayCluster, LocalRay])
def test_dagsters_page_of_a_resource_explains_every_field_in_plain_text(resource: type[Any]) -> None:
    for name, description in descriptions_of(resource):
        assert description, f"{name} is not explained"
        assert "`" not in description, f"{name}: Dagster shows markup of descriptions as it is"
