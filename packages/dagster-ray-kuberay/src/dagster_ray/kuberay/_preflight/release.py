"""Whether the operator that is installed refuses a specification, by the release that its CRDs show."""

import logging
from typing import TYPE_CHECKING, Any

from dagster_ray.core import Deadline
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS, Kind
from dagster_ray.kuberay._operator_rules.crd_release import SCHEMA_PATH, CrdRelease, crd_release
from dagster_ray.kuberay._spec.acceptance import refusals
from dagster_ray.kuberay._spec.errors import InvalidSpecError

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

_READ_SECONDS = 5.0


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
