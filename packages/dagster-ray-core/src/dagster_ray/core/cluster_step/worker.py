"""What a worker in the cluster does: shake hands, load the step's code, carry the step out.

Private parts of Dagster are used as `run_step_from_ref` uses them (dagster/_core/execution/plan/external_step.py).
That function itself drops the selection of asset checks and never tears resources down.
"""

import os
import platform
import sys
import threading
import time
import traceback
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import dagster as dg
from dagster._core.definitions.step_launcher import StepRunRef
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.execution.api import create_execution_plan
from dagster._core.execution.context_creation_job import PlanExecutionContextManager
from dagster._core.execution.plan.execute_plan import dagster_event_sequence_for_step
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._serdes import serialize_value
from dagster._utils.interrupts import capture_interrupts

from dagster_ray.core.cluster_step import inside
from dagster_ray.core.cluster_step.host_facts import seed
from dagster_ray.core.cluster_step.lines import Kind, Line, written
from dagster_ray.core.cluster_step.pointers import inside_folder
from dagster_ray.core.cluster_step.reference import StepReference, own_versions, run_ref

if TYPE_CHECKING:
    from dagster._core.events.log import EventLogEntry
    from dagster._core.execution.plan.plan import ExecutionPlan

JOB_TAG = "dagster_ray/submission_id"
"""In `logging_tags` of an event that ends the step: the job that the event is from."""
_TERMINAL = {"STEP_SUCCESS", "STEP_FAILURE", "STEP_UP_FOR_RETRY"}
_KEPT = {dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_OBSERVATION}
_DISK_IS_DEAD = 74
"""EX_IOERR of sysexits.h."""
_LOST = ("add_dynamic_partitions", "delete_dynamic_partition", "report_runless_asset_event", "add_run_tags")
"""Methods of an instance that would change what Dagster knows; in the worker's own instance the change is lost."""


class NotInClusterError(dg.DagsterError):
    """The body has called a method of Dagster's instance that works in the step's process only."""


class EventFile:
    """The file that the step's process reads. Lines are whole, numbered and in order, whatever thread writes them."""

    def __init__(self, path: str) -> None:
        """Open the file, which no other process writes."""
        self._lock, self._number = threading.Lock(), 0
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)

    def write(self, kind: Kind, value: Any) -> None:
        """Append a line. Where that is impossible nobody can learn what the step does, so the process ends."""
        with self._lock:
            data = written(Line(self._number, kind, value))
            self._number += 1
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError as error:
                sys.stderr.write(f"The events of the step cannot be written: {error}\n")
                sys.stderr.flush()
                os._exit(_DISK_IS_DEAD)

    def end(self) -> None:
        """Write the last line."""
        self.write("end", {})
        os.fsync(self._descriptor)


def carry_out(reference: StepReference) -> int:
    """Carry out a step and write what happens.

    Returns:
        The exit code: 0 if the step has ended by events of its own, whatever they say.
    """
    events = EventFile(reference.events_file)
    events.write("handshake", _handshake())
    if reference.redacts:
        os.environ["DAGSTER_REDACT_USER_CODE_ERRORS"] = "1"
    os.environ.pop("DAGSTER_EVENT_BATCH_SIZE", None)  # an event that waits for others would arrive late
    inside.enter(reference.display_name)
    ephemeral = cast("Any", dg.DagsterInstance.ephemeral)  # pyright: ignore[reportUnknownMemberType]
    with ephemeral(settings=reference.facts.instance_settings) as instance:
        try:
            ref, plan = load_step(reference)
        except BaseException as error:  # noqa: BLE001 - whatever user code raises while it is loaded
            events.write("problem", {**_problem(error, "its code cannot be loaded there"), "permanent": True})
            events.end()
            return 1
        _listen(instance, events, reference)
        _run(ref, plan, instance, reference, events)
    events.end()
    return 0


def _handshake() -> dict[str, Any]:
    own = own_versions()
    try:
        ray = version("ray")
    except PackageNotFoundError:
        ray = ""
    return {
        "python": platform.python_version(),
        "dagster": own.dagster,
        "dagster_ray": own.dagster_ray,
        "ray": ray,
        "clock": time.time(),  # noqa: TID251 - to be compared with the clock of the step's process
    }


class StepProblem(Exception):  # noqa: N818 - a sentence for people, not an error of ours
    """Why the step cannot run here, in words."""


def load_step(reference: StepReference) -> "tuple[StepRunRef, ExecutionPlan]":
    """Load the job's code and plan the step, after a look at versions; no code of the step itself runs."""
    own, wanted = own_versions(), reference.versions
    if _minor(own.dagster) != _minor(wanted.dagster):
        raise StepProblem(f"dagster is {own.dagster} in the cluster and {wanted.dagster} in the step's process")
    if own.dagster_ray != wanted.dagster_ray:
        text = f"dagster-ray is {own.dagster_ray} in the cluster and {wanted.dagster_ray} in the step's process"
        raise StepProblem(text)
    ref = run_ref(reference)
    if reference.has_folder:
        ref = ref._replace(recon_job=inside_folder(ref.recon_job, Path.cwd()))
    job = ref.recon_job
    here = job.get_definition().get_job_snapshot_id()
    if reference.snapshot_id not in {None, here}:
        raise StepProblem(
            f"the job {job.job_name} has another structure in the cluster ({here}) than in the step's process "
            f"({reference.snapshot_id}): the code differs, or depends on the environment"
        )
    plan = create_execution_plan(
        job,
        ref.run_config,
        step_keys_to_execute=[ref.step_key],
        known_state=ref.known_state,
        repository_load_data=job.repository.repository_load_data,
    )
    return ref, plan


def _minor(text: str) -> list[str]:
    return text.split(".")[:2]


def _problem(error: BaseException, what: str) -> dict[str, Any]:
    if isinstance(error, StepProblem):
        return {"sentence": str(error)}
    traceback.print_exception(error)  # into the log of the job
    cause: BaseException = error
    while (below := cause.__cause__) is not None:
        cause = below
    return {"sentence": f"{what}: {type(cause).__name__}: {cause}"}


def _listen(instance: dg.DagsterInstance, events: EventFile, reference: StepReference) -> None:
    """Write what the instance is told into the file, and keep of it only what Dagster asks for within the step."""
    store = instance.handle_new_event

    def handle(event: "EventLogEntry", *, batch_metadata: Any = None) -> None:
        del batch_metadata
        events.write("event", serialize_value(_tagged(event, reference.submission_id)))
        if event.dagster_event is not None and event.dagster_event.event_type in _KEPT:
            store(event)

    cast("Any", instance).handle_new_event = handle


def _tagged(entry: "EventLogEntry", submission_id: str) -> "EventLogEntry":
    event = entry.dagster_event
    if event is None or event.event_type_value not in _TERMINAL:
        return entry
    tags: dict[str, str] = {**cast("Any", event.logging_tags), JOB_TAG: submission_id}
    return entry._replace(dagster_event=event._replace(logging_tags=tags))


def _forbid(instance: dg.DagsterInstance) -> None:
    """Let changes of Dagster's own data fail, which would be lost in silence."""

    def refuse(name: str) -> Any:
        def refused(*_: Any, **__: Any) -> None:
            msg = (
                f"`instance.{name}` does not work in a step with driver='cluster': its body has no access to Dagster's "
                "database. Do it in a step with driver='step', or in a sensor."
            )
            raise NotInClusterError(msg)

        return refused

    for name in _LOST:
        setattr(instance, name, refuse(name))


def _run(
    ref: StepRunRef, plan: "ExecutionPlan", instance: dg.DagsterInstance, reference: StepReference, events: EventFile
) -> None:
    """Set the step's resources up, carry it out, and tear the resources down; as long as this takes, SIGTERM waits.

    Only within code of the user a SIGTERM is raised, and becomes an event of the step.
    """
    manager = PlanExecutionContextManager(
        retry_mode=ref.retry_mode.for_inner_plan(),
        job=ref.recon_job,
        execution_plan=plan,
        run_config=ref.run_config,
        dagster_run=ref.dagster_run,
        instance=instance,
    )
    with capture_interrupts():
        try:
            for _ in manager.prepare_context():
                pass
            plan_context = manager.get_context()
            step = cast("Any", plan.get_step_by_key(ref.step_key))
            context = plan_context.for_step(step, ref.known_state or KnownExecutionState())
            seed(context, reference.facts)
            _forbid(instance)
            for _ in dagster_event_sequence_for_step(context, force_local_execution=True):
                pass
        except (DagsterExecutionInterruptedError, KeyboardInterrupt):
            inside.note_interrupt()
            sys.stderr.write("The step was interrupted.\n")  # its event says so, too
        except Exception as error:  # noqa: BLE001 - a resource of the user's, most of all
            events.write("problem", {**_problem(error, "it could not be set up"), "permanent": False})
        finally:
            for _ in manager.shutdown_context():
                pass
