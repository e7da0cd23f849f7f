"""What KubeRay or the API server refuses, told while the code location loads. Pure.

Works on what the user wrote as well as on a finished manifest: fields that are missing, and values that come from
the environment and are not known yet, are left alone. A rule that only later releases have is applied to those; the
release is known where an operator was asked. Source where nothing else is named: KubeRay
controllers/ray/utils/validation.go and the CRDs.
"""

import re
from collections.abc import Mapping

from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, mappings
from dagster_ray.kuberay._labels import KEY_ADVICE, wrong_key
from dagster_ray.kuberay._operator_rules.crd_fields import Release
from dagster_ray.kuberay._spec.cluster_defaults import RESOURCE_PARAMETERS
from dagster_ray.kuberay._spec.endings import check_ending
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.plain_json import refuse_snake_case

OLDEST: Release = (1, 3, 0)
NEWEST: Release = (1, 7, 0)
"""The oldest and the newest KubeRay whose rules are known."""
RAYJOB_NAME_LIMIT = 47
RAYCLUSTER_NAME_LIMIT = 53
_METADATA = ("name", "namespace", "labels", "annotations", "finalizers", "ownerReferences")
_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_DNS_1123 = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def check_metadata(metadata: Manifest, kind: str, limit: int, release: Release = NEWEST) -> None:
    """Check names, and that metadata holds nothing that a new object cannot have.

    Raises:
        InvalidSpecError: It names the field.
    """
    for key in metadata:
        if key == "generateName":
            reason = "has no place here: the name is fixed before the object is sent, to find it again"
            raise InvalidSpecError("metadata.generateName", reason, "give metadata.name, or leave it out")
        if key not in _METADATA:
            reason = "is no part of the metadata of a new object"
            raise InvalidSpecError(f"metadata.{key}", reason, f"use one of: {', '.join(_METADATA)}")
    for key in ("labels", "annotations"):
        if not isinstance(metadata.get(key, {}), Mapping):
            raise InvalidSpecError(f"metadata.{key}", "is no mapping", "give text by text")
    _check_keys(metadata, "metadata", "labels", "annotations")
    namespace = metadata.get("namespace")
    if isinstance(namespace, str) and (len(namespace) > 63 or not _DNS_1123.fullmatch(namespace)):
        reason = f"is {namespace!r}, which is no DNS label"
        raise InvalidSpecError("metadata.namespace", reason, "use up to 63 lower-case letters, digits and `-`")
    name = metadata.get("name")
    if isinstance(name, str):
        _check_name(name, kind, limit, release)


def _check_keys(holder: Manifest, path: str, *fields: str) -> None:
    """Check the keys of labels, of annotations and of selectors of nodes."""
    for field in fields:
        is_annotation = field.lower().endswith("annotations")
        wrong = wrong_key(mapping(holder.get(field)), is_annotation=is_annotation)
        if wrong is not None:
            kind = "annotation" if is_annotation else "label"
            raise InvalidSpecError(f"{path}.{field}", f"has `{wrong}`, which is not a valid {kind} key", KEY_ADVICE)


def _check_name(name: str, kind: str, limit: int, release: Release) -> None:
    advice = "use lower-case letters, digits and `-`, with a letter first and no `-` at the end"
    if not _DNS_1123.fullmatch(name) or len(name) > 253:
        raise InvalidSpecError("metadata.name", f"is {name!r}, which is not a name of Kubernetes", advice)
    if release < (1, 4, 0):
        return
    if len(name) > limit:
        reason = f"has {len(name)} characters, and the name of a {kind} may have {limit}"
        raise InvalidSpecError("metadata.name", reason, "shorten it", "KubeRay >= 1.4")
    if not _DNS_1035.fullmatch(name):
        raise InvalidSpecError("metadata.name", f"is {name!r}, which is not a DNS-1035 label", advice, "KubeRay >= 1.4")


def check_rayjob(metadata: Manifest, spec: Manifest, release: Release = NEWEST) -> None:
    """Check a RayJob, or what the user wrote of one, by the rules of a release of KubeRay.

    Raises:
        InvalidSpecError: It names the field, and the versions that refuse it.
    """
    check_metadata(metadata, "RayJob", RAYJOB_NAME_LIMIT, release)
    refuse_snake_case(dict(spec), "spec")
    cluster = mapping(spec.get("rayClusterSpec"))
    check_ending(spec, release, autoscaling=cluster.get("enableInTreeAutoscaling") is True)
    backoff = _integer(spec.get("backoffLimit"))
    if backoff:
        reason = f"is {backoff}, and an interactive RayJob is not tried again"
        raise InvalidSpecError("spec.backoffLimit", reason, "use Dagster's retries")
    for key in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        seconds = _integer(spec.get(key))
        if seconds is not None and seconds < 1:
            raise InvalidSpecError(f"spec.{key}", f"is {seconds}", "give 1 second or more")
    if at(cluster, "authOptions", "enableK8sTokenAuth") is True:
        path = "spec.rayClusterSpec.authOptions.enableK8sTokenAuth"
        raise InvalidSpecError(path, "is true, which a RayJob does not support", "use mode: token", "KubeRay >= 1.6")
    if "upgradeStrategy" in cluster:
        path, reason = "spec.rayClusterSpec.upgradeStrategy", "is refused for the cluster of a RayJob"
        raise InvalidSpecError(path, reason, "leave it out", "KubeRay >= 1.6")
    check_cluster(cluster, "spec.rayClusterSpec", release)


def check_raycluster(metadata: Manifest, spec: Manifest, release: Release = NEWEST) -> None:
    """Check a RayCluster, or what the user wrote of one, by the rules of a release of KubeRay.

    Raises:
        InvalidSpecError: It names the field, and the versions that refuse it.
    """
    check_metadata(metadata, "RayCluster", RAYCLUSTER_NAME_LIMIT, release)
    if at(spec, "authOptions", "enableK8sTokenAuth") is True:
        path, reason = (
            "spec.authOptions.enableK8sTokenAuth",
            "is true: each driver then needs a Kubernetes token, which a step does not send",
        )
        raise InvalidSpecError(path, reason, "use authOptions with mode: token alone")
    refuse_snake_case(dict(spec), "spec")
    check_cluster(spec, "spec", release)


def check_cluster(cluster: Manifest, path: str, release: Release = NEWEST) -> None:
    """Check the spec of a RayCluster that stands at `path`.

    Raises:
        InvalidSpecError: It names the field, and the versions that refuse it.
    """
    _check_token(cluster, path)
    _check_keys(cluster, path, "headServiceAnnotations")
    if "headGroupSpec" in cluster:
        _check_group(mapping(cluster["headGroupSpec"]), f"{path}.headGroupSpec", release)
    seen: set[str] = set()
    for n, group in enumerate(mappings(cluster.get("workerGroupSpecs"))):
        where = f"{path}.workerGroupSpecs[{n}]"
        _check_group_name(group.get("groupName"), f"{where}.groupName", seen)
        _check_replicas(group, where, release)
        _check_group(group, where, release)
        if group.get("suspend") is True and cluster.get("enableInTreeAutoscaling") is True:
            reason = "is true while enableInTreeAutoscaling is true"
            raise InvalidSpecError(f"{where}.suspend", reason, "turn one of the two off")


def _check_token(cluster: Manifest, path: str) -> None:
    version = cluster.get("rayVersion")
    if at(cluster, "authOptions", "mode") != "token" or not isinstance(version, str):
        return
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is not None and (int(numbers[1]), int(numbers[2])) < (2, 52):
        reason = f"is token, which needs Ray 2.52 or later, while rayVersion is {version}"
        raise InvalidSpecError(f"{path}.authOptions.mode", reason, "raise rayVersion, or leave the mode out")


def _check_group_name(name: object, path: str, seen: set[str]) -> None:
    if isinstance(name, Mapping):
        return
    # The operator lowers the letters for the names of pods; the group's label keeps them.
    if not isinstance(name, str) or not _DNS_1123.fullmatch(name.lower()) or len(name) > 63:
        reason = "is missing" if name is None else f"is {name!r}, which cannot be part of a pod's name"
        raise InvalidSpecError(path, reason, "use up to 63 letters, digits and `-`")
    if name in seen:
        raise InvalidSpecError(path, f"is {name!r}, as that of another group", "give each group a name of its own")
    seen.add(name)


def _check_replicas(group: Manifest, path: str, release: Release) -> None:
    numbers = {key: _integer(group.get(key)) for key in ("replicas", "minReplicas", "maxReplicas")}
    for key, number in numbers.items():
        if number is not None and number < 0:
            raise InvalidSpecError(f"{path}.{key}", f"is {number}", "give 0 or more")
    least, most = numbers["minReplicas"], numbers["maxReplicas"]
    if least is not None and most is not None and least > most and release >= (1, 6, 0):
        reason = f"is {least}, more than maxReplicas, {most}"
        raise InvalidSpecError(f"{path}.minReplicas", reason, "lower it or raise maxReplicas", "KubeRay >= 1.6")


def _check_group(group: Manifest, path: str, release: Release) -> None:
    """Check what head and worker groups have in common."""
    for key, what in (("rayStartParams", "text by text"), ("template", "a pod template")):
        if not isinstance(group.get(key, {}), Mapping):
            raise InvalidSpecError(f"{path}.{key}", "is no mapping", f"give {what}")
    params = mapping(group.get("rayStartParams"))
    if "labels" in params and release >= (1, 5, 0):
        reason, advice = "is refused by the operator", f"give them as {path.rpartition('.')[2]}.labels"
        raise InvalidSpecError(f"{path}.rayStartParams.labels", reason, advice, "KubeRay >= 1.5")
    both = [name for name in RESOURCE_PARAMETERS if name in params]
    if group.get("resources") and both:
        reason = "stands beside the group's `resources`"
        raise InvalidSpecError(f"{path}.rayStartParams.{both[0]}", reason, "use one of the two", "KubeRay >= 1.5")
    template = mapping(group.get("template"))
    _check_keys(mapping(template.get("metadata")), f"{path}.template.metadata", "labels", "annotations")
    _check_keys(mapping(template.get("spec")), f"{path}.template.spec", "nodeSelector")
    _check_containers(mapping(template.get("spec")), f"{path}.template.spec")


def _check_containers(pod: Manifest, path: str) -> None:
    if "containers" not in pod:
        return
    containers = mappings(pod["containers"])
    if not containers:
        raise InvalidSpecError(f"{path}.containers", "is empty", "give the Ray container first, or leave it out")
    for n, container in enumerate(containers[1:], start=1):
        if not container.get("name"):
            raise InvalidSpecError(f"{path}.containers[{n}].name", "is missing", "name the container")
