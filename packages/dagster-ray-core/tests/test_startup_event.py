"""What a step's start-up looks like in Dagster."""

# The event itself needs a run.
# pyright: reportPrivateUsage=false

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import dagster as dg
import pytest

from dagster_ray.core import RayResource, is_of_this_machine, startup_metadata
from dagster_ray.core._startup import _dashboard_of_event


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
        pytest.param(
            Connected("http://127.0.0.1:8265"), None, [WHERE[0], WHERE[2]], id="a link that ends with the step"
        ),
    ],
)
def test_the_metadata_of_a_start(resource: Connected, seconds: Mapping[str, float] | None, keys: list[str]) -> None:
    metadata = startup_metadata(cast("RayResource", resource), seconds)
    assert list(metadata) == keys
    if "dagster_ray/startup_seconds" in metadata:
        assert metadata["dagster_ray/startup_seconds"].value == sum((seconds or {"": 1.25}).values())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8265", True),
        ("http://localhost:8265/", True),
        ("http://[::1]:8265", True),
        ("http://10.0.0.7:8265", False),
        ("https://ray.example.org", False),
        ("http://head.ns.svc:8265", False),
    ],
)
def test_which_links_end_with_the_step(url: str, expected: bool) -> None:
    assert is_of_this_machine(url) is expected


def test_the_event_tells_such_an_address_as_text() -> None:
    resource = cast("RayResource", Connected("http://127.0.0.1:8265"))
    told = _dashboard_of_event(resource)
    assert isinstance(told, dg.TextMetadataValue)
    assert told.value == "http://127.0.0.1:8265 (on the step's machine, while the step runs)"
    linked = _dashboard_of_event(cast("RayResource", Connected("http://head:8265")))
    assert isinstance(linked, dg.UrlMetadataValue)
