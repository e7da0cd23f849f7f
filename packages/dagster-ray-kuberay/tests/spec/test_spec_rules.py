"""What KubeRay refuses is refused when the configuration is built, with the field and what to do."""

import pickle
from typing import Any

import pytest

from dagster_ray.kuberay._operator_rules.verdicts import rayjob_rejections
from dagster_ray.kuberay._spec.errors import InvalidSpecError, SpecFileError
from dagster_ray.kuberay._spec.rules import check_object
from dagster_ray.kuberay.errors import MissingVariableError

SELF = {"policy": "DeleteSelf"}
NONE = {"policy": "DeleteNone"}
STRATEGY = "spec.deletionStrategy"
RULES = f"{STRATEGY}.deletionRules"
GROUP = "spec.rayClusterSpec.workerGroupSpecs[0]"


def rule(policy: str, ttl: int = 0, **condition: str) -> dict[str, Any]:
    return {"policy": policy, "condition": {**(condition or {"jobStatus": "SUCCEEDED"}), "ttlSeconds": ttl}}


def legacy(success: dict[str, Any], failure: dict[str, Any]) -> dict[str, Any]:
    return {"deletionStrategy": {"onSuccess": success, "onFailure": failure}}


def rules(*given: dict[str, Any]) -> dict[str, Any]:
    return {"deletionStrategy": {"deletionRules": list(given)}}


def group(**fields: Any) -> dict[str, Any]:
    return {"rayClusterSpec": {"workerGroupSpecs": [{"groupName": "g", **fields}]}}


def head(**fields: Any) -> dict[str, Any]:
    return {"rayClusterSpec": {"headGroupSpec": fields}}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        pytest.param({"ttlSecondsAfterFinished": -1}, "spec.ttlSecondsAfterFinished", id="a negative time"),
        pytest.param(
            {"ttlSecondsAfterFinished": 1, "shutdownAfterJobFinishes": False},
            "spec.ttlSecondsAfterFinished",
            id="a time without shutdown",
        ),
        pytest.param({"suspend": True, "shutdownAfterJobFinishes": False}, "spec.suspend", id="suspend, no shutdown"),
        pytest.param({"deletionStrategy": {}}, f"{STRATEGY}.onSuccess", id="an empty strategy"),
        pytest.param({"deletionStrategy": {"onSuccess": SELF}}, f"{STRATEGY}.onFailure", id="one outcome of two"),
        pytest.param(legacy(SELF, {}), f"{STRATEGY}.onFailure.policy", id="no policy"),
        pytest.param(
            {**legacy(NONE, SELF), "shutdownAfterJobFinishes": True},
            f"{STRATEGY}.onSuccess.policy",
            id="DeleteNone and shutdown",
        ),
        pytest.param(
            {**legacy(SELF, NONE), "ttlSecondsAfterFinished": 5},
            f"{STRATEGY}.onFailure.policy",
            id="DeleteNone and a time, which needs shutdown",
        ),
        pytest.param(
            {**legacy(NONE, SELF), "suspend": True}, f"{STRATEGY}.onSuccess.policy", id="DeleteNone and suspend"
        ),
        pytest.param(
            {"deletionStrategy": {"onSuccess": SELF, "deletionRules": [rule("DeleteSelf")]}},
            f"{STRATEGY}.onSuccess",
            id="both forms",
        ),
        pytest.param(rules(), RULES, id="no rules"),
        pytest.param({**rules(rule("DeleteSelf")), "shutdownAfterJobFinishes": True}, RULES, id="rules and shutdown"),
        pytest.param({**rules(rule("DeleteSelf")), "ttlSecondsAfterFinished": 5}, RULES, id="rules and a time"),
        pytest.param(rules({"policy": "DeleteSelf"}), f"{RULES}[0].condition", id="a rule without a condition"),
        pytest.param(
            rules(rule("DeleteSelf", jobStatus="FAILED", jobDeploymentStatus="Failed")),
            f"{RULES}[0].condition",
            id="two conditions in one",
        ),
        pytest.param(rules(rule("DeleteSelf", -1)), f"{RULES}[0].condition.ttlSeconds", id="a rule's negative time"),
        pytest.param(rules(rule("DeleteSelf"), rule("DeleteSelf", 5)), f"{RULES}[1]", id="a rule twice"),
        pytest.param(rules(rule("DeleteCluster", 9), rule("DeleteSelf", 5)), RULES, id="less is deleted after more"),
        pytest.param(
            {**rules(rule("DeleteWorkers")), "rayClusterSpec": {"enableInTreeAutoscaling": True}},
            f"{RULES}[0].policy",
            id="DeleteWorkers with autoscaling",
        ),
        pytest.param({"backoffLimit": 2}, "spec.backoffLimit", id="retries of the operator"),
        pytest.param({"activeDeadlineSeconds": 0}, "spec.activeDeadlineSeconds", id="no time to run"),
        pytest.param({"preRunningDeadlineSeconds": -5}, "spec.preRunningDeadlineSeconds", id="no time to start"),
        pytest.param({"somethingNew": {"some_key": 1}}, "spec.somethingNew.some_key", id="snake_case in a dictionary"),
        pytest.param(
            {"rayClusterSpec": {"authOptions": {"mode": "token"}, "rayVersion": "2.51.2"}},
            "spec.rayClusterSpec.authOptions.mode",
            id="tokens on an old Ray",
        ),
        pytest.param(
            {"rayClusterSpec": {"authOptions": {"enableK8sTokenAuth": True}}},
            "spec.rayClusterSpec.authOptions.enableK8sTokenAuth",
            id="Kubernetes' tokens",
        ),
        pytest.param(
            {"rayClusterSpec": {"upgradeStrategy": {"type": "Recreate"}}},
            "spec.rayClusterSpec.upgradeStrategy",
            id="an upgrade strategy",
        ),
        pytest.param(group(groupName=None), f"{GROUP}.groupName", id="a group without a name"),
        pytest.param(group(groupName="Big_Group"), f"{GROUP}.groupName", id="a group's name that is none"),
        pytest.param(
            {"rayClusterSpec": {"workerGroupSpecs": [{"groupName": "g"}, {"groupName": "g"}]}},
            "spec.rayClusterSpec.workerGroupSpecs[1].groupName",
            id="two groups of one name",
        ),
        pytest.param(group(minReplicas=3, maxReplicas=2), f"{GROUP}.minReplicas", id="bounds that cross"),
        pytest.param(group(replicas=-1), f"{GROUP}.replicas", id="fewer than no replicas"),
        pytest.param(group(group_name="x"), f"{GROUP}.group_name", id="snake_case in a group"),
        pytest.param(group(rayStartParams=[1]), f"{GROUP}.rayStartParams", id="parameters as a list"),
        pytest.param(group(template="x"), f"{GROUP}.template", id="a template that is text"),
        pytest.param(
            group(template={"spec": {"containers": []}}), f"{GROUP}.template.spec.containers", id="no containers"
        ),
        pytest.param(
            group(template={"spec": {"containers": [{}, {"image": "i"}]}}),
            f"{GROUP}.template.spec.containers[1].name",
            id="a second container without a name",
        ),
        pytest.param(
            group(template={"spec": {"containers": [{"volume_mounts": []}]}}),
            f"{GROUP}.template.spec.containers[0].volume_mounts",
            id="snake_case in a container",
        ),
        pytest.param(
            head(rayStartParams={"labels": "a=b"}),
            "spec.rayClusterSpec.headGroupSpec.rayStartParams.labels",
            id="labels as a parameter",
        ),
        pytest.param(
            head(rayStartParams={"num-cpus": "1"}, resources={"CPU": "1"}),
            "spec.rayClusterSpec.headGroupSpec.rayStartParams.num-cpus",
            id="CPUs in two places",
        ),
        pytest.param(
            {
                "rayClusterSpec": {
                    "enableInTreeAutoscaling": True,
                    "workerGroupSpecs": [{"groupName": "g", "suspend": True}],
                }
            },
            f"{GROUP}.suspend",
            id="a suspended group with autoscaling",
        ),
        pytest.param(
            head(template={"metadata": {"labels": {"bad key": "x"}}}),
            "spec.rayClusterSpec.headGroupSpec.template.metadata.labels",
            id="a label of a pod with a space in its key",
        ),
        pytest.param(
            group(template={"metadata": {"annotations": {"a/b/c": "x"}}}),
            f"{GROUP}.template.metadata.annotations",
            id="an annotation of a pod with two slashes in its key",
        ),
        pytest.param(
            group(template={"spec": {"nodeSelector": {"-disk": "ssd"}}}),
            f"{GROUP}.template.spec.nodeSelector",
            id="a node selector whose key begins with a hyphen",
        ),
        pytest.param(
            {"rayClusterSpec": {"headServiceAnnotations": {"bad key!": "x"}}},
            "spec.rayClusterSpec.headServiceAnnotations",
            id="an annotation of the Service with a space in its key",
        ),
    ],
)
def test_a_spec_is_refused_with_the_field_that_is_wrong(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        check_object("RayJob", {}, spec)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        pytest.param({"name": "a" * 48}, "metadata.name", id="a long name"),
        pytest.param({"name": "1st"}, "metadata.name", id="a digit first"),
        pytest.param({"name": "a.b"}, "metadata.name", id="a dot"),
        pytest.param({"namespace": "../../../api/v1/namespaces/kube-system"}, "metadata.namespace", id="a path"),
        pytest.param({"namespace": "a" * 64}, "metadata.namespace", id="a long namespace"),
        pytest.param({"generateName": "a-"}, "metadata.generateName", id="a generated name"),
        pytest.param({"label": {}}, "metadata.label", id="a misspelled key"),
        pytest.param({"uid": "x"}, "metadata.uid", id="what only the server writes"),
        pytest.param({"labels": ["a"]}, "metadata.labels", id="labels as a list"),
        pytest.param({"labels": {"team, prod": "x"}}, "metadata.labels", id="a label's key with a space"),
        pytest.param({"labels": {"!x": "y"}}, "metadata.labels", id="a label's key with a character of selectors"),
        pytest.param({"labels": {"": "y"}}, "metadata.labels", id="a label's empty key"),
        pytest.param({"labels": {"/x": "y"}}, "metadata.labels", id="a label's key with an empty domain"),
        pytest.param({"labels": {"Example.com/x": "y"}}, "metadata.labels", id="a label's domain in capitals"),
        pytest.param({"labels": {"a" * 64: "y"}}, "metadata.labels", id="a label's key of 64 characters"),
        pytest.param({"annotations": {"bad key!": "x"}}, "metadata.annotations", id="an annotation's key"),
    ],
)
def test_metadata_is_refused_with_the_field_that_is_wrong(metadata: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        check_object("RayJob", metadata, {})
    assert caught.value.field == field


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"backoffLimit": 0}, id="no retries"),
        pytest.param(legacy(SELF, SELF), id="the older form"),
        pytest.param({**legacy(SELF, SELF), "ttlSecondsAfterFinished": 3600}, id="the older form and a time"),
        pytest.param(
            rules(rule("DeleteWorkers", 1), rule("DeleteSelf", 1), rule("DeleteSelf", 0, jobDeploymentStatus="Failed")),
            id="rules",
        ),
        pytest.param({"ttlSecondsAfterFinished": {"env": "TTL"}}, id="a value that is not known yet"),
        pytest.param(legacy({"policy": {"env": "POLICY"}}, SELF), id="a policy that is not known yet"),
        pytest.param(group(groupName={"env": "G"}, replicas={"env": "N"}), id="a group that is not known yet"),
        pytest.param(group(template={"metadata": {"labels": {"my_team": "a"}}}), id="an underscore in a label"),
    ],
)
def test_what_may_be_said_is_not_refused(spec: dict[str, Any]) -> None:
    labels = {"my_team": "x", "example.com/Team.A-b_c": "y", f"{'a' * 253}/{'b' * 63}": "z", "env": "prod"}
    check_object(
        "RayJob", {"name": "a" * 47, "labels": labels, "annotations": {"Example.com/x": "any text, in any form"}}, spec
    )


def test_a_raycluster_may_have_a_longer_name_than_a_rayjob() -> None:
    check_object("RayCluster", {"name": "a" * 53}, {"upgradeStrategy": {"type": "Recreate"}})
    with pytest.raises(InvalidSpecError, match="may have 53"):
        check_object("RayCluster", {"name": "a" * 54}, {})


@pytest.mark.parametrize(
    "spec",
    [
        {"ttlSecondsAfterFinished": -1},
        {"ttlSecondsAfterFinished": 1, "shutdownAfterJobFinishes": False},
        {"suspend": True, "shutdownAfterJobFinishes": False},
        legacy(SELF, {}),
        {**legacy(NONE, SELF), "shutdownAfterJobFinishes": True},
        {**rules(rule("DeleteSelf")), "shutdownAfterJobFinishes": True},
        rules(rule("DeleteSelf"), rule("DeleteSelf", 5)),
        rules(rule("DeleteCluster", 9), rule("DeleteSelf", 5)),
        {"backoffLimit": 2},
        {"activeDeadlineSeconds": 0},
    ],
)
def test_the_operator_refuses_the_same(spec: dict[str, Any]) -> None:
    template = {"spec": {"containers": [{"name": "r", "image": "i"}]}}
    cluster = {"headGroupSpec": {"rayStartParams": {}, "template": template}}
    job = {"metadata": {"name": "a"}, "spec": {"submissionMode": "InteractiveMode", "rayClusterSpec": cluster, **spec}}
    assert rayjob_rejections(job, "1.7.0")
    with pytest.raises(InvalidSpecError):
        check_object("RayJob", {}, spec)


def test_the_operators_words_come_with_the_field_and_what_to_do() -> None:
    env = [{"name": "RAY_REDIS_ADDRESS", "value": "redis:6379"}]
    spec = {"rayClusterSpec": {"headGroupSpec": {"template": {"spec": {"containers": [{"name": "h", "env": env}]}}}}}
    with pytest.raises(InvalidSpecError) as caught:
        check_object("RayJob", {}, spec)
    assert caught.value.field == "spec.rayClusterSpec.headGroupSpec.template.spec.containers[0].env"
    assert "is refused by the operator: RAY_REDIS_ADDRESS is set" in str(caught.value)
    assert "To fix: remove RAY_REDIS_ADDRESS; give gcsFaultToleranceOptions.redisAddress" in str(caught.value)


def test_what_is_absent_is_not_known_of_what_a_user_wrote_and_a_default_of_what_is_finished() -> None:
    spec: dict[str, Any] = {"suspend": True, "rayClusterSpec": {}}
    check_object("RayJob", {}, spec)
    with pytest.raises(InvalidSpecError, match=r"spec.suspend"):
        check_object("RayJob", {"name": "a"}, spec, is_whole=True)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            InvalidSpecError("spec.suspend", "is true", "leave it out", "KubeRay >= 1.5"),
            "`spec.suspend` is true (KubeRay >= 1.5). To fix: leave it out. [dagster-ray: invalid-spec]",
        ),
        (
            SpecFileError("job.yaml", "kind", "'Pod' is neither RayJob nor RayCluster", "name another file"),
            "`kind` in job.yaml cannot be used: 'Pod' is neither RayJob nor RayCluster. To fix: name another "
            "file. [dagster-ray: spec-file]",
        ),
        (
            MissingVariableError("TEAM", "metadata.labels.team"),
            "`metadata.labels.team` refers to the environment variable TEAM, which is not set. To fix: set "
            "TEAM in the environment of the Dagster step. [dagster-ray: missing-variable]",
        ),
    ],
)
def test_errors_say_what_to_do_and_pickle(error: Exception, text: str) -> None:
    assert str(error) == text
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), text)
