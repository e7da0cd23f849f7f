"""The sensor that deletes forgotten RayClusters and RayJobs."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import functools
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from dagster_ray.core import Deadline, safe_log
from dagster_ray.core.variables import plain_value
from dagster_ray.kuberay._collector.collector import Collector, Work
from dagster_ray.kuberay._collector.cursor import cursor_of, targets_of
from dagster_ray.kuberay._collector.plan import plan
from dagster_ray.kuberay._collector.pools import care_for_pools
from dagster_ray.kuberay._collector.runs import RunReader
from dagster_ray.kuberay._collector.settings import DEFAULT_INTERVAL_SECONDS, Given, Settings, interval_seconds

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

# Dagster gives a tick 60 s (dagster/_grpc/utils.py); a call that has begun at the deadline has 10 s.
_TICK_SECONDS = 40.0
_DESCRIPTION = (
    "Deletes RayClusters and RayJobs of dagster-ray that nobody needs any more: shared clusters whose last lock has "
    "ended, and what runs have left behind."
)


def build_cleanup_sensor(
    *,
    name: str = "cleanup_expired_rayclusters",
    namespaces: Sequence[str] | dg.EnvVar | None = None,
    kubeconfig_file: str | dg.EnvVar | None = None,
    kube_context: str | dg.EnvVar | None = None,
    grace_seconds: float | dg.EnvVar | None = None,
    unlocked_seconds: float | dg.EnvVar | None = None,
    run_grace_seconds: float | dg.EnvVar | None = None,
    pipes_grace_seconds: float | dg.EnvVar | None = None,
    waiting_seconds: float | dg.EnvVar | None = None,
    instance_id: str | dg.EnvVar | None = None,
    minimum_interval_seconds: int | dg.EnvVar = DEFAULT_INTERVAL_SECONDS,
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED,
    description: str = _DESCRIPTION,
    tags: Mapping[str, str] | None = None,
) -> dg.SensorDefinition:
    """Return a sensor that deletes what dagster-ray has made on Kubernetes and nobody needs any more, and fills pools.

    It deletes shared clusters whose last lock has ended, and RayClusters and RayJobs of one step whose run is over, as
    their lifecycle's `cleanup` says. What a step holds, what another Dagster instance has made, and what it is in doubt
    about, stays. It keeps pools of warm clusters at their size while steps use them. It starts no runs and needs no
    resource. Sensors that look at the same objects do no harm.

    What is None is read at each tick from `DAGSTER_RAY_CLEANUP_` and the argument's name in capitals. So is the
    variable of an `EnvVar`, except that of `minimum_interval_seconds`, which Dagster must know when the code location
    loads.

    Args:
        name: The sensor's name.
        namespaces: Where to look. None and not in the environment, or empty: the namespace of the account. `["*"]`:
            everywhere, which needs a ClusterRole. In a variable: separated by commas.
        kubeconfig_file: A kubeconfig. None and not in the environment: the pod's service account, or the one that
            kubectl uses.
        kube_context: The kubeconfig's context.
        grace_seconds: How long a shared cluster lives after its last lock has ended. By default 0: its TTL says how
            long it stays warm.
        unlocked_seconds: How old a shared cluster without any lock must be. By default 600.
        run_grace_seconds: How long a cluster of one step lives after the end of its run. By default 120: the step's
            own cleanup comes first.
        pipes_grace_seconds: The same for a RayJob of `PipesKubeRayJobClient`, which a re-execution of the run may
            follow. By default 3600.
        waiting_seconds: How long an interactive RayJob may wait for a driver when its step is over, and how old the
            RayCluster of one step must be, to go while its run still goes on. By default 3600.
        instance_id: An id that only this Dagster instance has, the same as `DAGSTER_RAY_INSTANCE_ID` in its runs. None:
            that variable, and if it is unset the id of the run storage, which a copy of the database shares. With an id
            of its own the sensor also deletes what a canceled step still uses, and never what a copy's runs use.
        minimum_interval_seconds: Least seconds between two ticks.
        default_status: Whether it runs without being switched on in Dagster's UI.
        description: What Dagster's UI says of it.
        tags: The sensor's tags.

    Raises:
        InvalidSpecError: A number of seconds is below zero, or `instance_id` is blank.
        MissingVariableError, InvalidVariableError: The variable of `minimum_interval_seconds` is not set, or is no
            whole number.
    """
    seconds = {
        "grace_seconds": grace_seconds,
        "unlocked_seconds": unlocked_seconds,
        "run_grace_seconds": run_grace_seconds,
        "pipes_grace_seconds": pipes_grace_seconds,
        "waiting_seconds": waiting_seconds,
    }
    given = Given(namespaces, kubeconfig_file, kube_context, seconds, instance_id)
    given.check()

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return tick(context, given.settings(os.environ))

    decorate: Any = dg.sensor(
        name=name,
        minimum_interval_seconds=plain_value(minimum_interval_seconds, int, os.environ, "minimum_interval_seconds"),
        default_status=default_status,
        description=description,
        tags=tags,
    )
    return decorate(evaluate)


def tick(context: dg.SensorEvaluationContext, settings: Settings, deadline: Deadline | None = None) -> dg.SensorResult:
    """Look once, for at most 40 s; what is left comes with the next tick.

    Raises:
        DagsterRayError: Nothing could be listed.
    """
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

    deadline = deadline or Deadline(_TICK_SECONDS)
    api = KubernetesApi.load(settings.kubeconfig_file, settings.kube_context)
    try:
        return _look(context, settings, api, deadline)
    finally:
        api.close()


def _look(
    context: dg.SensorEvaluationContext, settings: Settings, api: "KubernetesApi", deadline: Deadline
) -> dg.SensorResult:
    log, work = safe_log(context.log), Work(functools.partial(plan, rules=settings.rules), leaves_pools=True)
    reader = RunReader(context.instance, instance_id=settings.instance_id)
    collector = Collector(api, reader, work, deadline, log)
    cursor = collector.run(targets_of(settings.namespaces, api.namespace), cursor_of(context.cursor))
    care_for_pools(api, collector, deadline, log)
    text = collector.report.text()
    log.info("%s", text)
    return dg.SensorResult(skip_reason=text, cursor=cursor.text())


cleanup_expired_rayclusters = build_cleanup_sensor(minimum_interval_seconds=interval_seconds(os.environ))
"""A sensor as `build_cleanup_sensor` makes it, configured by the environment alone."""
