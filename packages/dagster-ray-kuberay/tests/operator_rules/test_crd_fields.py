"""The table of the CRDs' fields."""

import subprocess
import sys
from pathlib import Path

import pytest

from dagster_ray.kuberay._operator_rules import crd_fields
from dagster_ray.kuberay._operator_rules.crd_fields import (
    FIELDS_SINCE,
    KINDS,
    CrdKind,
    field_at,
    field_exists,
    first_version,
    release,
    root,
    versions,
    which_versions_have,
)

TABLE = Path(crd_fields.__file__).with_name("crd_fields.json")


@pytest.mark.parametrize(
    ("path", "having", "first"),
    [
        ("spec.entrypoint", versions(), "1.3"),
        ("spec.deletionPolicy", ("1.3", "1.4"), "1.3"),
        ("spec.rayClusterSpec.autoscalerOptions.version", ("1.4", "1.5", "1.6", "1.7"), "1.4"),
        ("spec.deletionStrategy.onSuccess.policy", ("1.5", "1.6", "1.7"), "1.5"),
        ("spec.rayClusterSpec.authOptions.mode", ("1.5", "1.6", "1.7"), "1.5.1"),
        ("spec.rayClusterSpec.authOptions.secretName", ("1.6", "1.7"), "1.6"),
        ("spec.deletionStrategy.deletionRules[0].condition.jobDeploymentStatus", ("1.6", "1.7"), "1.6"),
        ("spec.preRunningDeadlineSeconds", ("1.6", "1.7"), "1.6"),
        ("spec.rayClusterSpec.workerGroupSpecs[].priority", ("1.7",), "1.7"),
        ("spec.rayClusterSpec.workerGroupSpecs[3].template.spec.containers[0].imagee", (), None),
        ("spec.rayClusterSpec.headGroupSpec.rayStartParams.num-cpus", versions(), "1.3"),
        ("spec.nonsense", (), None),
    ],
)
def test_a_field_is_known_since_the_release_that_brought_it(
    path: str, having: tuple[str, ...], first: str | None
) -> None:
    assert which_versions_have("RayJob", path) == having
    assert first_version("RayJob", path) == first


def test_a_patch_release_can_bring_a_field() -> None:
    assert not field_exists("RayCluster", "1.5.0", "spec.authOptions")
    assert field_exists("RayCluster", "1.5.1", "spec.authOptions")
    assert field_exists("RayCluster", "1.5", "spec.authOptions")


def test_releases_before_the_oldest_and_after_the_newest_count_as_those() -> None:
    assert root("RayJob", "1.2.0") is root("RayJob", "1.3")
    assert root("RayJob", "v1.9.0") is root("RayJob", "1.7.0")


def test_what_is_no_version_is_refused() -> None:
    with pytest.raises(ValueError, match="'latest' is not a version of KubeRay"):
        release("latest")


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_with_a_first_release_is_in_the_newest_table(kind: CrdKind) -> None:
    assert [path for path in FIELDS_SINCE[kind] if not field_exists(kind, "1.7", path)] == []


def test_what_was_required_in_older_releases_is_required_there() -> None:
    def required(version: str, path: str) -> tuple[str, ...]:
        field = field_at("RayCluster", version, path)
        assert field is not None
        return field.required

    assert required("1.3", "spec.headGroupSpec") == ("rayStartParams", "template")
    assert required("1.4", "spec.headGroupSpec") == ("template",)
    assert required("1.6", "spec.gcsFaultToleranceOptions") == ("redisAddress",)
    assert required("1.7", "spec.gcsFaultToleranceOptions") == ()


def test_the_table_is_small_and_has_no_descriptions() -> None:
    text = TABLE.read_text("utf-8")
    assert len(text) < 50_000
    assert "description" not in text


def test_importing_the_look_ups_does_not_read_the_table() -> None:
    script = (
        "import dagster_ray.kuberay._operator_rules.crd_fields as fields\n"
        "import dagster_ray.kuberay._operator_rules.verdicts as rules\n"
        "rules.rayjob_rejections({}, '1.7.0')\n"
        "assert fields._tables.cache_info().currsize == 0\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
