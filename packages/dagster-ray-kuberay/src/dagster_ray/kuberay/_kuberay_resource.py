"""`KubeRayResource`: what the resources of the KubeRay backend have in common."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PrivateAttr, field_validator
from typing_extensions import override

from dagster_ray.core import BaseRayResource, DagsterContext, Deadline, WaitLines, log_of
from dagster_ray.core.errors import NotConnectedError
from dagster_ray.core.variables import is_env_var, resolved

# What only a running step needs loads with the step: a code location imports this module to read its configuration.
if TYPE_CHECKING:
    from dagster_ray.kuberay._head.route import Route
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
    from dagster_ray.kuberay._status.cluster_state import Created
    from dagster_ray.kuberay._steps.creation import Wish
    from dagster_ray.kuberay._steps.wait import ClusterWait, WaitPlan
    from dagster_ray.kuberay._steps.wishes import Settings


@dataclass(slots=True)
class Work:
    """What one execution of a resource holds."""

    api: "KubernetesApi | None" = None
    wish: "Wish | None" = None
    own: "Created | None" = None
    wait: "ClusterWait | None" = None
    route: "Route | None" = None
    token: str | None = None
    connecting: tuple[Deadline, WaitLines] | None = None
    """How long the driver has been connecting since its first attempt failed, and when that is logged."""


class KubeRayResource(BaseRayResource):
    """A cluster on Kubernetes that a driver reaches by Ray Client. `KubeRayInteractiveJob` and `KubeRayCluster`."""

    image: str | None = Field(
        default=None,
        description=(
            "Image of every container that has none. Unset: the run's tag dagster/image, else the image of the code "
            "location, else the public Ray image that matches the step's Ray and Python."
        ),
    )
    env_vars: dict[str, str] = Field(
        default_factory=dict, description="Environment variables of every Ray container, unless the spec sets them."
    )
    queue: str | None = Field(default=None, description="Kueue's LocalQueue that admits the cluster.")
    priority: str | None = Field(default=None, description="Kueue's WorkloadPriorityClass of the cluster.")
    queue_timeout: float = Field(
        default=86400.0,
        gt=0,
        description="Seconds that a queue may hold the cluster back; the timeout stands still meanwhile.",
    )
    wait_for: Literal["head", "workers"] = Field(
        default="head",
        description=(
            "head: connect as soon as the head accepts drivers. workers: when the operator has seen all pods ready."
        ),
    )
    access: Literal["auto", "direct", "port_forward"] = Field(
        default="auto",
        description=(
            "How the step reaches the head. direct: its Service. port_forward: through the Kubernetes API. auto: "
            "direct inside the cluster or where head_host is set, else port_forward."
        ),
    )
    head_host: str | None = Field(
        default=None,
        description=(
            "Host name of the head for direct access, with {cluster}, {namespace}, {service} and {pod_ip}. Unset: "
            "{service}.{namespace}.svc"
        ),
    )
    kubeconfig_file: str | None = Field(
        default=None, description="Path of a kubeconfig. Unset: the pod's own account, or kubectl's default."
    )
    kube_context: str | None = Field(default=None, description="Context of the kubeconfig. Unset: the current one.")

    preflight: Literal["quick", "full", "off"] = Field(
        default="quick",
        description=(
            "What is checked before anything is created. quick: names and versions of images, the rules of the "
            "installed KubeRay, and by one request a process the account's rights. full: also whether the API server "
            "and its admission take the object, and it warns if no operator is to be seen. off: nothing."
        ),
    )

    _work: Work = PrivateAttr(default_factory=Work)

    @field_validator("head_host")
    @classmethod
    def _head_host_has_known_places(cls, value: str | None) -> str | None:
        from dagster_ray.kuberay._head.route import checked_head_host

        return value if value is None or is_env_var(value) else checked_head_host(value)

    # What users read

    @property
    @override
    def address(self) -> str:
        """Where the driver connects: `ray://host:port`."""
        if self._work.route is None:
            raise NotConnectedError(self.display_name, "address", "the cluster's head is not known yet")
        return self._work.route.address

    @property
    @override
    def dashboard_url(self) -> str | None:
        """The dashboard's URL for this process. Through a port-forward it works as long as the step runs."""
        return self._work.route.dashboard_url if self._work.route is not None else None

    @property
    @override
    def startup_seconds(self) -> Mapping[str, float]:
        """Seconds that each finished phase took, and that a queue held the cluster back."""
        queued = self._work.wait.queued_seconds if self._work.wait is not None else 0.0
        return {**super().startup_seconds, **({"queue": queued} if queued else {})}

    # The phases

    @override
    def driver_environment(self) -> Mapping[str, str]:
        """What Ray Client needs for a cluster with a token."""
        return {} if self._work.token is None else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self._work.token}

    @override
    def check_cluster(self, context: DagsterContext) -> None:
        """Raise if the cluster has ended or is gone, and take note of a new head pod."""
        from dagster_ray.kuberay._steps import cluster_steps as steps

        api, own = self._created
        steps.check(api, own, self._work.wait, context)
        if self._work.connecting is None:
            self._work.connecting = Deadline(float("inf")), WaitLines()
        since, lines = self._work.connecting
        if lines.due("connecting", since.spent_seconds()) == "still" and self._work.route is not None:
            said = "%s: still connecting the driver to %s after %.0f s."
            log_of(context).info(said, self.display_name, self._work.route.place, since.spent_seconds())

    @override
    def release(self, context: DagsterContext) -> None:
        """Close the connections to the head and to Kubernetes."""
        work = self._work
        route, api = work.route, work.api
        work.route = work.api = work.wait = work.token = work.connecting = None
        if route is not None:
            route.close()
        if api is not None:
            api.close()

    @property
    def _created(self) -> "tuple[KubernetesApi, Created]":
        api, own = self._work.api, self._work.own
        if api is None or own is None:
            raise NotConnectedError(self.display_name, "cluster", "it was not created, or was cleaned up already")
        return api, own

    def _check_before(
        self,
        api: "KubernetesApi",
        wish: "Wish",
        manifest: dict[str, Any],
        feature: str,
        *,
        deadline: Deadline,
        log: logging.Logger,
    ) -> None:
        """Raise if what is about to be created cannot work."""
        from dagster_ray.kuberay._head.route import goes_direct
        from dagster_ray.kuberay._steps import preflight as checks

        direct = goes_direct(self.access, in_cluster=api.in_cluster, head_host=self.head_host)
        features = (feature,) if direct else (feature, "port-forward")
        flight = checks.Flight(wish, manifest, features)
        checks.check(api, flight, self.preflight, deadline, log)

    def _wait_plan(self, api: "KubernetesApi") -> "WaitPlan":
        from dagster_ray.kuberay._steps import cluster_steps as steps

        return steps.wait_plan(
            api,
            access=self.access,
            head_host=self.head_host,
            wait_for=self.wait_for,
            queue_timeout=self.queue_timeout,
        )

    @property
    def _settings(self) -> "Settings":
        from dagster_ray.kuberay._steps.wishes import Settings

        return Settings(
            image=self.image,
            env_vars=resolved(self.env_vars, os.environ, "env_vars"),
            queue=self.queue,
            priority=self.priority,
            timeout_seconds=self.timeout,
            cleanup=self._plan.cleanup,
        )
