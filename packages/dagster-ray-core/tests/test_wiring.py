"""A key that is bound to something else is an error when the code location loads."""

# Dagster's decorators are typed in part only.
# pyright: reportUnknownMemberType=false

from typing import Any

import dagster as dg
import pytest
from dagster._config.pythonic_config import ConfigurableResourceFactory
from plain_cluster import PlainCluster

from dagster_ray.core import RayResource, check_ray_resources
from dagster_ray.core.errors import NotARayResourceError


class Wrong(dg.ConfigurableResource[Any]):
    bucket: str = "b"


class MakesCluster(ConfigurableResourceFactory[PlainCluster]):
    queue: str = "gpu"

    def create_resource(self, context: dg.InitResourceContext) -> PlainCluster:
        return PlainCluster()


@dg.resource
def made_by_a_function(_context: dg.InitResourceContext) -> PlainCluster:
    return PlainCluster()


@dg.asset
def train(ray_cluster: RayResource) -> None:
    pass


@dg.asset
def load(bucket: Wrong) -> None:
    pass


@dg.asset_check(asset=train)
def good_enough(ray_cluster: RayResource) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@dg.op
def tune(ray_cluster: RayResource) -> None:
    pass


@dg.job
def tuning() -> None:
    tune()


def test_correct_definitions_come_back_as_they_are() -> None:
    definitions = dg.Definitions(
        assets=[train, load], jobs=[tuning], resources={"ray_cluster": PlainCluster(), "bucket": Wrong()}
    )
    assert check_ray_resources(definitions) is definitions


@pytest.mark.parametrize(
    "resource",
    [
        pytest.param(MakesCluster(), id="a factory hands out something else than itself"),
        pytest.param(made_by_a_function, id="a function's product is not known before it runs"),
        pytest.param(PlainCluster(), id="a backend that only has the members"),
    ],
)
def test_what_may_be_a_backend_passes(resource: object) -> None:
    definitions = dg.Definitions(assets=[train], resources={"ray_cluster": resource})
    assert check_ray_resources(definitions) is definitions


@pytest.mark.parametrize(
    ("definitions", "where"),
    [
        pytest.param({"assets": [train]}, "`train`, parameter `ray_cluster`,", id="an asset"),
        pytest.param({"asset_checks": [good_enough]}, "parameter `ray_cluster`,", id="an asset check"),
        pytest.param({"jobs": [tuning]}, "`tune`, parameter `ray_cluster`,", id="an op"),
    ],
)
@pytest.mark.parametrize(
    "resource", [pytest.param(Wrong(), id="another resource"), pytest.param("a text", id="any object")]
)
def test_a_wrong_resource_is_named_with_its_place(definitions: dict[str, Any], where: str, resource: object) -> None:
    loaded = dg.Definitions(**definitions, resources={"ray_cluster": resource})
    with pytest.raises(NotARayResourceError) as caught:
        check_ray_resources(loaded)
    assert where in caught.value.where
    assert caught.value.type_name == type(resource).__name__


def test_a_key_that_is_not_bound_is_left_to_dagster() -> None:
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="ray_cluster"):
        check_ray_resources(dg.Definitions(assets=[train]))


def test_definitions_without_ray_pass() -> None:
    definitions = dg.Definitions(assets=[load], resources={"bucket": Wrong()})
    assert check_ray_resources(definitions) is definitions
