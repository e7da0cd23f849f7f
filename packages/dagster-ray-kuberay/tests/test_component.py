"""A `defs.yaml` declares a cluster on Kubernetes, the cleanup sensor, or both."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

from collections.abc import Mapping
from typing import Any

import dagster as dg
import pytest
from pydantic import ValidationError

from dagster_ray.core.errors import MissingVariableError, UnknownFieldError
from dagster_ray.kuberay import ClusterPool, KubeRayCluster, KubeRayComponent, KubeRayInteractiveJob
from dagster_ray.kuberay.errors import InvalidSpecError

SPEC = {"workerGroupSpecs": [{"groupName": "cpu", "maxReplicas": 4}]}


def built(attributes: Mapping[str, Any]) -> dg.Definitions:
    component = KubeRayComponent.from_attributes_dict(attributes=dict(attributes))
    return component.build_defs(dg.ComponentTree.for_test().load_context)


def test_without_attributes_it_is_an_interactive_job_and_no_sensor() -> None:
    defs = built({})

    assert {key: type(value) for key, value in (defs.resources or {}).items()} == {"ray_cluster": KubeRayInteractiveJob}
    assert not defs.sensors


def test_it_has_the_configuration_that_python_has() -> None:
    attributes: dict[str, Any] = {
        "resource": "KubeRayCluster",
        "resource_key": "shared",
        "timeout": 900,
        "lifecycle": {"cleanup": "on_exception"},
        "env_vars": {"env": "prod"},
        "cluster_sharing": {"enabled": True, "match_labels": {"env": "prod"}},
        "ray_cluster": {"metadata": {"labels": {"env": "prod"}}, "spec": SPEC},
    }
    fields = {key: value for key, value in attributes.items() if key not in {"resource", "resource_key"}}

    assert built(attributes).resources == {"shared": KubeRayCluster(**fields)}


def test_a_pool_may_have_a_schedule() -> None:
    schedule = [{"cron": "0 8 * * 1-5", "size": 4}, {"cron": "0 19 * * *", "size": 0}]
    pool: dict[str, Any] = {"max_size": 6, "schedule": schedule, "timezone": "Europe/Berlin"}
    made = (built({"resource": "KubeRayCluster", "pool": pool}).resources or {})["ray_cluster"]

    assert made.pool == ClusterPool(**pool)


def test_an_interactive_job_keeps_the_defaults_of_its_lifecycle() -> None:
    made = (built({"lifecycle": {"connect": False}}).resources or {})["ray_cluster"]

    assert (made.lifecycle.cleanup, made.lifecycle.connect) == ("on_exception", False)


def test_the_sensor_has_the_arguments_of_its_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERY", "300")
    sensor = {
        "name": "cleanup_ray",
        "namespaces": ["a", "b"],
        "grace_seconds": "{{ env.EVERY }}",
        "minimum_interval_seconds": "{{ env.EVERY }}",
        "default_status": "RUNNING",
        "tags": {"team": "search"},
    }
    defs = built({"resource": None, "cleanup_sensor": sensor})

    assert not defs.resources
    (made,) = list(defs.sensors or [])
    assert isinstance(made, dg.SensorDefinition)
    assert (made.name, made.minimum_interval_seconds) == ("cleanup_ray", 300)
    assert (made.default_status, made.tags) == (dg.DefaultSensorStatus.RUNNING, {"team": "search"})


def test_an_empty_mapping_is_a_sensor_with_its_defaults() -> None:
    (made,) = list(built({"cleanup_sensor": {}}).sensors or [])

    assert isinstance(made, dg.SensorDefinition)
    assert (made.name, made.default_status) == ("cleanup_expired_rayclusters", dg.DefaultSensorStatus.STOPPED)


def test_arguments_of_the_sensor_may_be_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code location loads without those that a tick reads."""
    monkeypatch.setenv("EVERY", "300")
    sensor: dict[str, Any] = {
        "kubeconfig_file": {"env": "NOWHERE"},
        "grace_seconds": {"env": "GRACE"},
        "namespaces": [{"env": "TEAM"}],
        "minimum_interval_seconds": {"env": "EVERY"},
        "tags": {"env": "prod"},
    }
    (made,) = list(built({"cleanup_sensor": sensor}).sensors or [])

    assert isinstance(made, dg.SensorDefinition)
    assert (made.minimum_interval_seconds, made.tags) == (300, {"env": "prod"})
    with pytest.raises(MissingVariableError, match=r"`namespaces` refers to .* TEAM"):
        made(dg.build_sensor_context())


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a misspelled field of the cluster": (
        {"ray_job": {"spec": {"rayClusterSpec": {"ray_versio": "2.50.0"}}}},
        ValidationError,
        r"ray_job\.spec\.rayClusterSpec\s+Value error, RayClusterSpec has no field `ray_versio`. .*`ray_version`",
    ),
    "what the operator refuses": (
        {"ray_job": {"spec": {"rayClusterSpec": {"workerGroupSpecs": [{"replicas": 1}]}}}},
        ValidationError,
        r"workerGroupSpecs\[0\]\.groupName` is missing",
    ),
    "a field of the other resource": (
        {"ray_cluster": {"spec": SPEC}},
        ValidationError,
        "KubeRayInteractiveJob has no field `ray_cluster`",
    ),
    "a field without a resource": (
        {"resource": None, "timeout": 3},
        UnknownFieldError,
        "KubeRayComponent without a resource has no field `timeout`",
    ),
    "a misspelled argument of the sensor": (
        {"cleanup_sensor": {"grace_second": 3}},
        ValidationError,
        r"cleanup_sensor\.grace_second",
    ),
    "a number of the sensor that is none": (
        {"cleanup_sensor": {"grace_seconds": "soon"}},
        ValidationError,
        "grace_seconds",
    ),
    "a variable for the name of the sensor": (
        {"cleanup_sensor": {"name": {"env": "NAME"}}},
        ValidationError,
        r"cleanup_sensor\.name",
    ),
    "a number of the sensor below zero": (
        {"cleanup_sensor": {"grace_seconds": -1}},
        InvalidSpecError,
        "`grace_seconds` is -1",
    ),
}


@pytest.mark.parametrize(("attributes", "kind", "named"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_meant_is_named(attributes: dict[str, Any], kind: type[Exception], named: str) -> None:
    with pytest.raises(kind, match=named):
        built(attributes)
