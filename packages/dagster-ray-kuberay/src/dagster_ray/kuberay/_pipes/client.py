"""`PipesKubeRayJobClient`: Pipes on a RayJob of its own for each call."""

# Type checkers see no type in Dagster's config classes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from dagster import PipesContextInjector, PipesEnvContextInjector
from typing_extensions import override

from dagster_ray.core import Lifecycle, StepContext, with_values
from dagster_ray.core.step_report.config import Progress
from dagster_ray.core.variables import env_vars_fault, resolved
from dagster_ray.kuberay._bundle.storage import checked_place
from dagster_ray.kuberay._head.route import Access, checked_head_host
from dagster_ray.kuberay._hours.prices import Price
from dagster_ray.kuberay._interactive_job import LONGEST_HOLD_SECONDS, InteractiveJobLifecycle
from dagster_ray.kuberay._pipes.call import Call, ClientSettings
from dagster_ray.kuberay._pipes.job import read_call, with_secrets_apart
from dagster_ray.kuberay._pipes.rayjob import rayjob_of
from dagster_ray.kuberay._pipes.run import run_call
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.secrets import EnvValue
from dagster_ray.kuberay._steps.preflight import Preflight
from dagster_ray.kuberay._steps.requests import Settings
from dagster_ray.kuberay.configs import InteractiveRayJobConfig
from dagster_ray.pipes import CompletedRayJob, RayPipesClient
from dagster_ray.pipes.clients import (
    ClientOptions,
    MessageChannel,
    RequireMessages,
    call_identity,
    check_context,
    checked_job,
    context_text,
)

_ACCESS: tuple[str, ...] = get_args(Access)
_PREFLIGHT: tuple[str, ...] = get_args(Preflight)


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeRayClientOptions(ClientOptions):
    """The options of `PipesKubeRayJobClient`, perhaps as references to variables."""

    lifecycle: Lifecycle | None
    image: str | None
    env_vars: Mapping[str, EnvValue] | None
    queue: str | None
    priority: str | None
    timeout: float
    queue_timeout: float
    access: Access
    head_host: str | None
    preflight: Preflight
    kubeconfig_file: str | None
    kube_context: str | None
    secret_context: bool
    hours: bool
    prices: Sequence[Price]
    evidence: str | None
    hold_on_failure: float

    def check(self) -> None:
        """Raise as `settings` does, unless an option waits for a variable."""
        if self.are_known:
            self.settings()

    def settings(self) -> ClientSettings:
        """Return the settings of a call.

        Raises:
            InvalidSpecError: An option cannot work.
            MissingVariableError, InvalidVariableError: A variable is not set, or is not of the option's type.
        """
        return self.with_values(os.environ)._checked()  # noqa: SLF001 - of this class

    def _checked(self) -> ClientSettings:
        for name, word, known in (("access", self.access, _ACCESS), ("preflight", self.preflight, _PREFLIGHT)):
            if word not in known:
                raise InvalidSpecError(name, f"is {word!r}", f"use one of: {', '.join(known)}")
        if (fault := env_vars_fault(self.env_vars or {}, "env_vars", takes_secrets=True)) is not None:
            raise InvalidSpecError(*fault)
        for name, seconds in (("timeout", self.timeout), ("queue_timeout", self.queue_timeout)):
            if seconds <= 0:
                raise InvalidSpecError(name, f"is {seconds:g}", "give more than 0 seconds")
        if not 0 <= self.hold_on_failure <= LONGEST_HOLD_SECONDS:
            advice = f"give 0 to {LONGEST_HOLD_SECONDS} seconds: a day at most"
            raise InvalidSpecError("hold_on_failure", f"is {self.hold_on_failure:g}", advice)
        if self.secret_context and self.context_injector is not None:
            reason = "is set together with `context_injector`, and only one of them can pass the context"
            raise InvalidSpecError("secret_context", reason, "remove one of the two")
        lifecycle = self._lifecycle()
        return ClientSettings(
            rayjob=Settings(
                image=self.image,
                env_vars=dict(self.env_vars or {}),
                queue=self.queue,
                priority=self.priority,
                timeout_seconds=self.timeout,
                cleanup=lifecycle.cleanup,
            ),
            run=self.run_settings(),
            queue_timeout=self.queue_timeout,
            access=self.access,
            head_host=None if self.head_host is None else checked_head_host(self.head_host),
            preflight=self.preflight,
            kubeconfig_file=self.kubeconfig_file,
            kube_context=self.kube_context,
            retry_infrastructure=lifecycle.retry_infrastructure,
            secret_context=self.secret_context,
            hours=self.hours,
            rates=[price.rate() for price in self.prices],
            evidence=None if self.evidence is None else checked_place(self.evidence),
            hold_on_failure=self.hold_on_failure,
        )

    def _lifecycle(self) -> Lifecycle:
        given: Lifecycle = InteractiveJobLifecycle() if self.lifecycle is None else self.lifecycle
        lifecycle = with_values(given, os.environ, "lifecycle")
        if not (lifecycle.create and lifecycle.wait and lifecycle.connect):
            reason = "switches a phase off, and each call of a Pipes client runs all of them"
            raise InvalidSpecError("lifecycle", reason, "set only `cleanup` and `retry_infrastructure`")
        return lifecycle


def _config_of(template: InteractiveRayJobConfig | Mapping[str, Any] | None) -> InteractiveRayJobConfig:
    return template if isinstance(template, InteractiveRayJobConfig) else InteractiveRayJobConfig(**(template or {}))


class PipesKubeRayJobClient(RayPipesClient):
    """Runs each job on a RayJob of its own, with Pipes.

    The RayJob is made in InteractiveMode, the job is submitted through its dashboard as soon as that answers, and the
    operator follows it by its id. A step that died finds RayJob and job again when it is retried.
    Needs the KubeRay operator 1.3.0 or later; ray need not be installed where the step runs.

    Args:
        template: The RayJob without its job, as for `KubeRayInteractiveJob`: metadata, spec, spec_file. None: a small
            autoscaling cluster.
        lifecycle: When the step deletes the RayJob, and how often it is tried again because infrastructure failed.
            None: on_exception, and never; after success the operator deletes the cluster.
        image: Image of every container that has none. None: the run's tag dagster/image, else the image of the code
            location, else the public Ray image that matches the step's Ray and Python.
        env_vars: Environment variables of every Ray container, unless the spec sets them: text, or `SecretRef`.
        queue: Kueue's LocalQueue that admits the RayJob.
        priority: Kueue's WorkloadPriorityClass of the RayJob.
        timeout: Seconds until the cluster's dashboard answers. How long the job takes does not count.
        queue_timeout: Seconds that a queue may hold the RayJob back.
        access: How the step reaches the head: auto, direct or port_forward.
        head_host: Host name of the head for direct access, with {cluster}, {namespace}, {service} and {pod_ip}.
        preflight: What is checked before anything is created: quick, full or off, as for the resources.
        kubeconfig_file: Path of a kubeconfig. None: the pod's own account, or kubectl's default.
        kube_context: Context of the kubeconfig. None: the current one.
        secret_context: Whether the Pipes context, with `extras`, reaches the job by a Secret that is made for the
            RayJob and goes with it, so that neither Ray's dashboard nor the RayJob shows it. The account needs the
            rights of the feature secret-context. Refused together with `context_injector`, and for a job on a
            RayCluster that exists.
        hours: Whether figures of what the cluster reserves and uses go into the metadata of what the job makes, and
            into one event of the run. Costs one list and one watch of the cluster's pods.
        prices: With hours: prices by which the figures contain a cost. The first one that fits a node is used.
        evidence: Folder, or URL of a file system that fsspec knows, where the evidence of a failure is written before
            the RayJob is deleted: objects, events, logs and failed tasks. None: none is kept.
        hold_on_failure: Seconds for which the cluster of a job that failed is held, so that you can look at it: up to a
            day. It costs money until then. A step that is tried again or was interrupted holds nothing, nor does a job
            that was lost, or that runs on a cluster which exists without it.
        context_injector: How the Pipes context is passed. None: in an environment variable.
        forward_termination: Whether the job is stopped when the step is interrupted. False: it continues, and a retry
            of the step follows it.
        termination_timeout: Seconds that a job has to end after it was asked to stop.
        require_messages: if_opened: a job that succeeds must close the Pipes session that it has opened. always: it
            must open one, too. never: what is missing is a warning.
        message_channel: How messages arrive. file: in a file of Ray's log folder. log: in the driver's log. auto: in
            a file if the dashboard reports the folder.
        forward_logs: Whether the driver's log goes to the step's compute log.
        server_timeout: Seconds for which the dashboard, once it has answered, may be unavailable: while a job is
            submitted, and while it runs.
        progress: What becomes of the progress of Ray Data and Ray Train. report: a line in the run's log at most once a
            minute, and a table at the end. bars: Ray's own progress bars and colors, in the job's log. off: neither.
            The bars of a job are switched off by `off` only.

    Raises:
        InvalidFieldError: `progress` has no such value.
        InvalidSpecError: An option cannot work.
    """

    def __init__(
        self,
        template: InteractiveRayJobConfig | Mapping[str, Any] | None = None,
        *,
        lifecycle: Lifecycle | None = None,
        image: str | None = None,
        env_vars: Mapping[str, EnvValue] | None = None,
        queue: str | None = None,
        priority: str | None = None,
        timeout: float = 600.0,
        queue_timeout: float = 86400.0,
        access: Access = "auto",
        head_host: str | None = None,
        preflight: Preflight = "quick",
        kubeconfig_file: str | None = None,
        kube_context: str | None = None,
        secret_context: bool = False,
        hours: bool = False,
        prices: Sequence[Price] = (),
        evidence: str | None = None,
        hold_on_failure: float = 0.0,
        context_injector: PipesContextInjector | None = None,
        forward_termination: bool = True,
        termination_timeout: float = 30.0,
        require_messages: RequireMessages = "if_opened",
        message_channel: MessageChannel = "auto",
        forward_logs: bool = True,
        server_timeout: float = 1800.0,
        progress: Progress = "report",
    ) -> None:
        """Check what is given; nothing is sent yet."""
        self._template = _config_of(template)
        self._options = KubeRayClientOptions(
            forward_termination=forward_termination, termination_timeout=termination_timeout, kube_context=kube_context,
            context_injector=context_injector, require_messages=require_messages, kubeconfig_file=kubeconfig_file,
            hold_on_failure=hold_on_failure, message_channel=message_channel, secret_context=secret_context,
            server_timeout=server_timeout, queue_timeout=queue_timeout, forward_logs=forward_logs, lifecycle=lifecycle,
            head_host=head_host, preflight=preflight, env_vars=env_vars, priority=priority, evidence=evidence,
            progress=progress, timeout=timeout, access=access, prices=prices, image=image, queue=queue, hours=hours,
        )  # fmt: skip
        self._options.check()

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
            InvalidFieldError, InvalidSpecError: `ray_job` has a wrong field; nothing was created.
            PipesContextTooLargeError: The Pipes context does not fit; nothing was created.
            DagsterRayError: The cluster did not start: the errors of `KubeRayInteractiveJob`.
            RayJobFailedError: The job has failed or was stopped.
            PipesMessagesMissingError: The job succeeded, but its Pipes session was not heard to its end.
            JobLostError: The job's node, cluster or RayJob is gone.
            JobServerUnavailableError: The dashboard was away too long.
            dg.RetryRequested: Infrastructure failed, and the lifecycle's `retry_infrastructure` allows another attempt.
        """
        settings = self._options.settings()
        selector = {key: resolved(ray_job[key], os.environ, key) for key in ("cluster_selector",) if key in ray_job}
        found, secrets = with_secrets_apart(read_call({**ray_job, **selector}), settings.rayjob.env_vars)
        settings = replace(settings, rayjob=replace(settings.rayjob, env_vars={**settings.rayjob.env_vars, **secrets}))
        job = checked_job(found.submission)
        handed = self._handed(settings, context, extras, found.cluster)
        plain = rayjob_of(self._template, found)
        around = {"template": plain, "cluster": found.cluster, **({"secrets": secrets} if secrets else {})}
        around |= {"secret_context": True} if handed is not None else {}
        identity = call_identity(context, {**job, **around}, extras, settings.rayjob.image)
        injector = self._options.context_injector or PipesEnvContextInjector()
        return run_call(settings, Call(context, identity, plain, found.cluster, job, extras, injector, handed))

    def _handed(
        self, settings: ClientSettings, context: StepContext, extras: Mapping[str, Any] | None, cluster: str | None
    ) -> str | None:
        """Return the Pipes context that a Secret is to hold; None if none is."""
        if not settings.secret_context:
            check_context(context, extras, self._options.context_injector)
            return None
        if cluster is not None:
            reason = f"is set, and dagster-ray does not create the pods of the RayCluster {cluster}"
            advice = "use a client without it for this job, and put secret values into a Secret that those pods read"
            raise InvalidSpecError("secret_context", reason, advice)
        return context_text(context, extras)
