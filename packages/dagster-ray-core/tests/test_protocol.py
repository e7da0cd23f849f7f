"""`RayResource` as an annotation, and what conforms to it."""

# Dagster's decorators are typed in part only.
# pyright: reportUnknownMemberType=false

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from plain_cluster import PlainCluster

from dagster_ray.core import BaseRayResource, RayResource, require_ray_resource
from dagster_ray.core._protocol import MEMBERS, missing_members
from dagster_ray.core.errors import NotARayResourceError, NotConnectedError

RESOURCES = {"ray_cluster": PlainCluster()}
seen: list[object] = []


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    seen.clear()


class Annotated:
    address: str


class InInit:
    def __init__(self) -> None:
        self.address = "here"


def all_but(*names: str) -> tuple[str, ...]:
    return tuple(name for name in MEMBERS if name not in names)


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        pytest.param(PlainCluster(), (), id="an object with all members lacks none"),
        pytest.param(BaseRayResource, (), id="fields of a config class are members"),
        pytest.param(PlainCluster, ("lifecycle",), id="a class lacks what its constructor sets"),
        pytest.param(object(), MEMBERS, id="an object without any lacks all"),
        pytest.param(Annotated, all_but("address"), id="an annotation of the class is a member"),
        pytest.param(InInit(), all_but("address"), id="an attribute of the object is a member"),
        pytest.param(InInit, MEMBERS, id="its class does not show it"),
    ],
)
def test_missing_members(candidate: object, expected: tuple[str, ...]) -> None:
    assert missing_members(candidate) == expected


def test_members_are_those_of_the_protocol() -> None:
    names = {name for name in vars(RayResource) if not name.startswith("_")}
    assert sorted(names) == list(MEMBERS)


def test_a_property_that_raises_is_not_evaluated() -> None:
    cluster = PlainCluster()
    assert isinstance(cluster, RayResource)
    assert missing_members(cluster) == ()
    with pytest.raises(NotConnectedError):
        _ = cluster.context


def test_require_ray_resource_returns_what_conforms() -> None:
    cluster = PlainCluster()
    assert require_ray_resource(cluster, where="here") is cluster


def test_require_ray_resource_names_what_is_missing_and_where() -> None:
    with pytest.raises(NotARayResourceError, match="asset `train` needs a RayResource but got InInit, which lacks: cl"):
        require_ray_resource(InInit(), where="asset `train`")


@dg.asset
def one_asset(ray_cluster: RayResource) -> None:
    seen.append(ray_cluster)


@dg.multi_asset(specs=[dg.AssetSpec("first"), dg.AssetSpec("second")])
def several_assets(ray_cluster: RayResource) -> Iterator[dg.MaterializeResult[Any]]:
    seen.append(ray_cluster)
    yield from (dg.MaterializeResult(asset_key=key) for key in ("first", "second"))


@dg.asset_check(asset=one_asset)
def one_check(ray_cluster: RayResource) -> dg.AssetCheckResult:
    seen.append(ray_cluster)
    return dg.AssetCheckResult(passed=True)


@dg.op
def one_op(ray_cluster: RayResource) -> None:
    seen.append(ray_cluster)


@dg.job(resource_defs={"ray_cluster": dg.ResourceDefinition.hardcoded_resource(RESOURCES["ray_cluster"])})
def one_job() -> None:
    one_op()


@dg.sensor(job=one_job)
def one_sensor(ray_cluster: RayResource) -> dg.SkipReason:
    seen.append(ray_cluster)
    return dg.SkipReason("seen")


@dg.schedule(job=one_job, cron_schedule="@daily")
def one_schedule(ray_cluster: RayResource) -> dg.SkipReason:
    seen.append(ray_cluster)
    return dg.SkipReason("seen")


class Trainer(dg.ConfigurableResource[Any]):
    cluster: dg.ResourceDependency[RayResource]


@dg.asset
def trained(trainer: Trainer) -> None:
    seen.append(trainer.cluster)


@pytest.mark.parametrize(
    "asset", [pytest.param(one_asset, id="an asset"), pytest.param(several_assets, id="a multi-asset")]
)
def test_a_bare_annotation_is_a_resource_in(asset: dg.AssetsDefinition) -> None:
    assert dg.materialize([asset], resources=RESOURCES).success
    assert seen == [RESOURCES["ray_cluster"]]


def test_a_bare_annotation_is_a_resource_in_an_asset_check() -> None:
    assert dg.materialize([one_asset, one_check], resources=RESOURCES).success
    assert seen == [RESOURCES["ray_cluster"]] * 2


def test_a_bare_annotation_is_a_resource_in_an_op() -> None:
    assert one_job.execute_in_process().success
    assert seen == [RESOURCES["ray_cluster"]]


def test_a_bare_annotation_is_a_resource_in_a_sensor() -> None:
    with dg.build_sensor_context(resources=RESOURCES) as context:
        one_sensor.evaluate_tick(context)
    assert seen == [RESOURCES["ray_cluster"]]


def test_a_bare_annotation_is_a_resource_in_a_schedule() -> None:
    with dg.build_schedule_context(resources=RESOURCES) as context:
        one_schedule.evaluate_tick(context)
    assert seen == [RESOURCES["ray_cluster"]]


def test_another_resource_can_depend_on_it() -> None:
    trainer = Trainer(cluster=RESOURCES["ray_cluster"])
    assert dg.materialize([trained], resources={"trainer": trainer}).success
    assert seen == [RESOURCES["ray_cluster"]]


def test_a_direct_call_takes_any_backend() -> None:
    cluster = PlainCluster()
    one_asset(ray_cluster=cluster)
    assert seen == [cluster]


def test_a_key_that_is_not_bound_is_an_error_when_the_code_location_loads() -> None:
    definitions = dg.Definitions(assets=[one_asset])
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="ray_cluster"):
        dg.Definitions.validate_loadable(definitions)


def test_other_annotations_are_inputs_as_before() -> None:
    @dg.asset(ins={"number": dg.AssetIn("first")})
    def plain(number: int) -> None:
        pass

    assert plain.required_resource_keys == {"io_manager"}
