"""Every field of KubeRay's CRD can be written in the configuration of a RayJob, or is refused for a reason."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from dagster_ray.kuberay._operator_rules.crd_fields import Field, field_at, field_paths
from dagster_ray.kuberay._operator_rules.verdicts import rayjob_rejections
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.manifests import RenderInput, render_rayjob
from dagster_ray.kuberay.configs import InteractiveRayJobConfig, InteractiveRayJobSpec, RayClusterSpec
from dagster_ray.simulator import admit

VERSION = "1.7.0"
CLUSTER = "spec.rayClusterSpec"
RULES = "spec.deletionStrategy.deletionRules"
GROUP = f"{CLUSTER}.workerGroupSpecs[]"
STEP = RenderInput(name="job", namespace="default", image="image", ray_version="2.60.0")
GATES = {
    "RayClusterHistoryServer": True,
    "RayClusterMTLS": True,
    "RayClusterNetworkPolicy": True,
    "GCSFaultToleranceEmbeddedStorage": True,
}

# What cannot be written, and why: the models say it for the fields of a RayJob, the operator for the others.
REFUSED: Mapping[str, str] = {f"spec.{name}": reason for name, reason in InteractiveRayJobSpec.refused.items()} | {
    f"{CLUSTER}.authOptions.enableK8sTokenAuth": "the operator does not support it for a RayJob",
    f"{CLUSTER}.upgradeStrategy": "the operator refuses it for the cluster of a RayJob",
}

# Values that the operator's rules want beside each other.
FITTING: Mapping[str, Any] = {
    "spec.backoffLimit": 0,
    "spec.managedBy": "kueue.x-k8s.io/multikueue",
    "spec.shutdownAfterJobFinishes": False,
    "spec.suspend": False,
    "spec.ttlSecondsAfterFinished": 0,
    f"{CLUSTER}.authOptions.mode": "token",
    f"{CLUSTER}.autoscalerOptions.version": "v2",
    f"{CLUSTER}.gcsFaultToleranceOptions.backend": "redis",
    f"{CLUSTER}.headGroupSpec.template.spec.restartPolicy": "Never",
    f"{CLUSTER}.managedBy": "kueue.x-k8s.io/multikueue",
    f"{CLUSTER}.rayVersion": "2.60.0",
    f"{GROUP}.template.spec.restartPolicy": "Never",
}
_REDIS = ("redisAddress", "redisUsername", "redisPassword", "externalStorageNamespace")
_LEGACY = ("spec.deletionStrategy.onSuccess", "spec.deletionStrategy.onFailure")
_STORAGE = f"{CLUSTER}.gcsFaultToleranceOptions.storage"
_FAILED = f"{RULES}[].condition.jobDeploymentStatus"
_SUSPENDED = f"{GROUP}.suspend"
APART = {*_LEGACY, _STORAGE, _FAILED, _SUSPENDED}

# A specification each: the fields that it leaves out because they exclude others, and values that they want.
SPECIFICATIONS: Mapping[str, tuple[set[str], Mapping[str, Any]]] = {
    "all that fits together": (APART, {}),
    "the older form of deletion": (APART - set(_LEGACY) | {RULES}, {"spec.shutdownAfterJobFinishes": True}),
    "deletion after a failure of the operator": (APART - {_FAILED} | {f"{RULES}[].condition.jobStatus"}, {}),
    "an embedded store": (
        APART - {_STORAGE} | {f"{CLUSTER}.gcsFaultToleranceOptions.{name}" for name in _REDIS},
        {f"{CLUSTER}.gcsFaultToleranceOptions.backend": "rocksdb"},
    ),
    "a suspended group": (
        APART - {_SUSPENDED} | {f"{GROUP}.idleTimeoutSeconds", f"{GROUP}.priority"},
        {f"{CLUSTER}.enableInTreeAutoscaling": False},
    ),
}


def sample(field: Field, path: str, left_out: set[str], fitting: Mapping[str, Any]) -> Any:
    """A value of the field's type with everything in it but what is left out."""
    if path in fitting:
        return fitting[path]
    if field.type == "object":
        inner = {
            name: sample(part, f"{path}.{name}", left_out, fitting)
            for name, part in field.properties.items()
            if f"{path}.{name}" not in left_out and f"{path}.{name}" not in REFUSED
        }
        values = {} if field.values is None else {"key": sample(field.values, f"{path}.*", left_out, fitting)}
        return inner | values
    if field.type == "array" and field.items is not None:
        return [sample(field.items, f"{path}[]", left_out, fitting)]
    if field.enum:
        return field.enum[0]
    scalars: Mapping[str, Any] = {"boolean": True, "integer": 1, "number": 1.5, "string": "a", "": "1"}
    return scalars[field.type]


def leaves(value: Any, field: Field, path: str, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str, Any, Any]]:
    """Every value in a specification: the path in the table, the place, the value; also of empty and of whole parts."""
    yield path, place, value
    if isinstance(value, dict):
        for name, part in value.items():  # pyright: ignore[reportUnknownVariableType]  # JSON
            key = str(name)  # pyright: ignore[reportUnknownArgumentType]  # JSON
            inner = field.properties.get(key)
            if inner is not None:
                yield from leaves(part, inner, f"{path}.{key}", (*place, key))
            elif field.values is not None:
                yield from leaves(part, field.values, f"{path}.*", (*place, key))
    elif isinstance(value, list) and field.items is not None:
        for number, part in enumerate(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]  # JSON
            yield from leaves(part, field.items, f"{path}[]", (*place, number))


def found(obj: Any, place: tuple[str | int, ...]) -> Any:
    for step in place:
        try:
            obj = obj[step]
        except (KeyError, IndexError, TypeError):
            return None
    return obj


def written(name: str) -> dict[str, Any]:
    left_out, fitting = SPECIFICATIONS[name]
    root = field_at("RayJob", VERSION, "spec")
    assert root is not None
    return sample(root, "spec", left_out, {**FITTING, **fitting})


def rendered(spec: dict[str, Any]) -> dict[str, Any]:
    return render_rayjob(InteractiveRayJobConfig.model_validate({"spec": spec}).plain(), STEP)


@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_what_is_written_arrives_unchanged(name: str) -> None:
    root = field_at("RayJob", VERSION, "spec")
    assert root is not None
    spec = written(name)
    manifest = rendered(spec)
    lost = [
        path
        for path, place, value in leaves(spec, root, "spec")
        if not isinstance(value, dict | list) and found(manifest["spec"], place) != value
    ]
    assert lost == []


@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_what_arrives_is_accepted_by_the_api_server_and_the_operator(name: str) -> None:
    manifest = rendered(written(name))
    admission = admit("RayJob", manifest, VERSION)
    assert admission.unknown_fields == ()
    assert admission.causes == ()
    assert rayjob_rejections(admission.object, VERSION, GATES) == ()


def test_every_field_can_be_written_or_is_refused_on_purpose() -> None:
    root = field_at("RayJob", VERSION, "spec")
    assert root is not None
    possible = {path for name in SPECIFICATIONS for path, _, _ in leaves(written(name), root, "spec")}
    impossible = [path for path, _ in field_paths("RayJob", VERSION) if path not in possible]
    assert [path for path in impossible if not any(_within(path, refused) for refused in REFUSED)] == []


def _within(path: str, start: str) -> bool:
    return path == start or path.startswith((f"{start}.", f"{start}["))


@pytest.mark.parametrize("path", [path for path in REFUSED if path != "spec.submissionMode"])
def test_what_is_refused_says_so_when_it_is_written(path: str) -> None:
    field = field_at("RayJob", "1.4" if path == "spec.deletionPolicy" else VERSION, path)
    assert field is not None
    spec: Any = sample(field, path, set(), {})
    for step in reversed(path.split(".")[1:]):
        spec = {step: spec}
    with pytest.raises((InvalidSpecError, ValidationError), match=path.rpartition(".")[2]):
        rendered(spec)


def test_fields_of_the_models_are_fields_of_the_crd() -> None:
    for model, under in ((InteractiveRayJobSpec, "spec"), (RayClusterSpec, CLUSTER)):
        parent = field_at("RayJob", VERSION, under)
        assert parent is not None
        aliases = {field.alias or name for name, field in model.model_fields.items()}
        assert aliases - set(parent.properties) == set()


def test_only_these_fields_pass_through_without_a_field_of_the_models() -> None:
    through: set[str] = set()
    for model, under in ((InteractiveRayJobSpec, "spec"), (RayClusterSpec, CLUSTER)):
        parent = field_at("RayJob", VERSION, under)
        assert parent is not None
        aliases = {field.alias or name for name, field in model.model_fields.items()}
        through |= {f"{under}.{name}" for name in parent.properties if name not in aliases}
    assert through - set(REFUSED) == {"spec.backoffLimit"}
