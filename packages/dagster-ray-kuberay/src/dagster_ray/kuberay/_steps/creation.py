"""Ask for a RayJob or RayCluster so that exactly one exists, whatever happens to the answer."""

import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dagster_ray.core import Deadline
from dagster_ray.core.errors import DagsterRayError, NotReadyError
from dagster_ray.kuberay._diagnosis.diagnosis import explain_answer
from dagster_ray.kuberay._kubernetes.errors import KubernetesError, UnavailableError
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, texts
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS, Kind
from dagster_ray.kuberay._labels import MANAGED_BY, MANAGED_BY_LABEL, RESOURCE_LABEL, RUN_LABEL, STEP_LABEL
from dagster_ray.kuberay._spec.portable import without_fields
from dagster_ray.kuberay._status.cluster_state import Created, Ended, created
from dagster_ray.kuberay._status.errors import CannotStartError, FieldNotSupportedError, NameTakenError

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

CREATION_ANNOTATION = "dagster/creation-id"
_AGAIN_SECONDS = 0.5
_LOOK_SECONDS = 1.0
IDENTITY_LABELS = (MANAGED_BY_LABEL, RUN_LABEL, STEP_LABEL, RESOURCE_LABEL)

# Fields that an API server does not know, by its URL: asking costs a request, so it is asked once a process.
_unknown_fields: dict[str, frozenset[str]] = {}


@dataclass(frozen=True, slots=True)
class Wish:
    """The object that is wanted."""

    kind: Kind
    """RAYJOBS or RAYCLUSTERS."""
    namespace: str
    names: tuple[str, ...]
    """Names to try, in order."""
    creation_id: str
    """The value of the annotation by which a lost POST finds its object."""
    render: Callable[[str], dict[str, Any]]
    """Returns the manifest under a name."""
    ours: frozenset[str]
    """Paths of fields that the user did not ask for; they are left out where the server does not know them."""


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


@contextmanager
def forgotten_if_refused(api: "KubernetesApi", forget: Callable[[], None]) -> Generator[None]:
    """Call `forget` if the body fails and has certainly made nothing.

    A refusal proves that only if every attempt before it was answered: a server may carry out a request, lose the
    answer, and refuse the repetition, for example because the first request has used up the quota. A name that is
    taken was read after the last attempt, so that it is proof as well.

    Args:
        api: What the body asks for its object.
        forget: Drops what the cleanup would look for.
    """
    unanswered = api.unanswered_writes
    try:
        yield
    except DagsterRayError as error:
        all_answered = not isinstance(error, UnavailableError) and api.unanswered_writes == unanswered
        if all_answered or isinstance(error, NameTakenError):
            forget()
        raise


def create(api: "KubernetesApi", wish: Wish, deadline: Deadline, log: logging.Logger) -> Created:
    """POST the object under the first free name.

    The name is fixed before the POST, so a POST whose answer was lost finds its own object by a 409. A name that an
    object of dagster-ray keeps while it is being deleted is waited for.

    Raises:
        NameTakenError: All names are taken by objects that are not ours, or no longer fit.
        NotReadyError: The deadline passed while an earlier object of the name was being deleted.
        FieldNotSupportedError: The API server's CRD is older than a field of the spec.
        CannotStartError: A quota, an admission policy or a namespace that ends keeps the object out.
        KubernetesError: The API server refused for another reason.
    """
    while True:
        existing: Mapping[str, Any] = {}
        for name in wish.names:
            manifest = wish.render(name)
            existing, is_ours = _create(api, wish, manifest, deadline, log)
            if is_ours:
                return created(wish.kind, wish.namespace, existing)
        old = created(wish.kind, wish.namespace, existing)
        if (
            not at(existing, "metadata", "deletionTimestamp")
            or at(existing, "metadata", "labels", MANAGED_BY_LABEL) != MANAGED_BY
        ):
            raise NameTakenError(old.target)
        log.info("%s from an earlier step is still being deleted. This step waits for its name.", old.target)
        _await_end(api, old, deadline)


def _await_end(api: "KubernetesApi", old: Created, deadline: Deadline) -> None:
    """Wait until an object that is being deleted is gone."""
    version = str(at(old.manifest, "metadata", "resourceVersion"))
    with api.watch(old.kind, old.namespace, name=old.name, resource_version=version) as stream:
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


def _create(
    api: "KubernetesApi", wish: Wish, manifest: dict[str, Any], deadline: Deadline, log: logging.Logger
) -> tuple[Mapping[str, Any], bool]:
    """Return the object that has the name, and whether it is ours."""
    from dagster_ray.kuberay._kubernetes.errors import ConflictError, NotFoundError

    while True:
        try:
            return post(api, wish, manifest, deadline, log), True
        except ConflictError:
            try:
                existing = api.get(wish.kind, wish.namespace, str(at(manifest, "metadata", "name")), deadline)
            except NotFoundError:  # it went in between, so the name is free
                if deadline.sleep(_AGAIN_SECONDS):
                    continue
                raise
            return existing, whose(wish.kind, existing, manifest) == "ours"


def post(
    api: "KubernetesApi",
    wish: Wish,
    manifest: dict[str, Any],
    deadline: Deadline,
    log: logging.Logger,
    *,
    dry_run: bool = False,
) -> Mapping[str, Any]:
    """POST a manifest, in the portable form where the API server does not know a field of it.

    With `dry_run` the server only tries it.

    Raises:
        FieldNotSupportedError: The API server's CRD is older than a field of the spec.
        ConflictError: The name is taken, perhaps by a POST whose answer was lost.
        CannotStartError: A quota, an admission policy or a namespace that ends keeps the object out.
        KubernetesError: The API server refused for another reason.
    """
    from dagster_ray.kuberay._kubernetes.errors import InvalidObjectError

    with _explained(f"{wish.kind.kind} {wish.namespace}/{at(manifest, 'metadata', 'name')}"):
        wanted = _without(wish, manifest, _unknown_fields.get(api.server, frozenset()))
        try:
            return api.create(wish.kind, wish.namespace, wanted, deadline, dry_run=dry_run)
        except InvalidObjectError as error:
            if not error.unknown_fields:
                raise
            unknown = _unknown_fields.get(api.server, frozenset()) | frozenset(error.unknown_fields)
            wanted = _without(wish, manifest, unknown)
            _unknown_fields[api.server] = unknown
            log.info("This KubeRay does not know %s; the portable form is used.", ", ".join(sorted(unknown)))
        return api.create(wish.kind, wish.namespace, wanted, deadline, dry_run=dry_run)


@contextmanager
def _explained(target: str) -> Generator[None]:
    """Say what keeps the object out, where the API server's refusal tells it."""
    try:
        yield
    except KubernetesError as error:
        found = explain_answer(error.status, error.message)
        if found is None:
            raise
        raise CannotStartError(target, found.code, found.reason, found.sentence, found.remedy) from error


def _without(wish: Wish, manifest: dict[str, Any], unknown: frozenset[str]) -> dict[str, Any]:
    present = {path for path in unknown if path.count(".") != 1 or path.removeprefix("spec.") in manifest["spec"]}
    wanted = without_fields(manifest, sorted(present), wish.ours)
    if wanted is None:
        field_path = min(present - wish.ours)
        raise FieldNotSupportedError(
            f"{wish.kind.kind} {wish.namespace}/{at(manifest, 'metadata', 'name')}", field_path
        )
    return wanted


def refuse_strategy(api: "KubernetesApi") -> None:
    """Remember that the operator behind this API server refuses `deletionStrategy`."""
    from dagster_ray.kuberay._spec.portable import STRATEGY

    _unknown_fields[api.server] = _unknown_fields.get(api.server, frozenset()) | {STRATEGY}
