"""A step as plain data: what its process sends, and what the worker in the cluster makes of it.

Values of Dagster travel by its own serialization, never by pickle. The whole is a secret, since run configuration may
hold some: it goes in a package, never into an environment variable or a job's metadata.
"""

import gzip
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.definitions.step_launcher import StepRunRef
from dagster._serdes import deserialize_value, serialize_value

from dagster_ray.core.cluster_step.host_facts import HostFacts, host_facts

if TYPE_CHECKING:
    from dagster._core.execution.context.system import StepExecutionContext

FORMAT = 1
FILE_NAME = "step.json.gz"
"""The reference's name in its package."""
_REDACT = "DAGSTER_REDACT_USER_CODE_ERRORS"
_STEP_FIELDS = ("run_config", "dagster_run", "retry_mode", "recon_job", "known_state")


@dataclass(frozen=True, slots=True)
class Versions:
    """Which software the step's process has."""

    dagster: str
    dagster_ray: str


def own_versions() -> Versions:
    """Return the versions in this process."""
    return Versions(version("dagster"), version("dagster-ray-core"))


@dataclass(frozen=True, slots=True)
class StepReference:
    """All that a worker needs.

    Args:
        submission_id: The Ray job that the worker is.
        events_file: Where it writes what happens.
        display_name: The cluster's name for logs, as the step's process has it.
        step_key: The step.
        step: Values of Dagster, serialized, by their name in Dagster's `StepRunRef`.
        facts: What the step's process knows and the worker's own, empty instance does not.
        versions: The software of the step's process.
        snapshot_id: Dagster's id of the job's structure, which must be the same in the cluster.
        redacts: Whether errors of user code are redacted in the event log.
        has_folder: Whether the code is in the worker's own folder, so that pointers to files were made relative to it.
        format: The form of all this.
    """

    submission_id: str
    events_file: str
    display_name: str
    step_key: str
    step: Mapping[str, str]
    facts: HostFacts
    versions: Versions
    snapshot_id: str | None = None
    redacts: bool = False
    has_folder: bool = False
    format: int = field(default=FORMAT)

    def packed(self) -> bytes:
        """Return it as the content of a file, the same bytes for the same reference."""
        return gzip.compress(json.dumps(asdict(self), sort_keys=True).encode(), mtime=0)


def unpacked(data: bytes) -> StepReference:
    """Return the reference that a file holds.

    Raises:
        ValueError: It is of another format.
    """
    found: dict[str, Any] = json.loads(gzip.decompress(data))
    if found.get("format") != FORMAT:
        msg = f"the step's reference has the format {found.get('format')}, this dagster-ray reads {FORMAT}"
        raise ValueError(msg)
    known = {each.name for each in fields(StepReference)}
    values = {name: value for name, value in found.items() if name in known}
    values["facts"], values["versions"] = HostFacts(**found["facts"]), Versions(**found["versions"])
    return StepReference(**values)


def step_reference(
    context: "StepExecutionContext",
    job: ReconstructableJob,
    submission_id: str,
    events_file: str,
    display_name: str,
    *,
    has_folder: bool = False,
) -> StepReference:
    """Return a step as plain data. Asks Dagster's event log for what the worker's own instance cannot know.

    Args:
        context: Dagster's context of the step.
        job: The step's job, whose pointer the worker can follow.
        submission_id: The Ray job that the worker will be.
        events_file: Where it is to write what happens.
        display_name: The cluster's name for logs.
        has_folder: Whether the code travels in a folder that the worker is started in.
    """
    loaded = context.plan_data.execution_plan.repository_load_data
    if job.repository.repository_load_data is None and loaded is not None:
        job = job.with_repository_load_data(loaded)
    values = {
        "run_config": dict(context.run_config),
        "dagster_run": context.dagster_run,
        "retry_mode": context.retry_mode,
        "recon_job": job,
        "known_state": context.get_known_state(),
    }
    return StepReference(
        submission_id=submission_id,
        events_file=events_file,
        display_name=display_name,
        step_key=context.step.key,
        step={name: serialize_value(cast("Any", value)) for name, value in values.items()},
        facts=host_facts(context),
        versions=own_versions(),
        snapshot_id=context.dagster_run.job_snapshot_id,
        redacts=os.environ.get(_REDACT, "").lower() in {"1", "true", "t"},
        has_folder=has_folder,
    )


def run_ref(reference: StepReference) -> StepRunRef:
    """Return Dagster's own reference to the step; its constructor checks the types."""
    values: dict[str, Any] = {name: deserialize_value(reference.step[name]) for name in _STEP_FIELDS}
    run = values["dagster_run"]
    return StepRunRef(**values, run_id=run.run_id, step_key=reference.step_key)
