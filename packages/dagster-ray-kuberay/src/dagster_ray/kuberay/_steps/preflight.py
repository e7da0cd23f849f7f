"""What is checked before a cluster is asked for, so that nothing is paid for that cannot work."""

import importlib.metadata
import json
import logging
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from dagster_ray.core import Deadline
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._diagnosis.cluster_facts import Facts
from dagster_ray.kuberay._diagnosis.diagnosis import explain
from dagster_ray.kuberay._head.dashboard import Metadata, mismatch
from dagster_ray.kuberay._kubernetes.errors import ConflictError
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, mappings
from dagster_ray.kuberay._kubernetes.kinds import PODS, RAYJOBS, RULES_REVIEWS, Kind
from dagster_ray.kuberay._labels import OPERATOR_SELECTOR
from dagster_ray.kuberay._operator_rules.crd_release import SCHEMA_PATH, CrdRelease, crd_release
from dagster_ray.kuberay._rights import Right, features_of, missing_rights, rights_of
from dagster_ray.kuberay._spec.acceptance import refusals
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.image import is_image_name, versions_of
from dagster_ray.kuberay._status.cluster_state import Created, created
from dagster_ray.kuberay._status.errors import RightsMissingError, VersionMismatchError
from dagster_ray.kuberay._steps.creation import Wish, post

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

Preflight: TypeAlias = Literal["quick", "full", "off"]

_REVIEW_SECONDS = 5.0
_READ_SECONDS = 5.0
# What the server says of an account's rules, by account and namespace: asked once a process.
_rules: dict[tuple[tuple[str, ...], str], Mapping[str, Any]] = {}
# Admission may refuse to one account what another may create.
_dry_runs: set[tuple[tuple[str, ...], str]] = set()


@dataclass(frozen=True, slots=True)
class Flight:
    """What is about to be created, and what for.

    Attributes:
        wish: The object, which is not created yet.
        manifest: It under any name.
        features: The features of `rights` that this configuration uses.
        is_driver: Whether the step's own Python connects as a driver.
    """

    wish: Wish
    manifest: dict[str, Any]
    features: tuple[str, ...]
    is_driver: bool = True


def check(api: "KubernetesApi", flight: Flight, level: Preflight, deadline: Deadline, log: logging.Logger) -> None:
    """Raise if what is about to be created cannot work.

    `quick` looks at the names of images, and asks the API server once a process which rights the account has. Where
    only some releases of KubeRay refuse the specification, it asks which one is installed. `full`
    also lets the API server and its admission try the object without keeping it, once for each, and warns if no
    operator is to be seen. What cannot be found out is no reason to stop.

    Raises:
        InvalidSpecError: An image has a name that none can have, or the installed KubeRay refuses the specification.
        VersionMismatchError: The head's image has another Ray or Python than this process.
        RightsMissingError: The account lacks rights that the step will need.
        KubernetesError, FieldNotSupportedError: The API server would refuse the object.
    """
    if level == "off":
        return
    target = created(flight.wish.kind, flight.wish.namespace, flight.manifest)
    check_images(target.cluster_spec, target.target, is_driver=flight.is_driver)
    check_release(api, flight.wish.kind, flight.manifest, deadline, log)
    _check_rights(api, flight, deadline, log)
    if level == "full":
        _try(api, flight, deadline, log)
        _find_operator(api, target, deadline, log)


def check_images(cluster_spec: Manifest, target: str, *, is_driver: bool) -> None:
    """Raise if the names of a cluster's images tell that it cannot work."""
    groups = [("headGroupSpec", mapping(cluster_spec.get("headGroupSpec")))]
    workers = mappings(cluster_spec.get("workerGroupSpecs"))
    groups += [(f"workerGroupSpecs[{n}]", group) for n, group in enumerate(workers)]
    for place, group in groups:
        for n, container in enumerate(mappings(at(group, "template", "spec", "containers"))):
            image = container.get("image")
            if isinstance(image, str) and not is_image_name(image):
                path = f"spec.{place}.template.spec.containers[{n}].image"
                raise InvalidSpecError(path, f"is {image!r}, which is no name of an image", "correct it")
    head = mappings(at(groups[0][1], "template", "spec", "containers"))
    found = versions_of(str(head[0].get("image"))) if head and is_driver else None
    if found is None:
        return
    ours = Metadata(importlib.metadata.version("ray"), platform.python_version())
    differs = mismatch(ours, Metadata(found.ray, found.python))
    if differs is not None and not (differs[0] == "Python" and os.environ.get("RAY_IGNORE_VERSION_MISMATCH")):
        raise VersionMismatchError(target, *differs)


def _check_rights(api: "KubernetesApi", flight: Flight, deadline: Deadline, log: logging.Logger) -> None:
    namespace = flight.wish.namespace
    key = (api.account, namespace)
    if key not in _rules:
        try:
            seconds = min(_REVIEW_SECONDS, deadline.remaining_seconds())
            _rules[key] = api.review_rules(namespace, Deadline(seconds, deadline.clock, deadline.sleeper))
        except DagsterRayError as error:
            log.debug("%s: the account's rights are not known: %s", RULES_REVIEWS.resource, error)
            return
    missing = missing_rights(_rules[key], rights_of(features_of(flight.features)))
    if missing:
        del _rules[key]  # somebody may grant them before the next step
        named = tuple((right.verb, _resource(right)) for right in missing)
        raise RightsMissingError(namespace, named, flight.features)


def _resource(right: Right) -> str:
    return f"{right.resource}.{right.group}" if right.group else right.resource


def _try(api: "KubernetesApi", flight: Flight, deadline: Deadline, log: logging.Logger) -> None:
    """Let the API server, and whatever admits objects behind it, look at the object without keeping it."""
    key = (api.account, json.dumps(without_metadata(flight.manifest.get("spec")), sort_keys=True))
    if key in _dry_runs:
        return
    try:
        post(api, flight.wish, flight.manifest, deadline, log, dry_run=True)
    except ConflictError:
        log.debug("The name is taken, which is no matter of the specification.")
    _dry_runs.add(key)


def without_metadata(value: object) -> object:
    """Return a specification without the metadata of its templates, which each step has of its own."""
    if isinstance(value, dict):
        given = mapping(cast("object", value))
        return {key: without_metadata(item) for key, item in given.items() if key != "metadata"}
    return [without_metadata(item) for item in cast("list[object]", value)] if isinstance(value, list) else value


def _find_operator(api: "KubernetesApi", target: Created, deadline: Deadline, log: logging.Logger) -> None:
    """Warn if no operator is to be seen; it may have another label, or live where this account sees nothing."""
    try:
        pods = api.list(PODS, None, deadline, label_selector=OPERATOR_SELECTOR).items
    except DagsterRayError as error:
        log.debug("Whether an operator runs is not known: %s", error)
        return
    found = explain(Facts(rayjob=target.manifest, operator_pods=pods))
    if found is not None and found.code in {"operator-missing", "operator-down"}:
        log.warning("%s: %s. %s", target.target, found.sentence, found.remedy)


def check_release(
    api: "KubernetesApi", kind: Kind, manifest: dict[str, Any], deadline: Deadline, log: logging.Logger
) -> None:
    """Raise if the installed release of KubeRay refuses an object that others accept.

    Nothing is asked where all known releases accept it. The CRDs are read anew each time: operators are upgraded.

    Raises:
        InvalidSpecError: It does; the error names the field and the releases.
    """
    refused = refusals("RayJob" if kind is RAYJOBS else "RayCluster", manifest, manifest)
    if not refused:
        return
    found = _installed(api, deadline, log)
    error = None if found is None else refused.get(f"{found.since[0]}.{found.since[1]}")
    if found is not None and error is not None:
        raise InvalidSpecError(error.field, error.reason, error.advice, f"KubeRay {found.text} is installed")


def _installed(api: "KubernetesApi", deadline: Deadline, log: logging.Logger) -> CrdRelease | None:
    seconds = min(_READ_SECONDS, deadline.remaining_seconds())
    try:
        return crd_release(api.read(SCHEMA_PATH, Deadline(seconds, deadline.clock, deadline.sleeper)))
    except DagsterRayError as error:
        log.debug("Which KubeRay is installed is not known: %s", error)
        return None
