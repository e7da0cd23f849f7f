"""`PipesKubeRayJobClient`: Pipes on a RayJob of its own for each call."""

# Type checkers see no type in Dagster's config classes.
# pyright: reportUnknownMemberType=false

import os
from collections.abc import Mapping
from typing import Any, cast, get_args

from dagster import PipesEnvContextInjector
from typing_extensions import Unpack, override

from dagster_ray.core import Lifecycle, with_values
from dagster_ray.core.variables import resolved, variables
from dagster_ray.kuberay._head.route import Access, checked_head_host
from dagster_ray.kuberay._interactive_job import InteractiveJobLifecycle
from dagster_ray.kuberay._pipes.job import read_call
from dagster_ray.kuberay._pipes.rayjob import rayjob_of
from dagster_ray.kuberay._pipes.run import Call, ClientSettings, run_call
from dagster_ray.kuberay._preflight.checks import Preflight
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._steps.wishes import Settings
from dagster_ray.kuberay.configs import InteractiveRayJobConfig
from dagster_ray.pipes import ClientOptions, CompletedRayJob, RayPipesClient
from dagster_ray.pipes.clients import (
    StepContext,
    call_identity,
    check_context,
    checked_job,
    settings_of,
    with_values_of,
)

_ACCESS: tuple[str, ...] = get_args(Access)
_PREFLIGHT: tuple[str, ...] = get_args(Preflight)


class KubeRayClientOptions(ClientOptions, total=False):
    """What `PipesKubeRayJobClient` takes beside the RayJob's template.

    Keys:
        lifecycle: When the step deletes the RayJob. Unset: on_exception; after success the operator deletes the
            cluster.
        image: Image of every container that has none. Unset: the run's tag dagster/image, else the image of the code
            location, else the public Ray image that matches the step's Ray and Python.
        env_vars: Environment variables of every Ray container, unless the spec sets them.
        queue: Kueue's LocalQueue that admits the RayJob.
        priority: Kueue's WorkloadPriorityClass of the RayJob.
        timeout: Seconds until the cluster's dashboard answers; 600 if unset. How long the job takes does not count.
        queue_timeout: Seconds that a queue may hold the RayJob back; a day if unset.
        access: How the step reaches the head: auto, direct or port_forward.
        head_host: Host name of the head for direct access, with {cluster}, {namespace}, {service} and {pod_ip}.
        preflight: What is checked before anything is created: quick (if unset), full or off, as for the resources.
        kubeconfig_file: Path of a kubeconfig. Unset: the pod's own account, or kubectl's default.
        kube_context: Context of the kubeconfig. Unset: the current one.
    """

    lifecycle: Lifecycle
    image: str | None
    env_vars: Mapping[str, str]
    queue: str | None
    priority: str | None
    timeout: float
    queue_timeout: float
    access: Access
    head_host: str | None
    preflight: Preflight
    kubeconfig_file: str | None
    kube_context: str | None


class PipesKubeRayJobClient(RayPipesClient):
    """Runs each job on a RayJob of its own, with Pipes.

    The RayJob is made in InteractiveMode, the job is submitted through its dashboard as soon as that answers, and the
    operator follows it by its id. A step that died finds RayJob and job again when it is retried.
    Needs the KubeRay operator 1.3.0 or later; ray need not be installed where the step runs.

    Args:
        template: The RayJob without its job, as for `KubeRayInteractiveJob`: metadata, spec, spec_file. Unset: a small
            autoscaling cluster.
        options: See `KubeRayClientOptions`.

    Raises:
        InvalidSpecError: An option cannot work.
    """

    def __init__(
        self,
        template: InteractiveRayJobConfig | Mapping[str, Any] | None = None,
        **options: Unpack[KubeRayClientOptions],
    ) -> None:
        """Check what is given; nothing is sent yet."""
        is_config = isinstance(template, InteractiveRayJobConfig)
        self._template = template if is_config else InteractiveRayJobConfig(**(template or {}))
        self._injector = options.get("context_injector")
        self._options = options
        if not any(variables(options)):
            _settings_of(options)

    @override
    def run(
        self, *, context: StepContext, ray_job: Mapping[str, Any], extras: Mapping[str, Any] | None = None
    ) -> CompletedRayJob:
        """Make a RayJob, submit the job, follow it to its end and return its results.

        Args:
            context: The context of the asset or op.
            ray_job: The parameters of Ray's job API, and beside them `template` (metadata and spec of the RayJob, over
                the client's) or `cluster_selector` (`{"ray.io/cluster": name}` of a RayCluster that exists). Or the
                manifest of a RayJob.
            extras: What the job finds in its Pipes context.

        Raises:
            InvalidSubmissionError, InvalidSpecError: `ray_job` has a wrong field; nothing was created.
            PipesContextTooLargeError: The Pipes context does not fit; nothing was created.
            DagsterRayError: The cluster did not start: the errors of `KubeRayInteractiveJob`.
            RayJobFailedError: The job has failed or was stopped.
            PipesMessagesMissingError: The job succeeded, but its Pipes session was not heard to its end.
            JobLostError: The job's node, cluster or RayJob is gone.
            JobServerUnavailableError: The dashboard was away too long.
        """
        settings = _settings_of(self._options)
        selector = {key: resolved(ray_job[key], os.environ, key) for key in ("cluster_selector",) if key in ray_job}
        found = read_call({**ray_job, **selector})
        job = checked_job(found.submission)
        check_context(context, extras, self._injector)
        plain = rayjob_of(self._template, found)
        around = {"template": plain, "cluster": found.cluster}
        identity = call_identity(context, {**job, **around}, extras, settings.rayjob.image)
        injector = self._injector or PipesEnvContextInjector()
        return run_call(settings, Call(context, identity, plain, found.cluster, job, extras, injector))


def of_every_client(options: KubeRayClientOptions) -> ClientOptions:
    """Return the options that the other Pipes clients have too."""
    return cast(
        "ClientOptions", {name: value for name, value in options.items() if name in ClientOptions.__annotations__}
    )


def _settings_of(given: KubeRayClientOptions) -> ClientSettings:
    options: KubeRayClientOptions = with_values_of(given, KubeRayClientOptions)
    lifecycle = with_values(options.get("lifecycle") or InteractiveJobLifecycle(), os.environ, "lifecycle")
    if not (lifecycle.create and lifecycle.wait and lifecycle.connect):
        reason = "switches a phase off, and each call of a Pipes client runs all of them"
        raise InvalidSpecError("lifecycle", reason, "set only `cleanup`")
    access, head_host = options.get("access", "auto"), options.get("head_host")
    preflight = options.get("preflight", "quick")
    for name, word, known in (("access", access, _ACCESS), ("preflight", preflight, _PREFLIGHT)):
        if word not in known:
            raise InvalidSpecError(name, f"is {word!r}", f"use one of: {', '.join(known)}")
    timeout, queue_timeout = options.get("timeout", 600.0), options.get("queue_timeout", 86400.0)
    for name, seconds in (("timeout", timeout), ("queue_timeout", queue_timeout)):
        if seconds <= 0:
            raise InvalidSpecError(name, f"is {seconds:g}", "give more than 0 seconds")
    return ClientSettings(
        rayjob=Settings(
            image=options.get("image"),
            env_vars=dict(options.get("env_vars", {})),
            queue=options.get("queue"),
            priority=options.get("priority"),
            timeout_seconds=timeout,
            cleanup=lifecycle.cleanup,
        ),
        run=settings_of(of_every_client(options)),
        queue_timeout=queue_timeout,
        access=access,
        head_host=None if head_host is None else checked_head_host(head_host),
        preflight=preflight,
        kubeconfig_file=options.get("kubeconfig_file"),
        kube_context=options.get("kube_context"),
    )
