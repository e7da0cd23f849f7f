"""The worker of a run or step as a RayJob: what is added to the RayJob of a cluster, what its status means. Pure."""

import json
from collections.abc import Mapping
from typing import Any, cast

from dagster_ray.core import Identity
from dagster_ray.core.errors import InvalidFieldError
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, text
from dagster_ray.kuberay._labels import MANAGED_BY, MANAGED_BY_LABEL, RUN_LABEL, STEP_LABEL
from dagster_ray.kuberay._status.cluster_state import Queued, read_rayjob
from dagster_ray.pipes import JobDetails

_OVER = {"SUCCEEDED", "FAILED", "STOPPED"}
_PREFIX = "dagster-run"
_BY_OPERATOR = "HTTPMode"
_LOCAL = ("working_dir", "py_modules", "py_executable")


def rayjob_name(submission_id: str) -> str:
    """Return the name of the RayJob whose job has an id.

    That of a run's worker is `dagster-run-<8 characters of the run id>-<hash>`, since its id is too long for a name;
    that of a step's has the id itself.
    """
    run_id = submission_id.removeprefix(f"{_PREFIX}-")
    return submission_id if run_id == submission_id else Identity(run_id=run_id).cluster_name(_PREFIX)


def with_worker(rayjob: Manifest, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a RayJob whose operator submits a job once the cluster is up.

    Args:
        rayjob: The RayJob of a cluster that waits for a driver.
        body: The job, with the names of Ray's job API.

    Raises:
        InvalidFieldError: KubeRay cannot submit the job.
    """
    refuse_unsubmittable(body)
    added: dict[str, Any] = {
        "submissionMode": _BY_OPERATOR,
        "entrypoint": body["entrypoint"],
        "jobId": body["submission_id"],
        "metadata": dict(body["metadata"]),
        "runtimeEnvYAML": json.dumps(body.get("runtime_env", {})),  # which is YAML, too
        "entrypointNumCpus": body.get("entrypoint_num_cpus"),
        "entrypointNumGpus": body.get("entrypoint_num_gpus"),
        "entrypointResources": json.dumps(body["entrypoint_resources"]) if body.get("entrypoint_resources") else None,
    }
    spec = {**mapping(rayjob.get("spec")), **{key: value for key, value in added.items() if value is not None}}
    return {**rayjob, "spec": spec}


def refuse_unsubmittable(body: Mapping[str, Any]) -> None:
    """Raise if a job, or a part of one, is nothing that KubeRay can submit.

    Raises:
        InvalidFieldError: It takes what a RayJob has no field for, or what the operator would have to upload.
    """
    if body.get("entrypoint_memory"):
        reason = "is set, and KubeRay's RayJob has no field for the memory of an entrypoint"
        raise InvalidFieldError("ray.memory", reason, "leave it out, or use `ray.resources`")
    runtime_env: Mapping[str, Any] = body.get("runtime_env", {})
    for name, place in _local_places(runtime_env):
        reason = f"is {place!r}, and KubeRay's operator uploads nothing"
        raise InvalidFieldError(f"ray.runtime_env.{name}", reason, "put the code into the image, or write a remote URI")


def _local_places(runtime_env: Mapping[str, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name in _LOCAL:
        given: object = runtime_env.get(name)
        places = cast("list[object]", given) if isinstance(given, list) else [given]
        found += [(name, str(place)) for place in places if place and "://" not in str(place)]
    return found


def details_of(rayjob: Manifest) -> JobDetails:
    """Return what a job server would say of the worker, by the status of its RayJob.

    A worker whose cluster is coming up, or waits in a queue, is PENDING. One whose RayJob has failed in any way, or is
    being deleted, will not run any more.
    """
    status, spec = mapping(rayjob.get("status")), mapping(rayjob.get("spec"))
    word, job = text(status, "jobDeploymentStatus"), text(status, "jobStatus")
    known = [text(status, "reason"), text(status, "message")]
    if at(rayjob, "metadata", "deletionTimestamp"):
        job, known = "STOPPED", ["the RayJob is being deleted"]
    elif word in {"Failed", "ValidationFailed"} and job not in {"FAILED", "STOPPED"}:
        job = "FAILED"
    elif word == "Complete" and job not in _OVER:
        job = "SUCCEEDED"
    metadata = {str(key): str(value) for key, value in mapping(spec.get("metadata")).items()}
    message = ": ".join(each for each in known if each)
    return JobDetails(text(spec, "jobId"), job or "PENDING", message=message, metadata=metadata)


def is_submitted(rayjob: Manifest) -> bool:
    """Return whether the operator has seen the job on the cluster."""
    return bool(text(mapping(rayjob.get("status")), "jobStatus"))


def steps_of_run(run_id: str) -> str:
    """Return the label selector of the RayJobs that a run has made for its steps, by whatever means."""
    return f"{MANAGED_BY_LABEL}={MANAGED_BY},{RUN_LABEL}={Identity.label_value(run_id)},{STEP_LABEL}"


def is_of_step(rayjob: Manifest) -> bool:
    """Return whether a RayJob was made for the worker of a step, and not by a resource or a client in the step."""
    spec, name = mapping(rayjob.get("spec")), text(mapping(rayjob.get("metadata")), "name")
    return text(spec, "submissionMode") == _BY_OPERATOR and rayjob_name(text(spec, "jobId")) == name


def cluster_was_taken(rayjob: Manifest) -> str | None:
    """Return in words that a queue, or a person, holds a RayJob back, so that it has no cluster; None if it may."""
    state = read_rayjob(rayjob)
    return state.sentence if isinstance(state, Queued) else None
