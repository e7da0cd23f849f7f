"""What a call of `PipesKubeRayJobClient` submits, and the RayJob around it. Pure.

`ray_job` has one of two forms: the parameters of Ray's job API, with `template` or `cluster_selector` beside them, or
a RayJob's manifest. What a manifest says of the job itself becomes the same parameters, since the job is submitted by
the step.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import yaml

from dagster_ray.core import secrets_of, without_secrets
from dagster_ray.kuberay._kubernetes.fields import mapping
from dagster_ray.kuberay._operator_rules.names import CLUSTER_LABEL
from dagster_ray.kuberay._operator_rules.runtime_env_yaml import UNREADABLE, BoundedLoader
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.file import LIMIT_VALUES
from dagster_ray.kuberay._spec.plain_json import Json, plain_json
from dagster_ray.kuberay._spec.secrets import EnvValue

_MANIFEST_KEYS = ("apiVersion", "kind", "metadata", "spec", "status", "api_version")
# The fields of a RayJob's spec that say what is submitted, by the parameter of Ray's job API.
_SUBMISSION = {
    "entrypoint": "entrypoint",
    "entrypointNumCpus": "entrypoint_num_cpus",
    "entrypointNumGpus": "entrypoint_num_gpus",
    "entrypointResources": "entrypoint_resources",
    "jobId": "submission_id",
    "metadata": "metadata",
    "runtimeEnvYAML": "runtime_env",
}
_SNAKE = {
    "cluster_selector": "clusterSelector",
    "entrypoint_num_cpus": "entrypointNumCpus",
    "entrypoint_num_gpus": "entrypointNumGpus",
    "entrypoint_resources": "entrypointResources",
    "job_id": "jobId",
    "runtime_env_yaml": "runtimeEnvYAML",
    "submission_mode": "submissionMode",
}
# Who submits is all that these modes differ in, and here it is the step.
_MODES = ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode")


@dataclass(frozen=True, slots=True)
class PipesJob:
    """One call, taken apart.

    Attributes:
        submission: The parameters of Ray's job API.
        template: What `InteractiveRayJobConfig` takes: what the call itself says of the RayJob around the job.
        cluster: The name of the RayCluster that exists already; None: the RayJob makes one.
    """

    submission: Json
    template: Json
    cluster: str | None


def read_call(ray_job: Mapping[str, Any]) -> PipesJob:
    """Return what a call means.

    Args:
        ray_job: What the user gave to `run`.

    Raises:
        InvalidSpecError: It cannot be read.
    """
    if "spec" in ray_job or "kind" in ray_job:
        submission, own, selector = _of_manifest(ray_job)
    else:
        submission = dict(ray_job)
        selector = submission.pop("cluster_selector", None)
        own = _template(submission.pop("template", None) or {})
    cluster = None if selector is None else _selected(selector)
    if cluster is not None and _has_cluster(own):
        reason = "is set together with the spec of a cluster"
        raise InvalidSpecError("clusterSelector", reason, "keep one of the two: a cluster is chosen or made")
    return PipesJob(submission, own, cluster)


def with_secrets_apart(call: PipesJob, env_vars: Mapping[str, EnvValue]) -> tuple[PipesJob, Mapping[str, EnvValue]]:
    """Return the call without the variables of its runtime_env that Secrets hold, and these variables.

    Args:
        call: The call.
        env_vars: The client's variables of containers.

    Raises:
        InvalidSpecError: A Secret is to hold a variable, and the cluster exists already.
    """
    given: object = call.submission.get("runtime_env")
    runtime_env: Json = dict(cast("Json", given)) if isinstance(given, Mapping) else {}
    secrets = secrets_of(runtime_env)
    if call.cluster is not None:
        fields = [f"env_vars.{name}" for name in secrets_of({"env_vars": env_vars})]
        for field in (*(f"runtime_env.env_vars.{name}" for name in secrets), *fields):
            reason = f"refers to a Secret, and dagster-ray does not create the pods of the RayCluster {call.cluster}"
            advice = "set the variable from the Secret in the containers of that RayCluster, and remove it here"
            raise InvalidSpecError(field, reason, advice)
    if not secrets:
        return call, {}
    return replace(call, submission={**call.submission, "runtime_env": without_secrets(runtime_env)}), secrets


def _template(given: object) -> Json:
    if not isinstance(given, Mapping):
        raise InvalidSpecError("template", "is no mapping", "give metadata and spec of a RayJob")
    return plain_json(cast("object", given), "template")


def _has_cluster(template: Json) -> bool:
    spec = mapping(template.get("spec"))
    return "rayClusterSpec" in spec or "ray_cluster_spec" in spec


def _selected(selector: object) -> str:
    if isinstance(selector, str) and selector:
        return selector
    given = mapping(cast("object", selector))
    name = given.get(CLUSTER_LABEL)
    if not isinstance(name, str) or not name or len(given) > 1:
        reason = f"is {selector!r}, and KubeRay selects a cluster by its name only"
        raise InvalidSpecError("clusterSelector", reason, f"give {{'{CLUSTER_LABEL}': '<name of the RayCluster>'}}")
    return name


def _of_manifest(manifest: Mapping[str, Any]) -> tuple[Json, Json, object]:
    """Return the parameters of the job, the rest of the manifest, and its clusterSelector."""
    if manifest.get("kind", "RayJob") != "RayJob":
        raise InvalidSpecError("kind", f"is {manifest['kind']!r}", "give a RayJob")
    for key in manifest:
        if key not in _MANIFEST_KEYS:
            reason = "is set together with the keys of a RayJob's manifest"
            advice = "put it into `spec`, or give the parameters of the job and a `template`"
            raise InvalidSpecError(str(key), reason, advice)
    plain = plain_json(manifest.get("spec") or {}, "spec")
    if not isinstance(plain, dict):
        raise InvalidSpecError("spec", "is no mapping", "give the spec of a RayJob")
    given = cast("Json", plain)
    # Kubernetes' own types leave an empty text out: it says nothing.
    spec = {_SNAKE.get(key, key): value for key, value in given.items() if value not in (None, "")}
    mode = spec.pop("submissionMode", "InteractiveMode")
    if mode not in _MODES:
        raise InvalidSpecError("spec.submissionMode", f"is {mode!r}", f"use one of: {', '.join(_MODES)}, or none")
    selector = spec.pop("clusterSelector", None)
    found = {_SUBMISSION[key]: spec.pop(key) for key in _SUBMISSION if key in spec}
    for key, read in (("runtime_env", _runtime_env), ("entrypoint_resources", _resources)):
        if key in found:
            found[key] = read(found[key])
    rest = {"metadata": plain_json(manifest.get("metadata") or {}, "metadata"), "spec": spec}
    return found, rest, selector


def _runtime_env(value: object) -> Json:
    if isinstance(value, str):
        try:
            value = yaml.load(value, Loader=BoundedLoader) or {}  # noqa: S506 - a safe loader
        except UNREADABLE as error:
            raise InvalidSpecError("spec.runtimeEnvYAML", "is no YAML", "correct it") from error
    if not isinstance(value, dict):
        raise InvalidSpecError("spec.runtimeEnvYAML", "is no mapping", "give a runtime environment as YAML")
    if not _is_within(cast("object", value), LIMIT_VALUES):
        reason = f"holds more than {LIMIT_VALUES} values once its aliases are written out"
        raise InvalidSpecError("spec.runtimeEnvYAML", reason, "write out less")
    return cast("Json", value)


def _is_within(value: object, most: int) -> bool:
    """Return whether a value has no more than so many values in it; each alias of one counts again."""
    waiting, count = [value], 0
    while waiting:
        found = waiting.pop()
        count += 1
        if isinstance(found, dict):
            waiting += cast("dict[object, object]", found).values()
        elif isinstance(found, list):
            waiting += cast("list[object]", found)
        if count + len(waiting) > most:
            return False
    return True


def _resources(value: object) -> Json:
    if isinstance(value, str):
        try:
            # KubeRay's own examples wrap the JSON in quotes for a shell.
            value = json.loads(value.strip().strip("'"))
            value = json.loads(value) if isinstance(value, str) else value
        except (ValueError, RecursionError) as error:
            raise InvalidSpecError("spec.entrypointResources", "is no JSON", "give a JSON object") from error
    if not isinstance(value, dict):
        raise InvalidSpecError("spec.entrypointResources", "is no JSON object", "give numbers by name")
    return cast("Json", value)
