"""Configuration of RayJobs and RayClusters.

Field names of Kubernetes are snake_case in Python, camelCase in run config and YAML, and both are accepted. Pod
templates and worker groups are dictionaries as in a manifest; what builders leave out is completed. Fields that this
version does not know pass through to the API server, which refuses those that it does not know either.

In dictionaries, `{"env": "NAME"}` and `dagster.EnvVar("NAME")` take a value from the environment of the step; in
labels, annotations, node selectors, resources and `rayStartParams` the former is an entry like any other.
"""

# Dagster's config classes are typed in part only.
# pyright: reportUnknownMemberType=false

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Self, cast

from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler

from dagster_ray.core import StrictConfig
from dagster_ray.core.errors import DagsterRayError, MissingVariableError
from dagster_ray.core.variables import variable_of
from dagster_ray.kuberay._hours.prices import Price
from dagster_ray.kuberay._pool.config import ClusterPool, PoolSize
from dagster_ray.kuberay._sharing.config import ClusterSharing, MatchDagsterLabels
from dagster_ray.kuberay._spec.completion import as_manifest
from dagster_ray.kuberay._spec.config_fields import KubernetesConfig
from dagster_ray.kuberay._spec.errors import InvalidSpecError, SpecFileError
from dagster_ray.kuberay._spec.file import FileSpec, read_spec, without_server_fields
from dagster_ray.kuberay._spec.plain_json import Json, merged, plain_json
from dagster_ray.kuberay._spec.rules import SELECTOR

__all__ = [
    "ClusterPool",
    "ClusterSharing",
    "InteractiveRayJobConfig",
    "InteractiveRayJobSpec",
    "InvalidSpecError",
    "MatchDagsterLabels",
    "MissingVariableError",
    "PoolSize",
    "Price",
    "RayClusterConfig",
    "RayClusterSpec",
    "SpecFileError",
]

_log = logging.getLogger("dagster_ray")
_said: set[str] = set()
_SPEC_FILE = (
    "Path of a YAML file with a RayJob, a RayCluster, or the spec of one. What is set here is merged over it: worker "
    "groups by groupName, containers and their env by name; other lists are replaced. The file's metadata.name is not "
    "used. A file with a kind means the same as for kubectl apply."
)
_METADATA = "Metadata as in a manifest: name, namespace, labels, annotations. Without a name, each step gets its own."


class RayClusterSpec(KubernetesConfig):
    """The spec of a RayCluster. Unset: a head without CPU tasks and 0 to 10 autoscaled workers of 1 CPU and 4 GiB.

    A spec whose head has a container is a whole manifest, and means the same as for `kubectl apply`; what
    `head_group()` and `worker_group()` return is completed.
    """

    ray_version: str | None = Field(
        default=None,
        description="Version of Ray in the images. Unset: that of the Dagster step, except in a whole manifest.",
    )
    head_group_spec: dict[str, Any] | None = Field(
        default=None,
        description=(
            "The head group as in a manifest. With a container that head_group() did not make, the whole spec means "
            "the same as for kubectl apply. Otherwise it is completed: a container, its image, 1 CPU and 4Gi, the "
            "parameter num-cpus 0 (no tasks that need a CPU run on the head of a cluster with workers)."
        ),
    )
    worker_group_specs: list[dict[str, Any]] | None = Field(
        default=None,
        description=(
            "Worker groups as in a manifest; groupName is required. Completed, unless the head makes the spec a whole "
            "manifest: a container, its image, 1 CPU and 4Gi, rayStartParams; a group with only replicas keeps that "
            "size, one without maxReplicas may have 10. Unset: one group named workers. Empty: the head alone, which "
            "then runs tasks."
        ),
    )
    enable_in_tree_autoscaling: bool | None = Field(
        default=None,
        description=(
            "Run Ray's autoscaler next to the head. Unset: off in a whole manifest; else on if a group can grow, off "
            "in a Kueue queue, with the deletion policy DeleteWorkers and with a suspended group."
        ),
    )
    autoscaler_options: dict[str, Any] | None = Field(
        default=None, description="The autoscaler: version, idleTimeoutSeconds, resources and others."
    )
    head_service_annotations: dict[str, Any] | None = Field(
        default=None, description="Annotations of the head's Service."
    )
    auth_options: dict[str, Any] | None = Field(
        default=None, description="Token authentication, {mode: token}. KubeRay >= 1.5.1, Ray >= 2.52."
    )
    gcs_fault_tolerance_options: dict[str, Any] | None = Field(
        default=None, description="Where the head keeps its state to survive a restart."
    )
    network_policy: dict[str, Any] | None = Field(
        default=None, description="Who may reach the pods. KubeRay >= 1.7, a feature gate."
    )
    tls_options: dict[str, Any] | None = Field(
        default=None, description="TLS between the pods. KubeRay >= 1.7, a feature gate, needs cert-manager."
    )
    history_server_options: dict[str, Any] | None = Field(
        default=None, description="What is kept for Ray's history server. KubeRay >= 1.7, a feature gate."
    )
    upgrade_strategy: dict[str, Any] | None = Field(
        default=None,
        description="What a change does to running pods. KubeRay >= 1.6; refused for the cluster of a RayJob.",
    )
    suspend: bool | None = Field(default=None, description="Delete all pods and keep the rest. Kueue sets it.")
    managed_by: str | None = Field(
        default=None, description="Who reconciles the object, for MultiKueue. Unset: the KubeRay operator."
    )

    @classmethod
    def of_file(cls, found: FileSpec) -> Self:
        """Return the cluster that a file describes.

        Raises:
            ValidationError: pydantic's.
        """
        if found.rayjob.get(SELECTOR):
            return cls(**{SELECTOR: found.rayjob[SELECTOR]})
        return cls(**found.cluster)


class InteractiveRayJobSpec(KubernetesConfig):
    """The spec of a RayJob that waits for the driver of a Dagster step (submissionMode InteractiveMode)."""

    refused: ClassVar[Mapping[str, str]] = {
        "clusterSelector": "an interactive RayJob makes a cluster of its own; use KubeRayCluster for an existing one",
        "deletionPolicy": "only KubeRay 1.3 and 1.4 had it; use shutdownAfterJobFinishes or deletionStrategy",
        "entrypoint": "the Dagster step is the driver; use PipesKubeRayJobClient to run a command",
        "entrypointNumCpus": "there is no entrypoint",
        "entrypointNumGpus": "there is no entrypoint",
        "entrypointResources": "there is no entrypoint",
        "jobId": "it is set when the driver of the step is connected",
        "metadata": "it belongs to the entrypoint, which an interactive RayJob does not have; labels go into the "
        "RayJob's own metadata",
        "runtimeEnvYAML": "KubeRay ignores it in InteractiveMode; pass a runtime_env to ray.init",
        "submissionMode": "it is always InteractiveMode",
        "submitterConfig": "no pod submits an interactive RayJob",
        "submitterPodTemplate": "no pod submits an interactive RayJob",
    }

    ray_cluster_spec: RayClusterSpec = Field(default_factory=RayClusterSpec, description="The cluster.")
    shutdown_after_job_finishes: bool | None = Field(
        default=None,
        description=(
            "Delete the cluster after the end of the job, however it ended. Unset: on, except with deletionRules and "
            "with the deletion policy DeleteNone, which exclude it."
        ),
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        description="Seconds between the end of the job and the deletion. Unset: 60; with a deletionStrategy 0.",
    )
    deletion_strategy: dict[str, Any] | None = Field(
        default=None,
        description=(
            "What is deleted after success and failure: {onSuccess: {policy}, onFailure: {policy}} or {deletionRules}. "
            "KubeRay >= 1.5 (a feature gate before 1.6)."
        ),
    )
    active_deadline_seconds: int | None = Field(
        default=None,
        description=(
            "Seconds from the start of the RayJob after which it fails. KubeRay ignores it while the RayJob "
            "waits for a driver."
        ),
    )
    pre_running_deadline_seconds: int | None = Field(
        default=None,
        description=(
            "Seconds from the start of the RayJob after which it fails if no driver has connected. KubeRay >= 1.6. "
            "Unset: the resource's timeout and a minute, if KubeRay supports it."
        ),
    )
    suspend: bool | None = Field(
        default=None, description="Start nothing until it is set to false. Kueue sets it; leave it unset with a queue."
    )
    managed_by: str | None = Field(
        default=None, description="Who reconciles the object, for MultiKueue. Unset: the KubeRay operator."
    )

    @classmethod
    def of_file(cls, found: FileSpec) -> Self:
        """Return the job that a file describes.

        Raises:
            ValidationError: pydantic's.
        """
        return cls(**found.rayjob, ray_cluster_spec=RayClusterSpec(**found.cluster))

    @model_validator(mode="before")
    @classmethod
    def _the_mode_may_be_written_out(cls, data: object) -> object:
        if isinstance(data, dict):
            given = cast("dict[str, Any]", data)
            fixed = ("submissionMode", "submission_mode")
            return {key: value for key, value in given.items() if key not in fixed or value != "InteractiveMode"}
        return data


def _say_once(sentences: Iterable[str]) -> None:
    """Log each sentence as a warning, unless this process has done so: Dagster builds a configuration many times."""
    for sentence in sentences:
        if sentence not in _said:
            _said.add(sentence)
            _log.warning("%s", sentence)


def _names_a_variable(data: object) -> bool:
    """Return whether the file's name is a variable of the environment, which is that of the step."""
    return isinstance(data, Mapping) and variable_of(cast("Mapping[str, Any]", data).get("spec_file")) is not None


def _file_error(file: str, error: ValidationError) -> SpecFileError:
    """Name the first field that is wrong, without the values around it."""
    first = error.errors(include_input=False, include_url=False)[0]
    key, cause = ".".join(map(str, first["loc"])), first.get("ctx", {}).get("error")
    if isinstance(cause, DagsterRayError):
        return SpecFileError(file, key, cause.problem, cause.remedy)
    return SpecFileError(file, key, first["msg"].removeprefix("Value error, "), "correct the value in the file")


def _file_metadata(file: str, metadata: Json) -> Json:
    """Return what all steps may have in common; a name is not part of it."""
    from dagster_ray.kuberay._spec.rules import check_metadata

    kept = {key: value for key, value in metadata.items() if key not in {"name", "generateName"}}
    try:
        check_metadata(kept)
    except InvalidSpecError as error:
        raise SpecFileError(file, error.field, f"it {error.reason}", error.advice) from error
    return kept


def _plain(
    metadata: dict[str, Any],
    spec: KubernetesConfig,
    file: str | None,
    of_file: Callable[[FileSpec], KubernetesConfig],
    kind: str,
) -> Json:
    """Return metadata and spec as plain JSON, over what the file holds."""
    written: Json = {"metadata": without_server_fields(plain_json(metadata, "metadata")), "spec": spec.plain()}
    if file is None:
        return written
    found = read_spec(file)
    try:
        under = of_file(found)
    except ValidationError as error:
        raise _file_error(file, error) from error
    plain: Json = merged(
        {"metadata": _file_metadata(file, without_server_fields(found.metadata)), "spec": under.plain()}, written
    )
    if found.is_manifest and found.cluster and SELECTOR not in plain["spec"]:
        plain["spec"] = _with_whole_cluster(plain["spec"], kind)
    return plain


def _with_whole_cluster(spec: Json, kind: str) -> Json:
    if kind == "RayCluster":
        return as_manifest(spec)
    return {**spec, "rayClusterSpec": as_manifest(spec["rayClusterSpec"])}


class InteractiveRayJobConfig(StrictConfig):
    """A RayJob whose driver is a Dagster step."""

    model_config = ConfigDict(hide_input_in_errors=True)

    metadata: dict[str, Any] = Field(default_factory=dict, description=_METADATA)
    spec: InteractiveRayJobSpec = Field(default_factory=InteractiveRayJobSpec, description="The spec.")
    spec_file: str | None = Field(default=None, description=_SPEC_FILE)

    def plain(self) -> Json:
        """Return `metadata` and `spec` as plain JSON with camelCase names, over what `spec_file` holds.

        Raises:
            InvalidSpecError: A value is not JSON-serializable.
            SpecFileError: The file cannot be used.
        """
        spec = cast("InteractiveRayJobSpec", self.spec)
        return _plain(self.metadata, spec, self.spec_file, InteractiveRayJobSpec.of_file, "RayJob")

    @model_validator(mode="wrap")
    @classmethod
    def _is_accepted_by_kuberay(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        self = handler(data)
        if not _names_a_variable(data):
            from dagster_ray.kuberay._spec.acceptance import check_written

            _say_once(check_written("RayJob", self.plain()))
        return self


class RayClusterConfig(StrictConfig):
    """A RayCluster that Dagster steps use."""

    model_config = ConfigDict(hide_input_in_errors=True)

    metadata: dict[str, Any] = Field(default_factory=dict, description=_METADATA)
    spec: RayClusterSpec = Field(default_factory=RayClusterSpec, description="The spec.")
    spec_file: str | None = Field(
        default=None,
        description=(
            f"{_SPEC_FILE} From a RayJob, the cluster is used; if it has a clusterSelector, the existing cluster that "
            "it names is used and never deleted."
        ),
    )
    cluster_sharing: ClusterSharing | None = Field(
        default=None, description="Whether and with whom the cluster is shared. Unset: each step has its own."
    )

    @property
    def sharing(self) -> ClusterSharing | None:
        """How the cluster is shared, as this configuration says; None if it says nothing."""
        return cast("ClusterSharing | None", self.cluster_sharing)

    def plain(self) -> Json:
        """Return `metadata` and `spec` as plain JSON with camelCase names, over what `spec_file` holds.

        Raises:
            InvalidSpecError: A value is not JSON-serializable.
            SpecFileError: The file cannot be used.
        """
        spec = cast("RayClusterSpec", self.spec)
        return _plain(self.metadata, spec, self.spec_file, RayClusterSpec.of_file, "RayCluster")

    @model_validator(mode="wrap")
    @classmethod
    def _is_accepted_by_kuberay(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        self = handler(data)
        if not _names_a_variable(data):
            from dagster_ray.kuberay._spec.acceptance import check_written

            _say_once(check_written("RayCluster", self.plain()))
        return self


def __dir__() -> list[str]:
    return sorted(__all__)
