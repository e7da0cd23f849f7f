"""What the KubeRay operator refuses, in its words and order. Pure.

The source is controllers/ray/utils/validation.go of releases 1.3 to 1.7. An API server accepts such objects. The
operator of 1.5 and later writes the text to `status.message` of the RayJob; that of 1.3 and 1.4 only to an event. What
the API server refuses (types, CEL rules) is not looked at here, and an absent field counts as the CRD's default, so
that a manifest can be judged before it is sent.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import at, mapping
from dagster_ray.kuberay._operator_rules.cluster_view import Operator, restarts, whole
from dagster_ray.kuberay._operator_rules.crd_fields import Release, release
from dagster_ray.kuberay._operator_rules.deletion import PREFIX, policy_faults, strategy_faults
from dagster_ray.kuberay._operator_rules.names import dns_1035_faults
from dagster_ray.kuberay._operator_rules.raycluster import cluster_spec_fault
from dagster_ray.kuberay._operator_rules.runtime_env_yaml import runtime_env_fault

MAX_RAYJOB_NAME = 47
MAX_RAYCLUSTER_NAME = 53
_CLUSTER_KEY = "ray.io/cluster"
_JOB_KINDS = ("RayJob", "RayService")


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why the operator does nothing with an object.

    Attributes:
        reason: The reason of its Warning event, such as "InvalidRayJobSpec".
        texts: What is wrong. More than one only for deletion rules, which are all looked at.
    """

    reason: str
    texts: tuple[str, ...]

    @property
    def message(self) -> str:
        """The text of the operator: `status.message` of a RayJob since 1.5."""
        return "\n".join(self.texts)


def default_gates(version: str) -> Mapping[str, bool]:
    """The feature gates that matter here as a release of the operator sets them; absent ones are off."""
    return {"RayJobDeletionPolicy": release(version) >= (1, 6, 0)}


def rayjob_rejections(
    rayjob: Mapping[str, Any], version: str, gates: Mapping[str, bool] | None = None
) -> tuple[str, ...]:
    """The operator's texts for a RayJob that it refuses; empty when it accepts it.

    Args:
        rayjob: The manifest, or the stored object.
        version: The operator's version, such as "1.7.0"; "1.4" means the newest 1.4.
        gates: Feature gates that were set otherwise than the release's defaults.
    """
    rejection = rayjob_rejection(rayjob, version, gates)
    return () if rejection is None else rejection.texts


def raycluster_rejections(
    raycluster: Mapping[str, Any], version: str, gates: Mapping[str, bool] | None = None
) -> tuple[str, ...]:
    """The operator's text for a RayCluster that it refuses, as one item; empty when it accepts it."""
    rejection = raycluster_rejection(raycluster, version, gates)
    return () if rejection is None else rejection.texts


def rayjob_rejection(
    rayjob: Mapping[str, Any], version: str, gates: Mapping[str, bool] | None = None
) -> Rejection | None:
    """Like `rayjob_rejections`, with the reason of the event. First failing check: metadata, spec, status."""
    operator = Operator(release(version), {**default_gates(version), **(gates or {})})
    checks = (("Metadata", _name_faults), ("Spec", _spec_faults), ("Status", _status_faults))
    for part, check in checks:
        for texts in check(rayjob, operator):
            return Rejection(f"InvalidRayJob{part}", texts)
    return None


def raycluster_rejection(
    raycluster: Mapping[str, Any], version: str, gates: Mapping[str, bool] | None = None
) -> Rejection | None:
    """Like `raycluster_rejections`, with the reason of the event."""
    operator = Operator(release(version), {**default_gates(version), **(gates or {})})
    metadata = mapping(raycluster.get("metadata"))
    spec = mapping(raycluster.get("spec"))
    if operator.release >= (1, 4, 0):
        for text in _name_texts("RayCluster", str(metadata.get("name") or ""), MAX_RAYCLUSTER_NAME):
            return Rejection("InvalidRayClusterMetadata", (text,))
    if fault := cluster_spec_fault(spec, mapping(metadata.get("annotations")), operator):
        return Rejection("InvalidRayClusterSpec", (fault,))
    creator = at(metadata, "labels", "ray.io/originated-from-crd")
    if operator.release >= (1, 6, 0) and at(spec, "upgradeStrategy", "type") and creator in _JOB_KINDS:
        return Rejection(
            "InvalidRayClusterSpec", (f"upgradeStrategy cannot be set when RayCluster is created by {creator}",)
        )
    return None


def event_message(rejection: Rejection, obj: Mapping[str, Any], version: str) -> str:
    """The message of the operator's Warning event for this object."""
    metadata = mapping(obj.get("metadata"))
    where = f"{metadata.get('namespace') or 'default'}/{metadata.get('name')}"
    if rejection.reason.startswith("InvalidRayJob") and release(version) >= (1, 5, 0):
        return f"{where}: {rejection.message}"
    kind = "RayJob" if rejection.reason.startswith("InvalidRayJob") else "RayCluster"
    part = rejection.reason.removeprefix(f"Invalid{kind}").lower()
    return f"The {kind} {part} is invalid {where}: {rejection.message}"


def _name_texts(kind: str, name: str, most: int) -> Iterator[str]:
    if len(name) > most:
        yield f"{kind} name should be no more than {most} characters"
    if faults := list(dns_1035_faults(name)):
        yield f"{kind} name should be a valid DNS1035 label: [{' '.join(faults)}]"


def _name_faults(rayjob: Mapping[str, Any], operator: Operator) -> Iterator[tuple[str, ...]]:
    if operator.release < (1, 4, 0):
        return
    prefix = "The RayJob metadata is invalid: " if operator.release >= (1, 5, 0) else ""
    name = at(rayjob, "metadata", "name")
    for text in _name_texts("RayJob", str(name or ""), MAX_RAYJOB_NAME):
        yield (f"{prefix}{text}",)


def _status_faults(rayjob: Mapping[str, Any], operator: Operator) -> Iterator[tuple[str, ...]]:
    spec = mapping(rayjob.get("spec"))
    waiting = at(rayjob, "status", "jobDeploymentStatus") == "Waiting"
    if waiting and spec.get("submissionMode") != "InteractiveMode":
        prefix = "The RayJob status is invalid" if operator.release >= (1, 5, 0) else "invalid RayJob State"
        yield (f"{prefix}: JobDeploymentStatus cannot be `Waiting` when SubmissionMode is not InteractiveMode",)


def _spec_faults(rayjob: Mapping[str, Any], operator: Operator) -> Iterator[tuple[str, ...]]:
    spec = mapping(rayjob.get("spec"))
    annotations = mapping(at(rayjob, "metadata", "annotations"))
    for texts in _prefixed_faults(spec, annotations, operator):
        if operator.release >= (1, 5, 0):
            yield texts
        else:  # only later releases begin with what is invalid
            yield tuple(text.removeprefix(PREFIX) for text in texts)


def _prefixed_faults(
    spec: Mapping[str, Any], annotations: Mapping[str, Any], operator: Operator
) -> Iterator[tuple[str, ...]]:
    shuts_down, ttl = spec.get("shutdownAfterJobFinishes") is True, whole(spec.get("ttlSecondsAfterFinished"))
    if spec.get("suspend") is True and not shuts_down:
        yield (f"{PREFIX}a RayJob with shutdownAfterJobFinishes set to false is not allowed to be suspended",)
    if operator.release >= (1, 4, 0):
        if ttl < 0:
            yield (f"{PREFIX}TTLSecondsAfterFinished must be a non-negative integer",)
        if ttl > 0 and not shuts_down:
            yield (f"{PREFIX}a RayJob with shutdownAfterJobFinishes set to false cannot have TTLSecondsAfterFinished",)
    if operator.release >= (1, 5, 0):
        yield from strategy_faults(spec, operator)
    yield from _cluster_choice_faults(spec, operator.release)
    yield from _mode_faults(spec, operator.release)
    yield from _cluster_faults(spec, annotations, operator)
    if fault := runtime_env_fault(str(spec.get("runtimeEnvYAML") or ""), operator.release):
        yield (fault,)
    yield from _number_faults(spec, operator.release)
    if operator.release < (1, 5, 0):
        yield from policy_faults(spec, operator)


def _cluster_choice_faults(spec: Mapping[str, Any], release: Release) -> Iterator[tuple[str, ...]]:
    selector = mapping(spec.get("clusterSelector"))
    if selector and spec.get("suspend") is True:
        yield (f"{PREFIX}the ClusterSelector mode doesn't support the suspend operation",)
    if not selector and spec.get("rayClusterSpec") is None:
        yield (f"{PREFIX}one of RayClusterSpec or ClusterSelector must be set",)
    if not selector or release < (1, 5, 0):
        return
    if not selector.get(_CLUSTER_KEY):
        yield ("cluster name in ClusterSelector should not be empty",)
    if spec.get("submissionMode") == "SidecarMode":
        yield ("ClusterSelector is not supported in SidecarMode",)
    if release >= (1, 6, 0) and whole(spec.get("backoffLimit")) > 0:
        yield (f"{PREFIX}BackoffLimit is incompatible with ClusterSelector mode",)


def _mode_faults(spec: Mapping[str, Any], release: Release) -> Iterator[tuple[str, ...]]:
    mode = spec.get("submissionMode")
    if release >= (1, 4, 0) and mode == "InteractiveMode" and whole(spec.get("backoffLimit")) > 0:
        yield (f"{PREFIX}BackoffLimit is incompatible with InteractiveMode",)
    if release >= (1, 5, 0) and mode == "SidecarMode":
        for field, shown in (("submitterPodTemplate", "SubmitterPodTemplate"), ("submitterConfig", "SubmitterConfig")):
            if spec.get(field) is not None:
                yield (f"Currently, SidecarMode doesn't support {shown}",)
        if restarts(mapping(at(spec, "rayClusterSpec", "headGroupSpec"))):
            yield ("restartPolicy for head Pod should be Never or unset when using SidecarMode",)


def _cluster_faults(
    spec: Mapping[str, Any], annotations: Mapping[str, Any], operator: Operator
) -> Iterator[tuple[str, ...]]:
    if spec.get("rayClusterSpec") is None or operator.release < (1, 4, 0):
        return
    cluster = mapping(spec["rayClusterSpec"])
    if operator.release >= (1, 6, 0) and at(cluster, "authOptions", "enableK8sTokenAuth") is True:
        yield (f"{PREFIX}K8s token auth mode is currently not supported for RayJob",)
    if fault := cluster_spec_fault(cluster, annotations, operator):
        yield (f"{PREFIX}{fault}",)


def _number_faults(spec: Mapping[str, Any], release: Release) -> Iterator[tuple[str, ...]]:
    fields = ["activeDeadlineSeconds"]
    if release >= (1, 6, 0):
        fields.append("preRunningDeadlineSeconds")
    for field in fields:
        if spec.get(field) is not None and whole(spec[field], default=1) <= 0:
            yield (f"{PREFIX}{field} must be a positive integer",)
    if whole(spec.get("backoffLimit")) < 0:
        yield (f"{PREFIX}backoffLimit must be a positive integer",)
