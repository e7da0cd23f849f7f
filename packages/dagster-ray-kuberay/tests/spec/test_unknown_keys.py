"""Keys that KubeRay's CRDs do not have: a known one misspelled is an error, another one is said once and sent."""

# Dagster's config classes are typed in part only.
# pyright: reportUnknownMemberType=false, reportArgumentType=false

import logging
from typing import Any

import pytest
from pydantic import ValidationError

from dagster_ray.kuberay._spec.manifests import RenderInput, render_raycluster
from dagster_ray.kuberay.configs import InteractiveRayJobConfig, RayClusterConfig


def pod(container: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"template": {"spec": {"containers": [{"name": "r", "image": "i", **(container or {})}], **spec}}}


def group(**given: Any) -> dict[str, Any]:
    return {"headGroupSpec": pod(), "workerGroupSpecs": [{"groupName": "g", **pod(), **given}]}


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "of the cluster": ({"rayVersio": "2.60.0"}, "spec.rayVersio", "rayVersion"),
    "a list of the cluster": ({"workerGroupSpec": []}, "spec.workerGroupSpec", "workerGroupSpecs"),
    "of a group": (group(maxReplica=3), "spec.workerGroupSpecs[0].maxReplica", "maxReplicas"),
    "a map of a group": (group(rayStartParam={}), "spec.workerGroupSpecs[0].rayStartParam", "rayStartParams"),
    "of the autoscaler": (
        {"autoscalerOptions": {"idleTimeoutSecond": 1}},
        "spec.autoscalerOptions.idleTimeoutSecond",
        "idleTimeoutSeconds",
    ),
    "of a pod": (
        {"headGroupSpec": pod(nodeSelectr={"a": "b"})},
        "spec.headGroupSpec.template.spec.nodeSelectr",
        "nodeSelector",
    ),
    "of a container": (
        {"headGroupSpec": pod({"resourcs": {"limits": {"cpu": "1"}}})},
        "spec.headGroupSpec.template.spec.containers[0].resourcs",
        "resources",
    ),
}


@pytest.mark.parametrize(("spec", "field", "meant"), WRONG.values(), ids=WRONG)
def test_a_key_within_two_edits_of_a_known_one_is_an_error(spec: dict[str, Any], field: str, meant: str) -> None:
    for build, path in (
        (lambda: RayClusterConfig(spec=spec), field),
        (
            lambda: InteractiveRayJobConfig(spec={"rayClusterSpec": spec}),
            field.replace("spec.", "spec.rayClusterSpec.", 1),
        ),
    ):
        with pytest.raises(ValidationError) as caught:
            build()
        assert f"`{path}` is not a field of KubeRay or Kubernetes. To fix: write `{meant}`" in str(caught.value)


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"brandNew": {"a": 1}}, id="of the cluster"),
        pytest.param(group(brandNew=1), id="of a group"),
        pytest.param({"headGroupSpec": pod(brandNew=True)}, id="of a pod"),
        pytest.param({"headGroupSpec": pod({"brandNew": []})}, id="of a container"),
    ],
)
def test_another_unknown_key_is_said_once_and_sent(spec: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    from dagster_ray.kuberay import configs as loaded

    loaded._said.clear()  # pyright: ignore[reportPrivateUsage]
    with caplog.at_level(logging.WARNING, "dagster_ray"):
        configs = [RayClusterConfig(spec=spec) for _ in range(2)]
    (said,) = caplog.messages
    assert "brandNew` is not a field of KubeRay up to 1.7" in said
    assert "brandNew" in str(render_raycluster(configs[0].plain(), RenderInput(name="a", namespace="n", image="i")))


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"headGroupSpec": pod(nodeSelector={"nam": "a", "pool": "b"})}, id="a map of the user's keys"),
        pytest.param({"headGroupSpec": {**pod(), "rayStartParams": {"num-cpu": "1"}}}, id="start parameters"),
        pytest.param({"headGroupSpec": pod({"env": [{"name": "A", "valeu": "1"}]})}, id="below a container's fields"),
        pytest.param({"headGroupSpec": pod({"livenessProbe": {"exec": {"command": ["a"]}}})}, id="a probe"),
    ],
)
def test_what_belongs_to_the_user_or_to_the_api_server_is_not_looked_at(
    spec: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "dagster_ray"):
        RayClusterConfig(spec=spec)
    assert caplog.messages == []
