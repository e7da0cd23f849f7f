"""What the simulator's API server makes of objects, beyond what was recorded."""

import copy
from typing import Any

import pytest

from dagster_ray.simulator._api.schema import admit
from dagster_ray.simulator._api.schema_answers import invalid_status, strict_patch_status
from dagster_ray.simulator._api.schema_causes import UNCHECKED_RULES

Json = dict[str, Any]


def cluster(**spec: Any) -> Json:
    head = {"rayStartParams": {}, "template": {"spec": {"containers": [{"name": "ray-head"}]}}}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": "one"},
        "spec": {"headGroupSpec": head, **spec},
    }


def group(**fields: Any) -> Json:
    return {"groupName": "small", "template": {"spec": {"containers": [{"name": "ray-worker"}]}}, **fields}


def head_pod(**spec: Any) -> Json:
    return cluster(headGroupSpec={"template": {"spec": {"containers": [{"name": "ray-head", **spec}]}}})


def job(**spec: Any) -> Json:
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "one"}, "spec": spec}


def causes(obj: Json, version: str = "1.7.0", old: Json | None = None) -> list[tuple[str, str]]:
    return [(cause.field, cause.message) for cause in admit(obj["kind"], obj, version, old).causes]


UNCHECKED = (UNCHECKED_RULES.field, UNCHECKED_RULES.message)


def test_defaults_of_a_worker_group_are_filled_in() -> None:
    admitted = admit("RayCluster", cluster(workerGroupSpecs=[group()]), "1.7.0").object
    small = admitted["spec"]["workerGroupSpecs"][0]
    assert (small["replicas"], small["minReplicas"], small["maxReplicas"]) == (0, 0, 2147483647)
    assert (small["numOfHosts"], small["priority"]) == (1, 0)


def test_a_null_that_means_nothing_is_dropped_and_one_with_a_default_becomes_it() -> None:
    admission = admit("RayCluster", cluster(suspend=None, workerGroupSpecs=[group(replicas=None)]), "1.7.0")
    assert admission.causes == ()
    assert "suspend" not in admission.object["spec"]
    assert admission.object["spec"]["workerGroupSpecs"][0]["replicas"] == 0


def test_a_null_for_a_required_field_is_a_missing_one() -> None:
    assert causes(cluster(headGroupSpec=None)) == [("spec.headGroupSpec", "Required value"), UNCHECKED]


def test_what_was_sent_is_not_changed_and_not_shared() -> None:
    sent = cluster(workerGroupSpecs=[group(rayStartParams={"num-cpus": "1"})], nonsense=1)
    before = copy.deepcopy(sent)
    admitted = admit("RayCluster", sent, "1.7.0").object
    admitted["spec"]["workerGroupSpecs"][0]["rayStartParams"]["num-cpus"] = "2"
    admitted["metadata"]["name"] = "two"
    assert sent == before


def test_unknown_fields_anywhere_are_pruned_and_named() -> None:
    sent: Json = cluster(workerGroupSpecs=[group(), group(groupName="big", bar=1)])
    sent["extra"] = {}
    sent["metadata"]["owner"] = "me"
    admission = admit("RayCluster", sent, "1.7.0")
    assert admission.unknown_fields == ("extra", "metadata.owner", "spec.workerGroupSpecs[1].bar")
    assert "bar" not in admission.object["spec"]["workerGroupSpecs"][1]


def test_the_creation_timestamp_in_a_pod_template_is_an_unknown_field() -> None:
    sent = head_pod()
    sent["spec"]["headGroupSpec"]["template"]["metadata"] = {"creationTimestamp": None, "labels": {"a": "b"}}
    admission = admit("RayCluster", sent, "1.7.0")
    assert admission.unknown_fields == ("spec.headGroupSpec.template.metadata.creationTimestamp",)


@pytest.mark.parametrize("value", [1, "500m", "1.5", "2Gi"])
def test_quantities_are_numbers_or_texts(value: Any) -> None:
    assert causes(head_pod(resources={"limits": {"cpu": value}})) == []


def test_a_wrong_quantity_is_told_by_its_pattern() -> None:
    [(field, message)] = causes(head_pod(resources={"limits": {"cpu": "one"}}))
    assert field == "spec.headGroupSpec.template.spec.containers[0].resources.limits.cpu"
    assert message.startswith(f'Invalid value: "one": {field} in body should match \'^(\\+|-)?')


def test_a_quantity_of_another_type_is_told_three_times() -> None:
    found = causes(head_pod(resources={"limits": {"cpu": True}}))
    path = "spec.headGroupSpec.template.spec.containers[0].resources.limits.cpu"
    assert found == [
        (path, f'Invalid value: "boolean": {path} in body must be of type integer,string: "boolean"'),
        ("<nil>", f'Invalid value: "": "{path}" must validate at least one schema (anyOf)'),
        (path, f'Invalid value: "boolean": {path} in body must be of type integer: "boolean"'),
        UNCHECKED,
    ]


@pytest.mark.parametrize(
    ("value", "name"),
    [("2", "string"), (True, "boolean"), (1.5, "number"), ([], "array"), ({}, "object")],
)
def test_a_number_of_replicas_must_be_whole(value: Any, name: str) -> None:
    path = "spec.workerGroupSpecs[0].replicas"
    expected = (path, f'Invalid value: "{name}": {path} in body must be of type integer: "{name}"')
    assert causes(cluster(workerGroupSpecs=[group(replicas=value)])) == [expected, UNCHECKED]


def test_a_start_parameter_that_is_a_number_is_refused() -> None:
    path = "spec.workerGroupSpecs[0].rayStartParams.num-cpus"
    found = causes(cluster(workerGroupSpecs=[group(rayStartParams={"num-cpus": 1})]))
    assert found[0] == (path, f'Invalid value: "integer": {path} in body must be of type string: "integer"')


def test_two_containers_of_one_name_are_refused() -> None:
    sent = cluster()
    sent["spec"]["headGroupSpec"]["template"]["spec"]["containers"] *= 2
    assert causes(sent) == [("spec.headGroupSpec.template.spec.containers[1]", 'Duplicate value: {"name":"ray-head"}')]


def test_ports_are_told_apart_by_number_and_protocol() -> None:
    port = {"containerPort": 10001}
    assert causes(head_pod(ports=[port, {**port, "protocol": "UDP"}])) == []
    assert causes(head_pod(ports=[port, {**port, "name": "again"}])) == [
        (
            "spec.headGroupSpec.template.spec.containers[0].ports[1]",
            'Duplicate value: {"containerPort":10001,"protocol":"TCP"}',
        )
    ]


def test_an_empty_list_of_deletion_rules_has_too_few_items() -> None:
    path = "spec.deletionStrategy.deletionRules"
    assert (path, f"Invalid value: 0: {path} in body should have at least 1 items") in causes(
        job(deletionStrategy={"deletionRules": []})
    )


def test_a_deletion_condition_needs_a_status() -> None:
    rules = [{"policy": "DeleteSelf", "condition": {"ttlSeconds": 1}}]
    path = "spec.deletionStrategy.deletionRules[0].condition"
    text = "the deletion condition requires either the JobStatus or the JobDeploymentStatus field."
    assert causes(job(deletionStrategy={"deletionRules": rules})) == [(path, f"Invalid value: {text}")]


def test_a_condition_on_the_deployment_status_is_unknown_to_release_1_5() -> None:
    rules = [{"policy": "DeleteSelf", "condition": {"jobDeploymentStatus": "Failed"}}]
    admission = admit("RayJob", job(deletionStrategy={"deletionRules": rules}), "1.5.0")
    path = "spec.deletionStrategy.deletionRules[0].condition"
    assert admission.unknown_fields == (f"{path}.jobDeploymentStatus",)
    assert [cause.field for cause in admission.causes] == [f"{path}.jobStatus", "<nil>"]


def test_the_manager_cannot_be_changed_but_can_be_set() -> None:
    kueue, own = "kueue.x-k8s.io/multikueue", "ray.io/kuberay-operator"
    assert causes(cluster(managedBy=own), old=cluster()) == []
    assert causes(cluster(managedBy=kueue), old=cluster(managedBy=own)) == [
        ("spec.managedBy", f'Invalid value: "{kueue}": the managedBy field is immutable')
    ]


def test_the_deletion_policy_of_old_releases_is_checked() -> None:
    found = causes(job(deletionPolicy="Nope"), "1.4.2")
    text = (
        "the deletionPolicy field value must be either 'DeleteCluster', 'DeleteWorkers', 'DeleteSelf', or 'DeleteNone'"
    )
    assert found == [("spec.deletionPolicy", f'Invalid value: "Nope": {text}')]


def test_release_1_3_wants_start_parameters() -> None:
    sent = cluster()
    del sent["spec"]["headGroupSpec"]["rayStartParams"]
    assert causes(sent, "1.3.2") == [("spec.headGroupSpec.rayStartParams", "Required value"), UNCHECKED]
    assert causes(sent, "1.4.2") == []


def test_a_text_that_is_told_twice_stands_once_in_the_message() -> None:
    sent = cluster()
    sent["metadata"]["labels"] = {"ok": "bad value!"}
    found = admit("RayCluster", sent, "1.7.0", old=cluster()).causes
    status = invalid_status("RayCluster", "ray.io", "one", found)
    assert len(status["details"]["causes"]) == 3
    assert status["message"].count("bad value!") == 1


def test_a_strict_patch_answers_with_the_patched_object() -> None:
    status = strict_patch_status('{"spec":{"foo":1}}', ("spec.foo",))
    assert status["code"] == 422
    assert status["message"] == (
        ' "" is invalid: patch: Invalid value: "{\\"spec\\":{\\"foo\\":1}}": strict decoding error: '
        'unknown field "spec.foo"'
    )
