"""What KubeRay or the API server refuses, told while the code location loads. Pure.

Works on what the user wrote as well as on a finished manifest: of the former, fields that are missing and values that
come from the environment are not known yet. What the operator refuses is in `_operator_rules`; this adds the form of
metadata and keys.
"""

import re
from collections.abc import Mapping

from dagster_ray.kuberay._kubernetes.fields import Manifest, mapping, mappings
from dagster_ray.kuberay._operator_rules.crd_fields import NEWEST, CrdKind, Release
from dagster_ray.kuberay._operator_rules.names import CLUSTER_LABEL, KEY_ADVICE, NAME_ADVICE, SUBDOMAIN, wrong_key
from dagster_ray.kuberay._operator_rules.verdicts import first_fault
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.plain_json import refuse_snake_case

# Which gates are on is seen only by asking the operator; what one of them allows is not refused here.
_ALL_GATES: Mapping[str, bool] = dict.fromkeys(
    (
        "GCSFaultToleranceEmbeddedStorage",
        "RayClusterHistoryServer",
        "RayClusterMTLS",
        "RayClusterNetworkPolicy",
        "RayJobDeletionPolicy",
    ),
    True,
)
_METADATA = ("name", "namespace", "labels", "annotations", "finalizers", "ownerReferences")


def check_object(
    kind: CrdKind, metadata: Manifest, spec: Manifest, release: Release = NEWEST, *, is_whole: bool = False
) -> None:
    """Check an object, or what the user wrote of one, by the rules of a release of KubeRay.

    Raises:
        InvalidSpecError: It names the field, and the versions that refuse it.
    """
    check_metadata(metadata)
    refuse_snake_case(dict(spec), "spec")
    fault = first_fault(kind, {"metadata": metadata, "spec": spec}, release, _ALL_GATES, is_whole=is_whole)
    if fault is not None:
        raise InvalidSpecError(fault.field, fault.reason, fault.advice, fault.releases)
    if kind == "RayJob":
        _check_cluster_keys(mapping(spec.get("rayClusterSpec")), "spec.rayClusterSpec")
    else:
        _check_cluster_keys(spec, "spec")


def check_metadata(metadata: Manifest) -> None:
    """Check that metadata holds nothing that a new object cannot have.

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
    namespace, name = metadata.get("namespace"), metadata.get("name")
    if isinstance(namespace, str) and (len(namespace) > 63 or not re.fullmatch(SUBDOMAIN, namespace)):
        reason = f"is {namespace!r}, which is no DNS label"
        raise InvalidSpecError("metadata.namespace", reason, "use up to 63 lower-case letters, digits and `-`")
    if isinstance(name, str) and (len(name) > 253 or not re.fullmatch(SUBDOMAIN, name)):
        raise InvalidSpecError("metadata.name", f"is {name!r}, which is not a name of Kubernetes", NAME_ADVICE)


def _check_cluster_keys(cluster: Manifest, path: str) -> None:
    _check_keys(cluster, path, "headServiceAnnotations")
    groups = {f"workerGroupSpecs[{n}]": group for n, group in enumerate(mappings(cluster.get("workerGroupSpecs")))}
    for name, group in {"headGroupSpec": mapping(cluster.get("headGroupSpec")), **groups}.items():
        template = mapping(group.get("template"))
        _check_keys(mapping(template.get("metadata")), f"{path}.{name}.template.metadata", "labels", "annotations")
        _check_keys(mapping(template.get("spec")), f"{path}.{name}.template.spec", "nodeSelector")


def _check_keys(holder: Manifest, path: str, *fields: str) -> None:
    """Check the keys of labels, of annotations and of selectors of nodes."""
    for field in fields:
        is_annotation = field.lower().endswith("annotations")
        wrong = wrong_key(mapping(holder.get(field)), is_annotation=is_annotation)
        if wrong is not None:
            kind = "annotation" if is_annotation else "label"
            raise InvalidSpecError(f"{path}.{field}", f"has `{wrong}`, which is not a valid {kind} key", KEY_ADVICE)


SELECTOR = "clusterSelector"


def selected_cluster(spec: Manifest) -> str | None:
    """Return the name of the RayCluster that a specification chooses; None if it describes one.

    Raises:
        InvalidSpecError: The selector is not a RayCluster's name.
    """
    selector: object = spec.get(SELECTOR)
    if selector is None or selector == {}:
        return None
    given = mapping(selector)
    name = given.get(CLUSTER_LABEL)
    if not isinstance(name, str) or not name or len(given) > 1:
        reason = f"is {selector!r}, and KubeRay selects a cluster by its name only"
        raise InvalidSpecError(f"spec.{SELECTOR}", reason, f"give {{'{CLUSTER_LABEL}': '<name of the RayCluster>'}}")
    return name
