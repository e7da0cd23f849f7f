"""What `dagster-ray doctor` concludes from what it has found. Pure.

A check that could not be made is skipped, with the reason; it never counts as fine.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

from dagster_ray.kuberay._diagnosis.cluster_facts import is_true
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mappings, name_of, text, time_of
from dagster_ray.kuberay._labels import OPERATOR_SELECTOR
from dagster_ray.kuberay._operator_rules.crd_fields import OLDEST
from dagster_ray.kuberay._operator_rules.crd_release import crd_release
from dagster_ray.kuberay._rights import Feature, Right

State: TypeAlias = Literal["ok", "warning", "failed", "skipped"]
_RECENT = timedelta(minutes=10)
_SILENT = timedelta(minutes=1)
_OLDEST_PYTHON, _OLDEST_RAY = (3, 11), (2, 46)
_FORWARD = "pods/portforward"
# The first Kubernetes whose port-forwards by websocket need `create`, not `get`.
_CREATE_FORWARDS_SINCE = 35


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What was looked at.
        state: ok, warning (it may work), failed (it cannot), skipped (not known).
        sentence: What was found, or why it is not known.
        remedy: What to do; empty if nothing.
    """

    name: str
    state: State
    sentence: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a question has no answer: an error of the family as plain data."""

    code: str
    problem: str
    remedy: str


def python_check(version: tuple[int, int, int]) -> Check:
    """Judge this Python."""
    said = ".".join(map(str, version))
    if version[:2] < _OLDEST_PYTHON:
        return Check("python", "failed", f"Python {said} is too old.", "use Python 3.11 or later")
    return Check("python", "ok", f"Python {said}.")


def packages_check(versions: Mapping[str, str], leftovers: Sequence[str]) -> Check:
    """Judge the installed packages of the family.

    Args:
        versions: By distribution.
        leftovers: Files of the older project of this name, which ended with 0.4.8.
    """
    listed = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    remedy = "run `pip uninstall dagster-ray`, then install dagster-ray[kuberay] again"
    if leftovers:
        return Check("packages", "failed", f"An older dagster-ray has left {', '.join(leftovers)}.", remedy)
    if len(set(versions.values())) > 1:
        remedy = "install one version of all packages of the family"
        return Check("packages", "failed", f"The versions differ: {listed}.", remedy)
    return Check("packages", "ok", f"{listed}.")


def ray_check(version: str | None, *, has_client: bool) -> Check:
    """Judge the Ray of this environment, which steps connect with."""
    remedy = "install dagster-ray[kuberay], or ray[client], where steps run"
    if version is None:
        return Check("ray", "failed", "ray is not installed.", remedy)
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is not None and (int(found[1]), int(found[2])) < _OLDEST_RAY:
        return Check("ray", "failed", f"Ray {version} is older than 2.46.", remedy)
    if not has_client:
        return Check("ray", "failed", f"Ray {version} is installed without its client: grpcio is missing.", remedy)
    return Check("ray", "ok", f"Ray {version}. The image of a cluster needs the same minor version.")


def account_check(refusal: Refusal | None, server: str, namespace: str, *, in_cluster: bool) -> Check:
    """Judge where the cluster is."""
    if refusal is not None:
        return failed("account", refusal)
    source = "the pod's service account" if in_cluster else "a kubeconfig"
    return Check("account", "ok", f"{server} by {source}; namespace {namespace}.")


def server_check(version: Manifest | Refusal) -> Check:
    """Judge whether the API server answers and takes the credentials."""
    if isinstance(version, Refusal):
        return failed("api-server", version)
    return Check("api-server", "ok", f"Kubernetes {text(version, 'gitVersion') or 'of an unknown version'} answers.")


def crds_check(document: Manifest | Refusal) -> Check:
    """Judge KubeRay's CRDs by the API server's OpenAPI document."""
    install = "install the KubeRay operator 1.3 or later with its CRDs (Helm chart kuberay-operator)"
    if isinstance(document, Refusal):
        if document.code == "kind-not-installed":
            return Check("crds", "failed", "The cluster does not know RayJobs and RayClusters (ray.io/v1).", install)
        return skipped("crds", document)
    found = crd_release(document)
    if found is None:
        sentence = "The API server's document of ray.io/v1 has no schemas of RayJob and RayCluster."
        return Check("crds", "skipped", sentence)
    if found.strange:
        sentence = f"The CRDs are of KubeRay {found.text}, and yet have {', '.join(found.strange[:3])}."
        return Check("crds", "warning", sentence, "apply the CRDs of one release, that of the operator")
    if found.since == OLDEST:
        sentence = f"The CRDs are of KubeRay {found.text}; they do not distinguish 1.3 from older ones."
        return Check("crds", "warning", sentence, "make sure that it is 1.3 or later; 1.7 is the newest that is known")
    return Check("crds", "ok", f"The CRDs are of KubeRay {found.text}.")


def operator_check(pods: Sequence[Manifest] | Refusal, objects: Iterable[Manifest] | Refusal, now: datetime) -> Check:
    """Judge whether an operator runs: by its pods, else by what it has written lately.

    Args:
        pods: The pods with the chart's label, in all namespaces.
        objects: RayJobs and RayClusters of the namespace.
        now: The API server's time.
    """
    if not isinstance(pods, Refusal) and pods:
        ready = [pod for pod in pods if is_true(pod, "Ready")]
        image = text(mappings(at(pods[0], "spec", "containers"))[0], "image") if at(pods[0], "spec") else ""
        named = f"{text(pods[0], 'metadata', 'namespace')}/{name_of(pods[0])}"
        if ready:
            return Check("operator", "ok", f"Pod {named} is ready{f' ({image})' if image else ''}.")
        return Check("operator", "failed", f"Pod {named} is not ready.", "read its log and events")
    seen = pods.problem if isinstance(pods, Refusal) else f"No pod has the label {OPERATOR_SELECTOR}."
    if isinstance(objects, Refusal):
        return Check("operator", "skipped", f"{seen} {objects.problem}")
    return _by_traces(seen, list(objects), now)


def _by_traces(seen: str, objects: Sequence[Manifest], now: datetime) -> Check:
    written = max((one for item in objects for one in _times(item)), default=None)
    if written is not None and now - written <= _RECENT:
        minutes = max(0, int((now - written).total_seconds() // 60))
        return Check("operator", "ok", f"An operator has written a status {minutes} minutes ago. {seen}")
    silent = [name_of(item) for item in objects if not item.get("status") and _age(item, now) > _SILENT]
    if silent:
        sentence = f"Nobody has written a status into {', '.join(silent[:3])}. {seen}"
        return Check("operator", "failed", sentence, "check that the operator runs and watches this namespace")
    remedy = "run `dagster-ray doctor --round-trip`, which shows whether an operator works"
    return Check("operator", "skipped", f"Whether an operator runs is unknown. {seen}", remedy)


def _times(item: Manifest) -> list[datetime]:
    texts = [at(item, "status", "lastUpdateTime"), at(item, "status", "startTime"), at(item, "status", "endTime")]
    texts += [one.get("lastTransitionTime") for one in mappings(at(item, "status", "conditions"))]
    return [found for one in texts if (found := time_of(one)) is not None]


def _age(item: Manifest, now: datetime) -> timedelta:
    created = time_of(at(item, "metadata", "creationTimestamp"))
    return timedelta() if created is None else now - created


def namespace_check(namespace: str, found: object) -> Check:
    """Judge whether the namespace exists.

    Args:
        namespace: The namespace.
        found: What reading it, or trying to create an object in it, gave: a refusal, or anything else if it exists.
    """
    if not isinstance(found, Refusal) or found.code == "kubernetes-invalid":
        return Check("namespace", "ok", f"Namespace {namespace} exists.")
    if found.code == "kubernetes-not-found":
        remedy = f"name another one with --namespace, or run `kubectl create namespace {namespace}`"
        return Check("namespace", "failed", f"Namespace {namespace} does not exist.", remedy)
    return skipped("namespace", found)


def grant_command(features: Iterable[Feature], namespace: str) -> str:
    """Return the command that grants what all of the features need.

    One command for all: applying a Role replaces the rules of the one that has the same name.
    """
    names = ",".join(feature.name for feature in features)
    return f"dagster-ray rbac --feature {names} -n {namespace} | kubectl apply -f -"


def rights_check(
    feature: Feature, allowed: Mapping[Right, bool] | Refusal, namespace: str, server: Manifest | Refusal, remedy: str
) -> Check:
    """Judge whether the account may do what a feature needs; `remedy` grants it."""
    name = f"rights: {feature.name}"
    if isinstance(allowed, Refusal):
        return skipped(name, allowed)
    needed = [right for right in feature.rights if not _is_of_other_version(right, server)]
    where = "in the whole cluster" if all(right.whole_cluster for right in needed) else f"in namespace {namespace}"
    lacking = [right for right in needed if not allowed[right]]
    fatal = [right for right in lacking if not right.without]
    if fatal:
        return Check(name, "failed", f"Missing {where}: {_listed(fatal)}.", remedy)
    if lacking:
        effects = "; ".join(dict.fromkeys(right.without for right in lacking))
        return Check(name, "warning", f"Missing {where}: {_listed(lacking)}; so {effects}.", remedy)
    return Check(name, "ok", "The right is granted." if len(needed) == 1 else f"All {len(needed)} rights are granted.")


def _is_of_other_version(right: Right, server: Manifest | Refusal) -> bool:
    """Return whether this version of Kubernetes does not ask for a right, as far as its version is known."""
    if right.resource != _FORWARD or isinstance(server, Refusal):
        return False
    minor = re.match(r"\d+", text(server, "minor"))
    if minor is None:
        return False
    return right.verb != ("create" if int(minor[0]) >= _CREATE_FORWARDS_SINCE else "get")


def _listed(rights: Iterable[Right]) -> str:
    return ", ".join(f"{right.verb} {right.resource}" for right in rights)


def path_check(*, in_cluster: bool, round_trip: Check | None) -> Check:
    """Say which way steps go to a head, and whether it was tried."""
    way = "straight, as in a pod" if in_cluster else "by a port-forward through the Kubernetes API"
    if round_trip is not None and round_trip.state == "ok":
        return Check("network", "ok", f"Drivers reach heads {way}; the round trip went there.")
    remedy = "run `dagster-ray doctor --round-trip`, which tries it"
    return Check(
        "network", "skipped", f"Drivers would reach heads {way}; only a head shows whether that works.", remedy
    )


def failed(name: str, refusal: Refusal) -> Check:
    """Return a check that failed because of an error."""
    return Check(name, "failed", refusal.problem, f"{refusal.remedy.rstrip('.')} [dagster-ray: {refusal.code}]")


def skipped(name: str, refusal: Refusal) -> Check:
    """Return a check that an error has prevented."""
    return Check(name, "skipped", f"It could not be asked: {refusal.problem}")


def plain(checks: Iterable[Check]) -> list[Mapping[str, Any]]:
    """Return checks as plain data."""
    return [
        {"name": one.name, "state": one.state, "sentence": one.sentence, "remedy": one.remedy or None} for one in checks
    ]
