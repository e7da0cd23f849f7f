"""What KubeRay refuses in the head group and in worker groups. Pure."""

import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import at, mapping, mappings
from dagster_ray.kuberay._operator_rules.names import SUBDOMAIN, label_value_faults, qualified_name_faults
from dagster_ray.kuberay._operator_rules.rules import Part, Rule, Values, when

AUTOSCALER_V2 = "RAY_enable_autoscaler_v2"
# The operator derives these parameters from the container; a group's own `resources` replace them.
RESOURCE_PARAMETERS = ("num-cpus", "num-gpus", "memory", "resources")
_LONGEST_GROUP_NAME = 63
_PRIORITY_RAY = "2.56.0"


def head_of(cluster: Part) -> Iterator[Part]:
    """The head group, if there is one or must be."""
    if cluster.is_whole or "headGroupSpec" in cluster.value:
        yield cluster.inside(cluster.value.get("headGroupSpec"), "headGroupSpec", name="Head", spec="headGroupSpec")


def workers_of(cluster: Part) -> Iterator[Part]:
    """The worker groups."""
    for n, group in enumerate(cluster.parts("workerGroupSpecs")):
        name = str(group.get("groupName") or "")
        yield cluster.inside(group, f"workerGroupSpecs[{n}]", name=name, spec="workerGroupSpec", number=n)


def containers_of(group: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The containers of a head or worker group."""
    return mappings(at(group, "template", "spec", "containers"))


def env_of(container: Mapping[str, Any]) -> dict[str, str]:
    """A container's environment by name; a value from elsewhere is ""."""
    return {str(entry.get("name")): str(entry.get("value") or "") for entry in mappings(container.get("env"))}


def head_env(cluster: Part) -> dict[str, str]:
    """The environment of the head's Ray container."""
    containers = containers_of(mapping(cluster.value.get("headGroupSpec")))
    return env_of(containers[0]) if containers else {}


def has_autoscaler_v2(cluster: Part) -> bool | None:
    """Whether a spec chooses version 2 of the autoscaler; None while that is not known."""
    by_env = head_env(cluster).get(AUTOSCALER_V2) in ("1", "true")
    if by_env or (cluster.switch("enableInTreeAutoscaling") and cluster.text("autoscalerOptions", "version") == "v2"):
        return True
    return False if cluster.is_whole else None


def restarts(group: Part) -> bool:
    """Whether the pods of a group ask for a restart policy other than Never."""
    policy = at(group.value, "template", "spec", "restartPolicy")
    return isinstance(policy, str) and policy not in ("", "Never")


def version_fault(version: str) -> str | None:
    """Why a Ray version cannot be compared."""
    match = re.match(r"\s*v?(\d+(?:\.\d+)*)", version)
    if match is None:
        return f'could not parse "{version}" as version'
    return f'illegal version string "{version}"' if "." not in match[1] else None


def is_older(version: str, than: str) -> bool:
    """Whether a Ray version is before another one."""
    found = re.match(r"\s*v?(\d+(?:\.\d+)*)", version)
    numbers = [int(part) for part in found[1].split(".")] if found else []
    for have, want in zip_longest(numbers, map(int, than.split(".")), fillvalue=0):
        if have != want:
            return have < want
    return False


# Before KubeRay's own rules: what the API server refuses, or a pod's name


def _no_mapping(key: str) -> Rule:
    what = {"rayStartParams": "text by text", "template": "a pod template"}[key]
    return Rule(
        find=lambda group: when(not isinstance(group.value.get(key, {}), Mapping)),
        field=f"{{path}}.{key}",
        reason="is no mapping",
        advice=f"give {what}",
    )


def _wrong_group_name(group: Part) -> Values | None:
    name: object = group.value.get("groupName")
    # The operator lowers the letters for the names of pods; the group's label keeps them.
    fits = isinstance(name, str) and re.fullmatch(SUBDOMAIN, name.lower()) and len(name) <= _LONGEST_GROUP_NAME
    if fits or isinstance(name, Mapping):
        return None
    return {"fault": "is missing" if name is None else f"is {name!r}, which cannot be part of a pod's name"}


def _name_of_another(group: Part) -> Values | None:
    name, number = group.value.get("groupName"), group.values["number"]
    others = [] if group.around is None else group.around.parts("workerGroupSpecs")[: int(str(number))]
    return when(isinstance(name, str) and name in [other.get("groupName") for other in others])


def _negative(group: Part) -> Values | None:
    for key in ("replicas", "minReplicas", "maxReplicas"):
        number = group.number(key)
        if number is not None and number < 0:
            return {"key": key, "replicas": number}
    return None


def _nameless_container(group: Part) -> Values | None:
    for n, container in enumerate(containers_of(group.value)):
        if n and not container.get("name"):
            return {"container": n}
    return None


_GROUP_SHAPE: tuple[Rule, ...] = (
    _no_mapping("rayStartParams"),
    _no_mapping("template"),
    Rule(find=_nameless_container, field="{path}.template.spec.containers[{container}].name",
        reason="is missing", advice="name the container"),
)  # fmt: skip
_WORKER_SHAPE: tuple[Rule, ...] = (
    Rule(find=_wrong_group_name, field="{path}.groupName",
        reason="{fault}", advice="use up to 63 letters, digits and `-`"),
    Rule(find=_name_of_another, field="{path}.groupName",
        reason="is {name!r}, as that of another group", advice="give each group a name of its own"),
    Rule(find=_negative, field="{path}.{key}", reason="is {replicas}", advice="give 0 or more"),
)  # fmt: skip


# What the operator refuses


def _no_container(group: Part) -> Values | None:
    is_known = group.is_whole or "containers" in mapping(at(group.value, "template", "spec"))
    return when(is_known and not containers_of(group.value))


def _resources_twice(group: Part) -> Values | None:
    start = mapping(group.value.get("rayStartParams"))
    both = [key for key in RESOURCE_PARAMETERS if start.get(key)]
    return when(group.value.get("resources") and both, parameter=both[0] if both else "")


def _wrong_labels(group: Part) -> Values | None:
    faults: list[str] = []
    for key, value in mapping(group.value.get("labels")).items():
        start = f"invalid label key for {group.values['name']} group: '{key}', error: "
        faults += [f"{start}{text}" for text in qualified_name_faults(key)]
        start = f"invalid label value for key '{key}' in {group.values['name']} group: '{value}', error: "
        faults += [] if isinstance(value, Mapping) else [f"{start}{text}" for text in label_value_faults(str(value))]
    return when(faults, faults="; ".join(faults))


_GROUP: tuple[Rule, ...] = (
    Rule(find=_resources_twice, field="{path}.rayStartParams.{parameter}", line=66, since=(1, 5, 0), always=True,
        words="resource fields should not be set in both rayStartParams and Resources for {name} group; "
        "please use only one",
        reason="is set as well as the group's `resources`", advice="use one of the two"),
    Rule(find=lambda group: when("labels" in mapping(group.value.get("rayStartParams"))),
        field="{path}.rayStartParams.labels", line=74, since=(1, 5, 0),
        words="rayStartParams['labels'] is not supported for {name} group; please use the top-level Labels field "
        "instead",
        reason="is refused by the operator", advice="give them as {path}.labels"),
    Rule(find=_wrong_labels, field="{path}.labels", line=96, since=(1, 5, 0),
        words="{faults}",
        advice="write keys and values as Kubernetes' labels have them"),
)  # fmt: skip
_CONTAINERS = Rule(
    find=_no_container,
    field="{path}.template.spec.containers",
    words="{spec} should have at least one container",
    line=105,
    reason="is empty",
    advice="give the Ray container first, or leave it out",
)


def _negative_bound(key: str, line: int) -> Rule:
    return Rule(
        find=lambda group: when((group.number(key) or 0) < 0, replicas=group.number(key)),
        field=f"{{path}}.{key}",
        words=f"worker group {{name}} has negative {key} {{replicas}}",
        line=line,
        since=(1, 6, 0),
        reason="is {replicas}",
        advice="give 0 or more",
    )


def _bounds_cross(group: Part) -> Values | None:
    least, most = group.number("minReplicas"), group.number("maxReplicas", default=None)
    return when(least is not None and most is not None and least > most, least=least, most=most)


def _idle_seconds(group: Part) -> Values | None:
    seconds = group.number("idleTimeoutSeconds")
    return when((seconds or 0) < 0, seconds=seconds)


def _idle_without_v2(group: Part) -> Values | None:
    cluster = group.around
    return when(group.has("idleTimeoutSeconds") and cluster is not None and has_autoscaler_v2(cluster) is False)


def _ray_for_priority(group: Part) -> str | None:
    """The cluster's Ray version, if a group has a priority and the version is known."""
    return group.around.text("rayVersion") if group.number("priority") and group.around is not None else None


def _strange_ray_for_priority(group: Part) -> Values | None:
    ray = _ray_for_priority(group)
    fault = version_fault(ray) if ray else None
    return when(fault, ray=ray, fault=fault)


def _old_ray_for_priority(group: Part) -> Values | None:
    ray = _ray_for_priority(group)
    return when(ray and is_older(ray, _PRIORITY_RAY), ray=ray)


def _priority_without_v2(group: Part) -> Values | None:
    cluster, priority = group.around, group.number("priority")
    return when(priority and cluster is not None and has_autoscaler_v2(cluster) is False, priority=priority)


_V2_ADVICE = "set enableInTreeAutoscaling to true and autoscalerOptions.version to v2, or leave it out"
_WORKER: tuple[Rule, ...] = (
    Rule(find=_idle_seconds, field="{path}.idleTimeoutSeconds", line=1013, since=(1, 6, 0),
        words="worker group {name}: idleTimeoutSeconds must be non-negative, got {seconds}",
        reason="is {seconds}", advice="give 0 or more seconds"),
    Rule(find=_idle_without_v2, field="{path}.idleTimeoutSeconds", line=1026, since=(1, 6, 0),
        words="worker group {name}: idleTimeoutSeconds is set, but autoscaler v2 is not enabled. Please set "
        f".spec.autoscalerOptions.version to 'v2' (or set {AUTOSCALER_V2} environment variable to 'true' in "
        f"the head pod if using KubeRay < 1.4.0)",
        advice=_V2_ADVICE),
    Rule(find=lambda group: when(_ray_for_priority(group) == ""), field="{path}.priority", line=1121, since=(1, 7, 0),
        words="worker group {name}: priority is set, but RayVersion was not specified. "
        f"Ray version {_PRIORITY_RAY} or later is required",
        advice="give rayVersion"),
    Rule(find=_strange_ray_for_priority, field="{path}.priority", line=1125, since=(1, 7, 0),
        words="worker group {name}: priority is set, but RayVersion format is invalid: {ray}, {fault}",
        advice="give rayVersion as numbers, such as 2.60.0"),
    Rule(find=_old_ray_for_priority, field="{path}.priority", line=1129, since=(1, 7, 0),
        words=f"worker group {{name}}: priority is set, but minimum Ray version is {_PRIORITY_RAY}, got {{ray}}",
        advice="raise rayVersion, or leave the priority out"),
    Rule(find=_priority_without_v2, field="{path}.priority", line=1141, since=(1, 7, 0),
        words="worker group {name}: priority is set to {priority}, but autoscaler v2 is not enabled. "
        "Priority is only supported with autoscaler v2 enabled",
        advice=_V2_ADVICE),
)  # fmt: skip
_BOUNDS: tuple[Rule, ...] = (
    _negative_bound("minReplicas", 129),
    _negative_bound("maxReplicas", 132),
    Rule(find=_bounds_cross, field="{path}.minReplicas", line=136, since=(1, 6, 0),
        words="worker group {name} has minReplicas {least} greater than maxReplicas {most}",
        reason="is {least}, more than maxReplicas, {most}", advice="lower it or raise maxReplicas"),
)  # fmt: skip

HEAD_RULES: tuple[Rule, ...] = (*_GROUP_SHAPE, _CONTAINERS, *_GROUP)
WORKER_RULES: tuple[Rule, ...] = (*_WORKER_SHAPE, *_GROUP_SHAPE, _CONTAINERS, *_BOUNDS, *_GROUP, *_WORKER)


def _of_suspended(group: Part) -> bool:
    return group.value.get("suspend") is True


SUSPENDED_WITHOUT_GATE = Rule(
    find=lambda group: when(_of_suspended(group) and not group.operator.on("RayJobDeletionPolicy")),
    field="{path}.suspend",
    words="worker group {name} can be suspended only when the RayJobDeletionPolicy feature gate is enabled",
    earlier=(
        (1, 4, 0),
        "suspending worker groups is currently available when the RayJobDeletionPolicy feature gate is enabled",
    ),
    line=200,
    advice="turn the operator's feature gate RayJobDeletionPolicy on, which it is from KubeRay 1.6 on",
)


def _suspended_with_autoscaler(group: Part) -> Values | None:
    return when(_of_suspended(group) and group.around and group.around.switch("enableInTreeAutoscaling"))


SUSPENDED_WITH_AUTOSCALER = Rule(
    find=_suspended_with_autoscaler,
    field="{path}.suspend",
    words="worker group {name} cannot be suspended with Autoscaler enabled",
    earlier=((1, 4, 0), "suspending worker groups is not currently supported with Autoscaler enabled"),
    line=218,
    reason="is true while enableInTreeAutoscaling is true",
    advice="turn one of the two off",
)


def restart_rule(words: str, line: int) -> Rule:
    """A restart policy that autoscaler v2 does not allow."""
    return Rule(
        find=lambda group: when(restarts(group) and group.around and _chooses_v2(group.around)),
        field="{path}.template.spec.restartPolicy",
        words=words,
        line=line,
        since=(1, 4, 0),
        advice="leave it out, or write Never",
    )


def _chooses_v2(cluster: Part) -> bool:
    autoscales = cluster.switch("enableInTreeAutoscaling")
    return bool(autoscales) and cluster.text("autoscalerOptions", "version") == "v2"
