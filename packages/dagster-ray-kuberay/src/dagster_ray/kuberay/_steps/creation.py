"""How an object is asked for so that exactly one exists, whatever happens to the answer.

The name is fixed before the POST, so a POST whose answer was lost finds its own object by a 409.
"""

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dagster_ray.core import Deadline
from dagster_ray.core.errors import NotReadyError
from dagster_ray.kuberay._diagnosis.diagnosis import explain_answer
from dagster_ray.kuberay._kubernetes.errors import InvalidObjectError, KubernetesError, NotFoundError
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, name_of, texts
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS, Kind
from dagster_ray.kuberay._labels import MANAGED_BY, MANAGED_BY_LABEL, RESOURCE_LABEL, RUN_LABEL, STEP_LABEL
from dagster_ray.kuberay._spec.acceptance import STRATEGY, without_fields
from dagster_ray.kuberay._spec.manifests import named
from dagster_ray.kuberay._status.cluster_state import Created, Ended, created
from dagster_ray.kuberay._status.errors import CannotStartError, FieldNotSupportedError
from dagster_ray.kuberay._steps.handed_secret import HandedSecret

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

CREATION_ANNOTATION = "dagster/creation-id"
IDENTITY_LABELS = (MANAGED_BY_LABEL, RUN_LABEL, STEP_LABEL, RESOURCE_LABEL)

_LOOK_SECONDS = 1.0
_LOST_POST_SECONDS = 1.0
_LOST_POST_LOOKS = 8  # within the 20 s that a cleanup has

# Fields that an API server does not know, by its URL: asking costs a request, so it is asked once a process.
_unknown_fields: dict[str, frozenset[str]] = {}


@dataclass(frozen=True, slots=True)
class ClusterRequest:
    """The object that is wanted.

    Attributes:
        kind: RAYJOBS or RAYCLUSTERS.
        names: Names to try, in order.
        manifest: The object under the first of them.
        ours: Paths of fields that the user did not ask for; they are left out where the server does not know them.
        handed: What its containers take from a Secret that is made after it; None: nothing.
    """

    kind: Kind
    names: tuple[str, ...]
    manifest: dict[str, Any]
    ours: frozenset[str] = frozenset()
    handed: HandedSecret | None = None

    @property
    def namespace(self) -> str:
        """The object's namespace."""
        return str(at(self.manifest, "metadata", "namespace"))

    @property
    def creation_id(self) -> object:
        """The value of the annotation by which a lost POST finds its object."""
        return at(self.manifest, "metadata", "annotations", CREATION_ANNOTATION)

    @property
    def wanted(self) -> Created:
        """The object as if it existed, under the first name."""
        return created(self.kind, self.namespace, self.manifest)


class Attempt:
    """What is POSTed next for a request: under which name, and without which fields."""

    def __init__(self, request: ClusterRequest, server: str, log: logging.Logger) -> None:
        """Begin with the first name, and without what this process knows that the API server does not know."""
        self.request, self._server, self._log = request, server, log
        self._names = iter(request.names[1:])
        self._whole = request.manifest
        self.body = self._without(_unknown_fields.get(server, frozenset()))

    @property
    def name(self) -> str:
        """The name that is tried."""
        return name_of(self._whole)

    @property
    def target(self) -> str:
        """The object for people."""
        return f"{self.request.kind.kind} {self.request.namespace}/{self.name}"

    def next_name(self) -> bool:
        """Go on to the next name; begin with the first one again, and return False, if there is none."""
        name = next(self._names, None)
        self._whole = self.request.manifest if name is None else named(self.request.manifest, name)
        self.body = self._without(_unknown_fields.get(self._server, frozenset()))
        if name is None:
            self._names = iter(self.request.names[1:])
        return name is not None

    def after(self, error: KubernetesError) -> None:
        """Leave out the fields that the server said it does not know, or raise what its refusal means.

        Raises:
            FieldNotSupportedError: Without a field the object would mean something else.
            CannotStartError: A quota, an admission policy or a namespace that ends keeps the object out.
            KubernetesError: The server refused for another reason.
        """
        known = _unknown_fields.get(self._server, frozenset())
        fresh = frozenset(error.unknown_fields if isinstance(error, InvalidObjectError) else ()) - known
        if fresh:
            self.body = self._without(known | fresh)
            _unknown_fields[self._server] = known | fresh
            said = ", ".join(sorted(known | fresh))
            self._log.info("This KubeRay does not know %s; the portable form is used.", said)
            return
        found = explain_answer(error.status, error.message)
        if found is None:
            raise error
        raise CannotStartError(self.target, found.code, found.reason, found.sentence, found.remedy) from error

    def _without(self, unknown: frozenset[str]) -> dict[str, Any]:
        spec = self._whole["spec"]
        present = {path for path in unknown if path.count(".") != 1 or path.removeprefix("spec.") in spec}
        wanted = without_fields(self._whole, sorted(present), self.request.ours)
        if wanted is None:
            raise FieldNotSupportedError(self.target, min(present - self.request.ours))
        return wanted


def post(api: "KubernetesApi", attempt: Attempt, deadline: Deadline, *, dry_run: bool = False) -> Mapping[str, Any]:
    """POST an object under one name; with `dry_run` the server only tries it.

    Raises:
        ConflictError: The name is taken, perhaps by a POST whose answer was lost.
        FieldNotSupportedError, CannotStartError, KubernetesError: As `Attempt.after`.
    """
    request = attempt.request
    while True:
        try:
            return api.create(request.kind, request.namespace, attempt.body, deadline, dry_run=dry_run)
        except KubernetesError as error:
            attempt.after(error)


def refuse_strategy(server: str) -> None:
    """Remember that the operator behind this API server refuses `deletionStrategy`."""
    _unknown_fields[server] = _unknown_fields.get(server, frozenset()) | {STRATEGY}


def whose(kind: Kind, existing: Manifest, wanted: Manifest) -> Literal["ours", "used", "foreign"]:
    """Return whether an object under the wanted name came from this POST or this step, or belongs to somebody else.

    `used`: made by an earlier process of this step, and no longer fit for a driver. A RayJob ends with its first
    driver; a RayCluster takes any number.
    """
    if at(existing, "metadata", "annotations", CREATION_ANNOTATION) == at(
        wanted, "metadata", "annotations", CREATION_ANNOTATION
    ):
        return "ours"
    labels = [
        (at(existing, "metadata", "labels", key), at(wanted, "metadata", "labels", key)) for key in IDENTITY_LABELS
    ]
    if any(there != here for there, here in labels) or labels[1][0] is None:
        return "foreign"
    found = created(kind, "", existing)
    if isinstance(found.state_of(existing), Ended) or (kind is RAYJOBS and at(existing, "spec", "jobId")):
        return "used"
    return "ours"


def is_going_and_ours(existing: Manifest) -> bool:
    """Return whether an object of dagster-ray is being deleted, so that its name will be free."""
    is_going = bool(at(existing, "metadata", "deletionTimestamp"))
    return is_going and at(existing, "metadata", "labels", MANAGED_BY_LABEL) == MANAGED_BY


def await_end(api: "KubernetesApi", old: Created, deadline: Deadline) -> None:
    """Wait until an object that is being deleted is gone.

    Raises:
        NotReadyError: The deadline passed.
        KubernetesError: The object cannot be watched.
    """
    version = str(at(old.manifest, "metadata", "resourceVersion"))
    known = [old.manifest]
    with api.watch(old.kind, old.namespace, name=old.name, resource_version=version, known=known) as stream:
        while not deadline.is_over():
            event = stream.next(min(_LOOK_SECONDS, deadline.remaining_seconds()))
            if event is None:
                continue
            if event.type == "DELETED" or at(event.object, "metadata", "uid") != old.uid:
                return
        absence = stream.absence
    if absence is not None:
        raise absence
    held_by = texts(old.manifest, "metadata", "finalizers")
    advice = f"find out why it is not removed; its finalizers are {', '.join(held_by)}." if held_by else ""
    raise NotReadyError(old.target, deadline.budget_seconds, "an earlier one of this name is being deleted", advice)


def find_lost(api: "KubernetesApi", request: ClusterRequest, deadline: Deadline) -> Created | None:
    """Return the object that an interrupted POST has made, if it made one.

    The server may still be at work on the POST, so it is looked for during some seconds.
    """
    for _ in range(_LOST_POST_LOOKS):
        for name in request.names:
            with contextlib.suppress(NotFoundError):
                existing = api.get(request.kind, request.namespace, name, deadline)
                if at(existing, "metadata", "annotations", CREATION_ANNOTATION) == request.creation_id:
                    return created(request.kind, request.namespace, existing)
        deadline.sleep(_LOST_POST_SECONDS)
    return None
