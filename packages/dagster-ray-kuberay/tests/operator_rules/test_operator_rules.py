"""What the operator refuses, rule by rule and release by release. The recorded cases are in test_recorded_admission."""

from typing import Any

import pytest

from dagster_ray.kuberay._operator_rules.verdicts import (
    event_message,
    raycluster_rejection,
    raycluster_rejections,
    rayjob_rejection,
    rayjob_rejections,
)

Json = dict[str, Any]
PREFIX = "The RayJob spec is invalid: "
RULE: Json = {"policy": "DeleteCluster", "condition": {"jobStatus": "SUCCEEDED", "ttlSeconds": 10}}
SELF: Json = {"onSuccess": {"policy": "DeleteSelf"}, "onFailure": {"policy": "DeleteSelf"}}


def head(**container: Any) -> Json:
    return {"rayStartParams": {}, "template": {"spec": {"containers": [{"name": "ray-head", **container}]}}}


def group(**fields: Any) -> Json:
    return {"groupName": "g", "template": {"spec": {"containers": [{"name": "ray-worker"}]}}, **fields}


def job(name: str = "one", **spec: Any) -> Json:
    spec.setdefault("rayClusterSpec", {"headGroupSpec": head()})
    return {"metadata": {"name": name}, "spec": {"submissionMode": "InteractiveMode", **spec}}


def cluster(annotations: Json | None = None, labels: Json | None = None, **spec: Any) -> Json:
    metadata = {"name": "one", "annotations": annotations or {}, "labels": labels or {}}
    return {"metadata": metadata, "spec": {"headGroupSpec": head(), **spec}}


def rule(policy: str, seconds: int = 0, **condition: str) -> Json:
    return {"policy": policy, "condition": {**(condition or {"jobStatus": "SUCCEEDED"}), "ttlSeconds": seconds}}


AUTOSCALED: Json = {"headGroupSpec": head(), "enableInTreeAutoscaling": True}
ON_CLUSTER: Json = {"rayClusterSpec": None, "clusterSelector": {"ray.io/cluster": "c"}, "submissionMode": "HTTPMode"}
JOBS: list[tuple[str, Json, str, tuple[str, ...]]] = [
    ("nothing is wrong", job(), "1.7", ()),
    (
        "a negative ttl",
        job(ttlSecondsAfterFinished=-1),
        "1.7",
        (PREFIX + "TTLSecondsAfterFinished must be a non-negative integer",),
    ),
    ("a negative ttl was ignored in 1.3", job(ttlSecondsAfterFinished=-1), "1.3", ()),
    (
        "a strategy on 1.5 needs the gate",
        job(deletionStrategy=SELF),
        "1.5.1",
        ("RayJobDeletionPolicy feature gate must be enabled to use DeletionStrategy",),
    ),
    ("a strategy on 1.6", job(deletionStrategy=SELF), "1.6.0", ()),
    (
        "a policy on 1.4 needs the gate",
        job(deletionPolicy="DeleteSelf"),
        "1.4",
        ("RayJobDeletionPolicy feature gate must be enabled to use the DeletionPolicy feature",),
    ),
    ("a policy is nothing to 1.7", job(deletionPolicy="DeleteSelf"), "1.7", ()),
    (
        "one half of the legacy form",
        job(deletionStrategy={"onSuccess": {"policy": "DeleteSelf"}}),
        "1.7",
        (
            "both DeletionStrategy.OnSuccess and DeletionStrategy.OnFailure must be set when using the legacy "
            "deletion policy fields of DeletionStrategy",
        ),
    ),
    (
        "a legacy form without a policy",
        job(deletionStrategy=SELF | {"onFailure": {}}),
        "1.7",
        (
            "the DeletionPolicyType field of DeletionStrategy.OnFailure cannot be unset when DeletionStrategy is "
            "enabled",
        ),
    ),
    (
        "legacy deletion of a selected cluster",
        job(deletionStrategy=SELF | {"onFailure": {"policy": "DeleteWorkers"}}, **ON_CLUSTER),
        "1.7",
        ("the ClusterSelector mode doesn't support DeletionStrategy=DeleteWorkers on failure",),
    ),
    (
        "shutdown while keeping all",
        job(deletionStrategy=SELF | {"onFailure": {"policy": "DeleteNone"}}, shutdownAfterJobFinishes=True),
        "1.7",
        (PREFIX + "shutdownAfterJobFinshes is set to 'true' while deletion policy is 'DeleteNone'",),
    ),
    (
        "shutdown with the legacy form",
        job(deletionStrategy=SELF, shutdownAfterJobFinishes=True, ttlSecondsAfterFinished=5),
        "1.7",
        (),
    ),
    (
        "workers of an autoscaled cluster",
        job(deletionStrategy={"deletionRules": [rule("DeleteWorkers")]}, rayClusterSpec=AUTOSCALED),
        "1.7",
        ("deletionRules[0]: DeletionPolicyType 'DeleteWorkers' not supported with autoscaling enabled",),
    ),
    (
        "rules of a selected cluster",
        job(deletionStrategy={"deletionRules": [RULE]}, **ON_CLUSTER),
        "1.7",
        ("deletionRules[0]: DeletionPolicyType 'DeleteCluster' not supported when ClusterSelector is set",),
    ),
    (
        "the same rule twice",
        job(deletionStrategy={"deletionRules": [RULE, RULE]}),
        "1.7",
        ("deletionRules[1]: duplicate rule for DeletionPolicyType 'DeleteCluster' and JobStatus 'SUCCEEDED'",),
    ),
    (
        "the RayJob goes before its cluster",
        job(deletionStrategy={"deletionRules": [RULE, rule("DeleteSelf", 5)]}),
        "1.7",
        ("for JobStatus 'SUCCEEDED': DeleteSelf TTL (5) must be >= DeleteCluster TTL (10)",),
    ),
    (
        "rules of different outcomes are apart",
        job(deletionStrategy={"deletionRules": [RULE, rule("DeleteSelf", 5, jobDeploymentStatus="Failed")]}),
        "1.7",
        (),
    ),
    (
        "all wrong rules are told",
        job(deletionStrategy={"deletionRules": [rule("DeleteSelf", -1), RULE, RULE]}),
        "1.7",
        (
            "deletionRules[0]: TTLSeconds must be non-negative",
            "deletionRules[2]: duplicate rule for DeletionPolicyType 'DeleteCluster' and JobStatus 'SUCCEEDED'",
        ),
    ),
    (
        "a selector without a cluster",
        job(rayClusterSpec=None, clusterSelector={"a": "b"}),
        "1.7",
        ("cluster name in ClusterSelector should not be empty",),
    ),
    (
        "a selected cluster cannot be suspended",
        job(suspend=True, shutdownAfterJobFinishes=True, **ON_CLUSTER),
        "1.3",
        ("the ClusterSelector mode doesn't support the suspend operation",),
    ),
    (
        "retries on a selected cluster",
        job(backoffLimit=1, **ON_CLUSTER),
        "1.6",
        (PREFIX + "BackoffLimit is incompatible with ClusterSelector mode",),
    ),
    ("retries on a selected cluster in 1.5", job(backoffLimit=1, **ON_CLUSTER), "1.5", ()),
    ("interactive retries in 1.3", job(backoffLimit=1), "1.3", ()),
    ("negative retries", job(backoffLimit=-1), "1.7", (PREFIX + "backoffLimit must be a positive integer",)),
    (
        "no time to run",
        job(activeDeadlineSeconds=0),
        "1.7",
        (PREFIX + "activeDeadlineSeconds must be a positive integer",),
    ),
    ("no time to start, before 1.6", job(preRunningDeadlineSeconds=0), "1.5", ()),
    (
        "no time to start",
        job(preRunningDeadlineSeconds=0),
        "1.6",
        (PREFIX + "preRunningDeadlineSeconds must be a positive integer",),
    ),
    (
        "a sidecar with a submitter",
        job(submissionMode="SidecarMode", submitterConfig={"backoffLimit": 1}),
        "1.7",
        ("Currently, SidecarMode doesn't support SubmitterConfig",),
    ),
    (
        "tokens of Kubernetes",
        job(rayClusterSpec={"headGroupSpec": head(), "authOptions": {"mode": "token", "enableK8sTokenAuth": True}}),
        "1.7",
        (PREFIX + "K8s token auth mode is currently not supported for RayJob",),
    ),
    ("a bad cluster in 1.3 is the cluster's matter", job(rayClusterSpec={"headGroupSpec": {}}), "1.3", ()),
    (
        "a runtime environment that is a list",
        job(runtimeEnvYAML="- a"),
        "1.7",
        (
            "failed to unmarshal RuntimeEnvYAML: - a: error unmarshaling JSON: while decoding JSON: json: cannot "
            "unmarshal array into Go value of type types.RuntimeEnvType",
        ),
    ),
    ("a runtime environment", job(runtimeEnvYAML="pip: [a]\nenv_vars: {A: b}"), "1.7", ()),
    (
        "values of other types are the API server's matter",
        job(backoffLimit="x", ttlSecondsAfterFinished={"env": "TTL"}),
        "1.7",
        (),
    ),
]


@pytest.mark.parametrize(
    ("rayjob", "version", "texts"), [case[1:] for case in JOBS], ids=[f"{case[2]}: {case[0]}" for case in JOBS]
)
def test_a_rayjob_is_judged_as_its_operator_does(rayjob: Json, version: str, texts: tuple[str, ...]) -> None:
    assert rayjob_rejections(rayjob, version) == texts


V2: Json = {"enableInTreeAutoscaling": True, "autoscalerOptions": {"version": "v2"}}
V2_ENV = [{"name": "RAY_enable_autoscaler_v2", "value": "1"}]
CLUSTERS: list[tuple[str, Json, str, tuple[str, ...]]] = [
    ("nothing is wrong", cluster(workerGroupSpecs=[group()]), "1.7", ()),
    (
        "a group without containers",
        cluster(workerGroupSpecs=[{"groupName": "g"}]),
        "1.3",
        ("workerGroupSpec should have at least one container",),
    ),
    (
        "fewer than none",
        cluster(workerGroupSpecs=[group(minReplicas=-1)]),
        "1.6",
        ("worker group g has negative minReplicas -1",),
    ),
    ("fewer than none in 1.5", cluster(workerGroupSpecs=[group(minReplicas=-1)]), "1.5", ()),
    (
        "CPUs twice",
        cluster(headGroupSpec=head() | {"rayStartParams": {"num-cpus": "1"}, "resources": {"CPU": "1"}}),
        "1.5",
        ("resource fields should not be set in both rayStartParams and Resources for Head group; please use only one",),
    ),
    (
        "labels as a start parameter",
        cluster(workerGroupSpecs=[group(rayStartParams={"labels": "a=b"})]),
        "1.5",
        ("rayStartParams['labels'] is not supported for g group; please use the top-level Labels field instead",),
    ),
    (
        "an idle timeout without the new autoscaler",
        cluster(workerGroupSpecs=[group(idleTimeoutSeconds=5)]),
        "1.6",
        (
            "worker group g: idleTimeoutSeconds is set, but autoscaler v2 is not enabled. Please set "
            ".spec.autoscalerOptions.version to 'v2' (or set RAY_enable_autoscaler_v2 environment variable to "
            "'true' in the head pod if using KubeRay < 1.4.0)",
        ),
    ),
    (
        "an idle timeout with the new autoscaler",
        cluster(workerGroupSpecs=[group(idleTimeoutSeconds=5)], **V2),
        "1.6",
        (),
    ),
    (
        "a priority with an old Ray",
        cluster(workerGroupSpecs=[group(priority=1)], rayVersion="2.55.1", **V2),
        "1.7",
        ("worker group g: priority is set, but minimum Ray version is 2.56.0, got 2.55.1",),
    ),
    (
        "a priority without the new autoscaler",
        cluster(workerGroupSpecs=[group(priority=1)], rayVersion="2.60.0"),
        "1.7",
        (
            "worker group g: priority is set to 1, but autoscaler v2 is not enabled. Priority is only supported "
            "with autoscaler v2 enabled",
        ),
    ),
    (
        "a suspended group needs the gate",
        cluster(workerGroupSpecs=[group(suspend=True)]),
        "1.5",
        ("worker group g can be suspended only when the RayJobDeletionPolicy feature gate is enabled",),
    ),
    ("a suspended group", cluster(workerGroupSpecs=[group(suspend=True)]), "1.6", ()),
    (
        "a suspended group of an autoscaled cluster",
        cluster(workerGroupSpecs=[group(suspend=True)], **V2),
        "1.7",
        ("worker group g cannot be suspended with Autoscaler enabled",),
    ),
    (
        "the new autoscaler without an autoscaler",
        cluster(headGroupSpec=head(env=V2_ENV)),
        "1.5",
        (
            "environment variable RAY_enable_autoscaler_v2 cannot be set to '1' when enableInTreeAutoscaling is "
            "false. Please set enableInTreeAutoscaling: true to use autoscaler v2",
        ),
    ),
    (
        "the autoscaler chosen twice",
        cluster(headGroupSpec=head(env=V2_ENV), **V2),
        "1.4",
        (
            "both .spec.autoscalerOptions.version and head Pod env var RAY_enable_autoscaler_v2 are set, please "
            "only use the former",
        ),
    ),
    (
        "a head that restarts",
        cluster(headGroupSpec={"template": {"spec": {"containers": [{}], "restartPolicy": "Always"}}}, **V2),
        "1.4",
        ("restartPolicy for head Pod should be Never or unset when using autoscaler V2",),
    ),
    (
        "a token with an old Ray",
        cluster(authOptions={"mode": "token"}, rayVersion="2.51.9"),
        "1.5.1",
        ("authOptions.mode is 'token' but minimum Ray version is 2.52.0, got 2.51.9",),
    ),
    (
        "a token with a strange Ray",
        cluster(authOptions={"mode": "token"}, rayVersion="nightly"),
        "1.7",
        (
            "authOptions.mode is 'token' but RayVersion format is invalid: nightly, could not parse \"nightly\" "
            "as version",
        ),
    ),
    ("a token", cluster(authOptions={"mode": "token"}, rayVersion="2.52.0"), "1.7", ()),
    (
        "a Redis from the environment",
        cluster(headGroupSpec=head(env=[{"name": "RAY_REDIS_ADDRESS", "value": "r"}])),
        "1.3",
        (
            "RAY_REDIS_ADDRESS is set which implicitly enables GCS fault tolerance, but GcsFaultToleranceOptions "
            "is not set. Please set GcsFaultToleranceOptions to enable GCS fault tolerance",
        ),
    ),
    (
        "a Redis password from the environment",
        cluster(headGroupSpec=head(env=[{"name": "REDIS_PASSWORD"}]), gcsFaultToleranceOptions={"redisAddress": "r"}),
        "1.4",
        (
            "cannot set `REDIS_PASSWORD` env var in head Pod when GcsFaultToleranceOptions is enabled - use "
            "GcsFaultToleranceOptions.RedisPassword instead",
        ),
    ),
    (
        "storage without its gate",
        cluster(gcsFaultToleranceOptions={"backend": "rocksdb"}),
        "1.7",
        (
            "the embedded RocksDB GCS fault tolerance backend (GcsFaultToleranceOptions.Backend: 'rocksdb') "
            "requires the GCSFaultToleranceEmbeddedStorage feature gate to be enabled",
        ),
    ),
    (
        "a network policy without its gate",
        cluster(networkPolicy={}),
        "1.7",
        ("spec.networkPolicy requires the RayClusterNetworkPolicy feature gate to be enabled",),
    ),
    (
        "a history server without its gate",
        cluster(historyServerOptions={}),
        "1.7",
        ("RayClusterHistoryServer feature gate is not enabled",),
    ),
    (
        "an upgrade strategy in a RayJob's cluster",
        cluster(labels={"ray.io/originated-from-crd": "RayJob"}, upgradeStrategy={"type": "Recreate"}),
        "1.6",
        ("upgradeStrategy cannot be set when RayCluster is created by RayJob",),
    ),
]


@pytest.mark.parametrize(
    ("raycluster", "version", "texts"),
    [case[1:] for case in CLUSTERS],
    ids=[f"{case[2]}: {case[0]}" for case in CLUSTERS],
)
def test_a_raycluster_is_judged_as_its_operator_does(raycluster: Json, version: str, texts: tuple[str, ...]) -> None:
    assert raycluster_rejections(raycluster, version) == texts


def test_gates_can_be_set_otherwise_than_the_releases_defaults() -> None:
    assert rayjob_rejections(job(deletionStrategy=SELF), "1.5.1", {"RayJobDeletionPolicy": True}) == ()
    assert rayjob_rejections(job(deletionStrategy=SELF), "1.7.0", {"RayJobDeletionPolicy": False}) != ()
    assert raycluster_rejections(cluster(tlsOptions={"enabled": True}), "1.7.0", {"RayClusterMTLS": True}) == ()


def test_several_texts_are_lines_of_one_message() -> None:
    rejection = rayjob_rejection(job(deletionStrategy={"deletionRules": [RULE, RULE, RULE]}), "1.7.0")
    assert rejection is not None
    assert rejection.message == "\n".join(rejection.texts)
    assert len(rejection.texts) == 2


def test_a_waiting_job_must_stay_interactive() -> None:
    waiting = job(submissionMode="HTTPMode") | {"status": {"jobDeploymentStatus": "Waiting"}}
    rejection = rayjob_rejection(waiting, "1.7.0")
    assert rejection is not None
    assert rejection.reason == "InvalidRayJobStatus"
    assert rejection.message.startswith("The RayJob status is invalid: JobDeploymentStatus cannot be `Waiting`")


def test_release_1_3_does_not_look_at_names() -> None:
    assert rayjob_rejections(job("n" * 60), "1.3.2") == ()
    assert rayjob_rejections(job("n" * 48), "1.4.2") == ("RayJob name should be no more than 47 characters",)


def test_a_metadata_event_of_a_raycluster_names_the_cluster() -> None:
    named = {"metadata": {"name": "Bad", "namespace": "ray"}, "spec": {}}
    rejection = raycluster_rejection(named, "1.7.0")
    assert rejection is not None
    assert event_message(rejection, named, "1.7.0").startswith("The RayCluster metadata is invalid ray/Bad: RayCluster")
