"""What a step's start-up looks like in Dagster."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import pytest

from dagster_ray.core import RayResource, startup_metadata


@dataclass
class Connected:
    """The members of a backend that describe it."""

    dashboard_url: str | None = "http://head:8265"
    display_name: str = "Ray at head"
    job_id: str = "01000000"


@dataclass
class Measured(Connected):
    """A backend that measures its phases."""

    @property
    def startup_seconds(self) -> Mapping[str, float]:
        return {"create": 0.25, "connect": 1.0}


WHERE = ["dagster_ray/cluster", "dagster_ray/dashboard", "dagster_ray/job_id"]
TOOK = ["dagster_ray/startup_seconds", "dagster_ray/create_seconds", "dagster_ray/connect_seconds"]


@pytest.mark.parametrize(
    ("resource", "seconds", "keys"),
    [
        pytest.param(Measured(), None, WHERE + TOOK, id="what the resource has measured, the link among the first"),
        pytest.param(Connected(), None, WHERE, id="nothing was measured"),
        pytest.param(Connected(), {"create": 1.0, "connect": 2.0}, WHERE + TOOK, id="what somebody else has measured"),
        pytest.param(Connected(None), None, [WHERE[0], WHERE[2]], id="no dashboard"),
    ],
)
def test_the_metadata_of_a_start(resource: Connected, seconds: Mapping[str, float] | None, keys: list[str]) -> None:
    metadata = startup_metadata(cast("RayResource", resource), seconds)
    assert list(metadata) == keys
    if "dagster_ray/startup_seconds" in metadata:
        assert metadata["dagster_ray/startup_seconds"].value == sum((seconds or {"": 1.25}).values())
