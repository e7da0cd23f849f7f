"""One call of `PipesKubeRayJobClient` as plain data: what its client was made with, and what it is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dagster import PipesContextInjector

from dagster_ray.core import StepContext
from dagster_ray.kuberay._head.route import Access
from dagster_ray.kuberay._hours.figures import Rate
from dagster_ray.kuberay._spec.plain_json import Json
from dagster_ray.kuberay._steps.preflight import Preflight
from dagster_ray.kuberay._steps.requests import Settings
from dagster_ray.pipes.clients import CallIdentity, RunSettings


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """The arguments of a client."""

    rayjob: Settings
    run: RunSettings
    queue_timeout: float
    access: Access
    head_host: str | None
    preflight: Preflight
    kubeconfig_file: str | None
    kube_context: str | None
    retry_infrastructure: int
    secret_context: bool
    hours: bool
    rates: Sequence[Rate]
    evidence: str | None
    hold_on_failure: float


@dataclass(frozen=True, slots=True)
class Call:
    """What one call is about."""

    context: StepContext
    identity: CallIdentity
    plain: Json
    cluster: str | None
    job: Mapping[str, Any]
    extras: Mapping[str, Any] | None
    injector: PipesContextInjector
    secret_context: str | None = field(repr=False)
    """The Pipes context, where a Secret hands it over; None: the job's environment does."""
