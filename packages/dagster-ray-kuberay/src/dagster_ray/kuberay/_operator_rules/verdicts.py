"""What KubeRay says of a RayJob or RayCluster: its own words, or the fault for whoever names the field. Pure.

An API server accepts such objects. The operator of 1.5 and later writes the text to `status.message` of the RayJob;
that of 1.3 and 1.4 only to an event. What the API server refuses (types, CEL rules) is not looked at here, and an
absent field counts as the CRD's default, so that a manifest can be judged before it is sent.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import at, mapping
from dagster_ray.kuberay._operator_rules.crd_fields import CrdKind, Release, release
from dagster_ray.kuberay._operator_rules.deletion_rules import DELETION_RULES
from dagster_ray.kuberay._operator_rules.names import NAME_ADVICE, NAME_LIMITS, dns_1035_faults
from dagster_ray.kuberay._operator_rules.raycluster_rules import CLUSTER_RULES, RAYCLUSTER_RULES
from dagster_ray.kuberay._operator_rules.rayjob_rules import (
    AFTER_CLUSTER,
    BEFORE_CLUSTER,
    STATUS_RULES,
    WITH_CLUSTER,
    cluster_of,
)
from dagster_ray.kuberay._operator_rules.rules import PREFIX, Fault, Operator, Part, Rule, Section, Values, itself, when


def _long_name(metadata: Part) -> Values | None:
    name, limit = metadata.text("name"), metadata.values["limit"]
    return when(name and len(name) > int(str(limit)), length=len(name or ""))


def _no_label(metadata: Part) -> Values | None:
    name = metadata.text("name")
    faults = [] if name is None else list(dns_1035_faults(name))
    return when(faults, name=name, faults=" ".join(faults))


NAME_RULES: Section = (
    itself,
    (
        Rule(find=_long_name, field="{path}.name", line=535, since=(1, 4, 0),
            words="{kind} name should be no more than {limit} characters",
            reason="has {length} characters, and the name of a {kind} may have {limit}", advice="shorten it"),
        Rule(find=_no_label, field="{path}.name", line=538, since=(1, 4, 0),
            words="{kind} name should be a valid DNS1035 label: [{faults}]",
            reason="is {name!r}, which is not a DNS-1035 label", advice=NAME_ADVICE),
    ),
)  # fmt: skip
ALL_SECTIONS: tuple[Section, ...] = (
    NAME_RULES, *BEFORE_CLUSTER, *DELETION_RULES, *WITH_CLUSTER, *RAYCLUSTER_RULES, *AFTER_CLUSTER, STATUS_RULES
)  # fmt: skip
_EVERY_SINCE: Release = (1, 5, 0)
"""From this release on each text of a RayJob begins with what is invalid."""


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
    says_what = operator.release >= _EVERY_SINCE
    metadata, job = _metadata("RayJob", rayjob, operator), _spec(rayjob, operator)
    said = _said_by(operator.release)
    for fault in _broken([NAME_RULES], metadata, said):
        return Rejection("InvalidRayJobMetadata", (f"{'The RayJob metadata is invalid: ' * says_what}{fault.words}",))
    for faults in _faults_of_rayjob(job, said, of_cluster=operator.release >= (1, 4, 0)):
        texts = (f"{PREFIX * (says_what and _is_prefixed(fault))}{fault.words}" for fault in faults)
        return Rejection("InvalidRayJobSpec", tuple(texts))
    for fault in _broken([STATUS_RULES], job, said):
        return Rejection("InvalidRayJobStatus", (fault.words,))
    return None


def raycluster_rejection(
    raycluster: Mapping[str, Any], version: str, gates: Mapping[str, bool] | None = None
) -> Rejection | None:
    """Like `raycluster_rejections`, with the reason of the event."""
    operator = Operator(release(version), {**default_gates(version), **(gates or {})})
    said = _said_by(operator.release)
    for fault in _broken([NAME_RULES], _metadata("RayCluster", raycluster, operator), said):
        return Rejection("InvalidRayClusterMetadata", (fault.words,))
    for fault in _broken(RAYCLUSTER_RULES, _spec(raycluster, operator), said):
        return Rejection("InvalidRayClusterSpec", (fault.words,))
    return None


def first_fault(
    kind: CrdKind, obj: Mapping[str, Any], release: Release, gates: Mapping[str, bool], *, is_whole: bool
) -> Fault | None:
    """What a release refuses first of an object, or of what a user wrote of one; None if it accepts all.

    Unlike the operator's own judgment this includes what the API server refuses, what cannot work with dagster-ray,
    and for a RayJob what the operator would refuse of the RayCluster that it makes.

    Args:
        kind: The object's kind.
        obj: Its metadata and spec.
        release: The release of KubeRay.
        gates: The feature gates that count as on.
        is_whole: Whether the object is finished: what is absent then has the CRD's default.
    """

    def refused(rule: Rule) -> bool:
        return rule.always or rule.is_in(release)

    operator = Operator(release, gates)
    for fault in _broken([NAME_RULES], _metadata(kind, obj, operator, is_whole=is_whole), refused):
        return fault
    spec = _spec(obj, operator, is_whole=is_whole)
    if kind == "RayCluster":
        return next(_broken(RAYCLUSTER_RULES, spec, refused), None)
    return next((faults[0] for faults in _faults_of_rayjob(spec, refused, of_cluster=True)), None)


def event_message(rejection: Rejection, obj: Mapping[str, Any], version: str) -> str:
    """The message of the operator's Warning event for this object."""
    metadata = mapping(obj.get("metadata"))
    where = f"{metadata.get('namespace') or 'default'}/{metadata.get('name')}"
    if rejection.reason.startswith("InvalidRayJob") and release(version) >= _EVERY_SINCE:
        return f"{where}: {rejection.message}"
    kind = "RayJob" if rejection.reason.startswith("InvalidRayJob") else "RayCluster"
    part = rejection.reason.removeprefix(f"Invalid{kind}").lower()
    return f"The {kind} {part} is invalid {where}: {rejection.message}"


def _metadata(kind: CrdKind, obj: Mapping[str, Any], operator: Operator, *, is_whole: bool = True) -> Part:
    values = {"kind": kind, "limit": NAME_LIMITS[kind]}
    return Part(mapping(obj.get("metadata")), "metadata", operator, is_whole, values=values)


def _spec(obj: Mapping[str, Any], operator: Operator, *, is_whole: bool = True) -> Part:
    values = {
        "annotations": at(obj, "metadata", "annotations"),
        "creator": at(obj, "metadata", "labels", "ray.io/originated-from-crd"),
        "state": at(obj, "status", "jobDeploymentStatus"),
    }
    return Part(mapping(obj.get("spec")), "spec", operator, is_whole, values=values)


def _said_by(release: Release) -> Callable[[Rule], bool]:
    return lambda rule: bool(rule.words) and rule.is_in(release)


def _broken(sections: Iterable[Section], part: Part, applies: Callable[[Rule], bool]) -> Iterator[Fault]:
    for parts_of, rules in sections:
        for one in parts_of(part):
            for rule in rules:
                if applies(rule) and (found := rule.find(one)) is not None:
                    yield Fault(rule, one, found)


def _faults_of_rayjob(job: Part, applies: Callable[[Rule], bool], *, of_cluster: bool) -> Iterator[tuple[Fault, ...]]:
    """Yield what is wrong with a RayJob's spec; all that is wrong with its deletion rules together."""
    yield from ((fault,) for fault in _broken(BEFORE_CLUSTER, job, applies))
    found: dict[str, Fault] = {}
    for fault in _broken(DELETION_RULES, job, applies):
        found.setdefault(f"{fault.part.path} {fault.part.values}", fault)
    if found:
        yield tuple(found.values())
    yield from ((fault,) for fault in _broken(WITH_CLUSTER, job, applies))
    if of_cluster:
        for cluster in cluster_of(job):
            yield from ((fault,) for fault in _broken(CLUSTER_RULES, cluster, applies))
    yield from ((fault,) for fault in _broken(AFTER_CLUSTER, job, applies))


def _is_prefixed(fault: Fault) -> bool:
    """Whether the operator begins its text with what is invalid: it does for all of the cluster in a RayJob."""
    return fault.rule.is_prefixed or fault.part.path.startswith("spec.rayClusterSpec")
