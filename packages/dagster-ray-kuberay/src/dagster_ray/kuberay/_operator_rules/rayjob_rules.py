"""What KubeRay refuses in the spec of a RayJob, in the operator's order. Pure."""

from collections.abc import Iterator
from functools import partial

from dagster_ray.kuberay._kubernetes.fields import at, mapping
from dagster_ray.kuberay._operator_rules.deletion_rules import POLICY_RULES, STRATEGY_RULES
from dagster_ray.kuberay._operator_rules.group_rules import restarts
from dagster_ray.kuberay._operator_rules.names import CLUSTER_LABEL
from dagster_ray.kuberay._operator_rules.rules import Part, Rule, Section, Values, itself, when
from dagster_ray.kuberay._operator_rules.runtime_env_yaml import runtime_env_fault

_SELECTOR = "{path}.clusterSelector"
_prefixed = partial(Rule, is_prefixed=True)


def cluster_of(job: Part) -> Iterator[Part]:
    """The RayCluster's spec in a RayJob's, if it has one."""
    if job.value.get("rayClusterSpec") is not None:
        found = job.inside(job.value["rayClusterSpec"], "rayClusterSpec", annotations=job.values.get("annotations"))
        yield found


def _is_selecting(job: Part) -> bool:
    return bool(job.value.get("clusterSelector"))


def _is_not_above(job: Part, key: str, least: int) -> Values | None:
    number = job.number(key, default=None)
    return when(number is not None and number <= least, seconds=number)


def _ttl(job: Part) -> int:
    return job.number("ttlSecondsAfterFinished") or 0


def _retries(job: Part) -> int:
    return job.number("backoffLimit") or 0


def _is_sidecar(job: Part) -> bool:
    return job.value.get("submissionMode") == "SidecarMode"


def _is_interactive(job: Part) -> bool:
    return job.value.get("submissionMode") == "InteractiveMode" or not (job.is_whole or job.has("submissionMode"))


def _ttl_without_shutdown(job: Part) -> Values | None:
    return when(_ttl(job) > 0 and job.switch("shutdownAfterJobFinishes") is False, seconds=_ttl(job))


_START: tuple[Rule, ...] = (
    _prefixed(find=lambda job: when(job.switch("suspend") and job.switch("shutdownAfterJobFinishes") is False),
        field="{path}.suspend", line=548,
        words="a RayJob with shutdownAfterJobFinishes set to false is not allowed to be suspended",
        reason="is true while shutdownAfterJobFinishes is false", advice="leave shutdownAfterJobFinishes out"),
    _prefixed(find=lambda job: when(_ttl(job) < 0, seconds=_ttl(job)), field="{path}.ttlSecondsAfterFinished", line=552,
        since=(1, 4, 0), always=True,
        words="TTLSecondsAfterFinished must be a non-negative integer",
        reason="is {seconds}", advice="give 0 or more seconds"),
    _prefixed(find=_ttl_without_shutdown, field="{path}.ttlSecondsAfterFinished", line=754, since=(1, 4, 0),
        words="a RayJob with shutdownAfterJobFinishes set to false cannot have TTLSecondsAfterFinished",
        reason="is {seconds} while shutdownAfterJobFinishes is false",
        advice="leave shutdownAfterJobFinishes out, or the ttl"),
)  # fmt: skip


def _strange_selector(job: Part) -> Values | None:
    return when(_is_selecting(job) and not mapping(job.value["clusterSelector"]).get(CLUSTER_LABEL))


def _sidecar_with(field: str, line: int) -> Rule:
    return Rule(
        find=lambda job: when(_is_sidecar(job) and job.has(field)),
        field=f"{{path}}.{field}",
        words=f"Currently, SidecarMode doesn't support {field[0].upper()}{field[1:]}",
        line=line,
        since=(1, 5, 0),
        advice="leave it out, or use another submissionMode",
    )


def _sidecar_restarts(job: Part) -> Values | None:
    heads = [cluster.inside(cluster.value.get("headGroupSpec"), "headGroupSpec") for cluster in cluster_of(job)]
    return when(_is_sidecar(job) and any(map(restarts, heads)))


_CLUSTER_AND_MODE: tuple[Rule, ...] = (
    _prefixed(find=lambda job: when(_is_selecting(job) and job.switch("suspend")), field="{path}.suspend", line=562,
        words="the ClusterSelector mode doesn't support the suspend operation",
        advice="leave suspend out"),
    _prefixed(find=lambda job: when(job.is_whole and not _is_selecting(job) and not job.has("rayClusterSpec")),
        field="{path}.rayClusterSpec", line=565,
        words="one of RayClusterSpec or ClusterSelector must be set",
        advice="give one of the two"),
    Rule(find=_strange_selector, field=_SELECTOR, line=570, since=(1, 5, 0),
        words="cluster name in ClusterSelector should not be empty",
        advice=f"give the RayCluster's name under {CLUSTER_LABEL}"),
    Rule(find=lambda job: when(_is_selecting(job) and _is_sidecar(job)), field=_SELECTOR, line=573, since=(1, 5, 0),
        words="ClusterSelector is not supported in SidecarMode",
        advice="use another submissionMode"),
    _prefixed(find=lambda job: when(_is_selecting(job) and _retries(job) > 0), field="{path}.backoffLimit", line=576,
        since=(1, 6, 0),
        words="BackoffLimit is incompatible with ClusterSelector mode",
        advice="use Dagster's retries"),
    _prefixed(find=lambda job: when(_is_interactive(job) and _retries(job) > 0, retries=_retries(job)),
        field="{path}.backoffLimit", line=588, since=(1, 4, 0), always=True,
        words="BackoffLimit is incompatible with InteractiveMode",
        reason="is {retries}, and an interactive RayJob is not tried again", advice="use Dagster's retries"),
    _sidecar_with("submitterPodTemplate", 593),
    _sidecar_with("submitterConfig", 597),
    Rule(find=_sidecar_restarts, field="{path}.rayClusterSpec.headGroupSpec.template.spec.restartPolicy", line=601,
        since=(1, 5, 0),
        words="restartPolicy for head Pod should be Never or unset when using SidecarMode",
        advice="leave it out, or write Never"),
    _prefixed(find=lambda job: when(at(job.value, "rayClusterSpec", "authOptions", "enableK8sTokenAuth") is True),
        field="{path}.rayClusterSpec.authOptions.enableK8sTokenAuth", line=607, since=(1, 6, 0), always=True,
        words="K8s token auth mode is currently not supported for RayJob",
        reason="is true, which a RayJob does not support", advice="use mode: token"),
    # The operator accepts the RayJob, and refuses the RayCluster that it makes.
    Rule(find=lambda job: when(at(job.value, "rayClusterSpec", "upgradeStrategy") is not None),
        field="{path}.rayClusterSpec.upgradeStrategy", since=(1, 6, 0), always=True,
        reason="is refused for the cluster of a RayJob", advice="leave it out"),
)  # fmt: skip


def _unreadable_runtime_env(job: Part) -> Values | None:
    fault = runtime_env_fault(job.text("runtimeEnvYAML") or "", job.operator.release)
    return when(fault, fault=fault)


def _deadline(key: str, line: int, since: tuple[int, int, int]) -> Rule:
    return _prefixed(
        find=partial(_is_not_above, key=key, least=0),
        field=f"{{path}}.{key}",
        words=f"{key} must be a positive integer",
        line=line,
        since=since,
        reason="is {seconds}",
        advice="give 1 second or more",
        always=True,
    )


_REST: tuple[Rule, ...] = (
    Rule(find=_unreadable_runtime_env, field="{path}.runtimeEnvYAML", line=616,
        words="{fault}",
        advice="write a mapping in YAML"),
    _deadline("activeDeadlineSeconds", 620, (1, 3, 0)),
    _deadline("preRunningDeadlineSeconds", 623, (1, 6, 0)),
    _prefixed(find=partial(_is_not_above, key="backoffLimit", least=-1), field="{path}.backoffLimit", line=626,
        words="backoffLimit must be a positive integer",
        reason="is {seconds}, and an interactive RayJob is not tried again", advice="use Dagster's retries"),
)  # fmt: skip

BEFORE_CLUSTER: tuple[Section, ...] = ((itself, _START), *STRATEGY_RULES)
WITH_CLUSTER: tuple[Section, ...] = ((itself, _CLUSTER_AND_MODE),)
AFTER_CLUSTER: tuple[Section, ...] = ((itself, _REST), *POLICY_RULES)
_STATE = "JobDeploymentStatus cannot be `Waiting` when SubmissionMode is not InteractiveMode"


def _waits_for_no_driver(job: Part) -> Values | None:
    return when(job.values.get("state") == "Waiting" and job.value.get("submissionMode") != "InteractiveMode")


STATUS_RULES: Section = (
    itself,
    (
        Rule(find=_waits_for_no_driver, field="{path}.submissionMode", line=528,
            earlier=((1, 5, 0), f"invalid RayJob State: {_STATE}"),
            words=f"The RayJob status is invalid: {_STATE}",
            advice="leave submissionMode as it was"),
    ),
)  # fmt: skip
