"""What is checked before a cluster is asked for, so that nothing is paid for that cannot work."""

import contextlib
import json
import logging
import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from dagster_ray.core import Deadline
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._diagnosis.cluster_facts import Facts
from dagster_ray.kuberay._diagnosis.diagnosis import explain
from dagster_ray.kuberay._head.dashboard import Metadata, mismatch, of_this_process
from dagster_ray.kuberay._kubernetes.errors import ConflictError
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, mappings
from dagster_ray.kuberay._kubernetes.kinds import PODS, RAYJOBS, RULES_REVIEWS
from dagster_ray.kuberay._labels import OPERATOR_SELECTOR
from dagster_ray.kuberay._operator_rules.crd_release import SCHEMA_PATH, crd_release
from dagster_ray.kuberay._rights import Right, features_of, missing_rights, rights_of
from dagster_ray.kuberay._spec.acceptance import refusals
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.image import is_image_name, versions_of
from dagster_ray.kuberay._spec.secrets import plain_secrets
from dagster_ray.kuberay._status.cluster_state import Created
from dagster_ray.kuberay._status.errors import RightsMissingError, VersionMismatchError
from dagster_ray.kuberay._steps.creation import Attempt, ClusterRequest, post

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

Preflight: TypeAlias = Literal["quick", "full", "off"]

_REVIEW_SECONDS = 5.0
_READ_SECONDS = 5.0
_PLAIN = (
    "%s: environment variables that look like secrets are plain text in it, which everyone who may read it can read: "
    "%s. Keep each in a Secret, and give SecretRef(name, key) as its value."
)
# What the server says of an account's rules, by account and namespace: asked once a process, also where many of its
# steps start at once. What was not found out is asked again by the next step.
_rules: dict[tuple[tuple[str, ...], str], "Future[Mapping[str, Any] | None]"] = {}
_rules_lock = threading.Lock()
# Admission may refuse to one account what another may create.
_dry_runs: set[tuple[tuple[str, ...], str]] = set()


class PreflightCheck:
    """What is checked before an object is created; what cannot be found out is no reason to stop."""

    def __init__(self, api: "KubernetesApi", deadline: Deadline, log: logging.Logger) -> None:
        """Ask nothing yet."""
        self._api, self._deadline, self._log = api, deadline, log

    def run(
        self, request: ClusterRequest, features: tuple[str, ...], level: Preflight, *, is_driver: bool = True
    ) -> None:
        """Raise if what is about to be created cannot work.

        `quick` looks at the names of images, warns of secrets that are plain text, and asks the API server once a
        process which rights the account has. Where only some releases of KubeRay refuse the specification, it asks
        which one is installed. `full` also lets the API server and its admission try the object without keeping it,
        once for each, and warns if no operator is to be seen.

        Args:
            request: The object, which is not created yet.
            features: The features of `_rights` that this configuration uses.
            level: What is checked.
            is_driver: Whether the step's own Python connects as a driver.

        Raises:
            InvalidSpecError: An image has a name that none can have, or the installed KubeRay refuses the
                specification.
            VersionMismatchError: The head's image has another Ray or Python than this process.
            RightsMissingError: The account lacks rights that the step will need.
            KubernetesError, FieldNotSupportedError, CannotStartError: The API server would refuse the object.
        """
        if level == "off":
            return
        wanted = request.wanted
        check_images(wanted.cluster_spec, wanted.target, is_driver=is_driver)
        if names := plain_secrets(wanted.cluster_spec):
            self._log.warning(_PLAIN, wanted.target, ", ".join(names))
        self._check_release(request)
        self._check_rights(request.namespace, features)
        if level == "full":
            self._try(request)
            self._find_operator(wanted)

    def _check_rights(self, namespace: str, features: tuple[str, ...]) -> None:
        rules = self._rules_of(namespace)
        if rules is None:
            return
        missing = missing_rights(rules, rights_of(features_of(features)))
        if missing:
            _rules.pop((self._api.account, namespace), None)  # somebody may grant them before the next step
            named = tuple((right.verb, _resource(right)) for right in missing)
            raise RightsMissingError(namespace, named, features)

    def _rules_of(self, namespace: str) -> Mapping[str, Any] | None:
        """Return the account's rules; None where they are not known. Steps that start meanwhile wait for one answer."""
        key = (self._api.account, namespace)
        with _rules_lock:
            is_first = key not in _rules
            asked = _rules.setdefault(key, Future())
        if not is_first:
            with contextlib.suppress(TimeoutError):
                return asked.result(self._some(_REVIEW_SECONDS).remaining_seconds())
            return None
        found: Mapping[str, Any] | None = None
        try:
            found = self._api.review_rules(namespace, self._some(_REVIEW_SECONDS))
        except DagsterRayError as error:
            self._log.debug("%s: the account's rights are not known: %s", RULES_REVIEWS.resource, error)
        finally:  # also where the step is interrupted
            if found is None:
                _rules.pop(key, None)
            asked.set_result(found)
        return found

    def _try(self, request: ClusterRequest) -> None:
        """Let the API server, and whatever admits objects behind it, look at the object without keeping it."""
        key = (self._api.account, json.dumps(without_metadata(request.manifest.get("spec")), sort_keys=True))
        if key in _dry_runs:
            return
        try:
            post(self._api, Attempt(request, self._api.server, self._log), self._deadline, dry_run=True)
        except ConflictError:
            self._log.debug("The name is taken, which is no matter of the specification.")
        _dry_runs.add(key)

    def _find_operator(self, wanted: Created) -> None:
        """Warn if no operator is to be seen; it may have another label, or live where this account sees nothing."""
        try:
            pods = self._api.list(PODS, None, self._deadline, label_selector=OPERATOR_SELECTOR).items
        except DagsterRayError as error:
            self._log.debug("Whether an operator runs is not known: %s", error)
            return
        found = explain(Facts(rayjob=wanted.manifest, operator_pods=pods))
        if found is not None and found.code in {"operator-missing", "operator-down"}:
            self._log.warning("%s: %s. %s", wanted.target, found.sentence, found.remedy)

    def _check_release(self, request: ClusterRequest) -> None:
        """Raise if the installed release of KubeRay refuses an object that others accept.

        Nothing is asked where all known releases accept it. The CRDs are read anew each time: operators are upgraded.
        """
        refused = refusals("RayJob" if request.kind is RAYJOBS else "RayCluster", None, request.manifest)
        if not refused:
            return
        try:
            found = crd_release(self._api.read(SCHEMA_PATH, self._some(_READ_SECONDS)))
        except DagsterRayError as error:
            self._log.debug("Which KubeRay is installed is not known: %s", error)
            return
        error = None if found is None else refused.get(f"{found.since[0]}.{found.since[1]}")
        if found is not None and error is not None:
            raise InvalidSpecError(error.field, error.reason, error.advice, f"KubeRay {found.text} is installed")

    def _some(self, seconds: float) -> Deadline:
        """Return a deadline of so many seconds, or of what is left."""
        left = min(seconds, self._deadline.remaining_seconds())
        return Deadline(left, self._deadline.clock, self._deadline.sleeper)


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
    ours = of_this_process()
    differs = mismatch(ours, Metadata(found.ray, found.python))
    if differs is not None and not (differs[0] == "Python" and os.environ.get("RAY_IGNORE_VERSION_MISMATCH")):
        raise VersionMismatchError(target, *differs)


def _resource(right: Right) -> str:
    return f"{right.resource}.{right.group}" if right.group else right.resource


def without_metadata(value: object) -> object:
    """Return a specification without the metadata of its templates, which each step has of its own."""
    if isinstance(value, dict):
        given = mapping(cast("object", value))
        return {key: without_metadata(item) for key, item in given.items() if key != "metadata"}
    return [without_metadata(item) for item in cast("list[object]", value)] if isinstance(value, list) else value
