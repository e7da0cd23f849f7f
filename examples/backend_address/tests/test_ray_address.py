"""What is this backend's own: how it is found, and its addresses."""

import pickle
from collections.abc import Generator

import dagster as dg
import pytest

from dagster_ray.core import installed_backends, load_backend
from ray_address_backend import InvalidAddressError, RayAddress


@pytest.fixture
def context() -> Generator[dg.InitResourceContext]:
    """What a resource's set-up gets."""
    with dg.DagsterInstance.ephemeral() as instance:  # pyright: ignore[reportUnknownMemberType]
        yield dg.build_init_resource_context(instance=instance)


def test_it_is_found_by_its_name() -> None:
    """The entry point in pyproject.toml is all that it takes."""
    assert "address" in installed_backends()
    assert load_backend("address") is RayAddress


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("ray://head:10001", id="Ray Client by name"),
        pytest.param("10.0.0.1:6379", id="GCS by IPv4"),
        pytest.param("ray://[::1]:10001", id="Ray Client by IPv6"),
    ],
)
def test_an_address_is_accepted(context: dg.InitResourceContext, address: str) -> None:
    resource = RayAddress(ray_address=address)
    resource.create(context)
    assert resource.address == address


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("auto", id="a word of Ray's that may find another cluster"),
        pytest.param("ray://head", id="no port"),
        pytest.param("http://head:8265", id="the dashboard"),
        pytest.param("", id="nothing"),
    ],
)
def test_what_is_no_address_is_refused_when_the_step_runs(context: dg.InitResourceContext, address: str) -> None:
    with pytest.raises(InvalidAddressError, match="To fix: set `ray_address`") as caught:
        RayAddress(ray_address=address).create(context)
    assert pickle.loads(pickle.dumps(caught.value)).address == address
