"""What cannot work in another process, and is refused before a job is submitted."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.execution.plan.outputs import StepOutputHandle
from dagster._core.storage.fs_io_manager import PickledObjectFilesystemIOManager
from dagster._core.storage.mem_io_manager import InMemoryIOManager

from dagster_ray.pipes._driver_errors import StepNotMovableError

if TYPE_CHECKING:
    from dagster._core.execution.context.system import StepExecutionContext

_OTHER_IO_MANAGER = (
    "give it an IO manager that both processes reach, such as FilesystemIOManager(base_dir=...) on a shared volume, or "
    "one of a bucket or a database"
)


def reconstructable(context: "StepExecutionContext") -> ReconstructableJob:
    """Return the step's job as another process can load it.

    Raises:
        StepNotMovableError: No other process can.
    """
    job = context.job
    if not isinstance(job, ReconstructableJob):
        raise not_reconstructable(f"The step {context.step.key}")
    return job


def not_reconstructable(what: str) -> StepNotMovableError:
    """Return the error for a job that exists in this process only."""
    return StepNotMovableError(
        what,
        "its job was defined in this process, as `dg.materialize` and `execute_in_process` do, so that no other "
        "process can load it",
        "start the run from a code location, with `dg launch`, or by `dg.execute_job` of a `dg.reconstructable` job; "
        "or test with driver='step'",
    )


def check_io_managers(context: "StepExecutionContext") -> list[str]:
    """Return warnings about values that nobody will find again.

    Raises:
        StepNotMovableError: The step loads a value that its worker cannot reach, or another step needs a value that
            the worker would keep for itself.
    """
    for name, manager in _input_managers(context):
        if (place := _private_place(context, manager)) is not None:
            reason = f"the IO manager of its input `{name}` keeps values {place}"
            raise StepNotMovableError(f"The step {context.step.key}", reason, _OTHER_IO_MANAGER)
    warnings: list[str] = []
    for handle in _stored_outputs(context):
        place = _private_place(context, context.get_io_manager(handle))
        if place is None:
            continue
        if _is_loaded(context, handle):
            reason = (
                f"the IO manager of its output `{handle.output_name}` keeps values {place}, and another step needs it"
            )
            raise StepNotMovableError(f"The step {context.step.key}", reason, _OTHER_IO_MANAGER)
        warnings.append(
            f"The IO manager of the output `{handle.output_name}` keeps values {place}; with driver='cluster' that is "
            "lost with the worker, so nothing can load the value later."
        )
    return warnings


def _private_place(context: "StepExecutionContext", manager: object) -> str | None:
    """Return where a manager keeps values if that is a place of one process; None if others reach it."""
    if isinstance(manager, InMemoryIOManager):
        return "in memory"
    if isinstance(manager, PickledObjectFilesystemIOManager):
        own = context.instance.storage_directory()
        if manager.base_dir is None or manager.base_dir == own:
            return "in the storage folder of Dagster's instance (no `base_dir` is given)"
    return None


def _stored_outputs(context: "StepExecutionContext") -> Iterator[StepOutputHandle]:
    layer = context.job_def.asset_layer
    for output in context.step.step_outputs:
        is_check = layer.get_asset_check_key_for_node_output(context.node_handle, output.name) is not None
        kind = context.op_def.output_dict[output.name].dagster_type
        if not is_check and not kind.is_nothing:
            yield StepOutputHandle(context.step.key, output.name)


def _sources(step: object) -> Iterator[tuple[str, Any]]:
    """Yield the inputs of a step that are loaded, each with where it comes from."""
    inputs: Any = getattr(step, "step_inputs", ())
    for each in inputs:
        kind: Any = getattr(each, "dagster_type_key", "")
        if kind != "Nothing":
            yield each.name, each.source


def _is_loaded(context: "StepExecutionContext", handle: StepOutputHandle) -> bool:
    wanted = (_without_key(handle.step_key), handle.output_name)
    return any(
        (_without_key(above.step_key), above.output_name) == wanted
        for step in context.execution_plan.steps
        for _, source in _sources(step)
        for above in _handles(source)
    )


def _handles(source: Any) -> Iterator[StepOutputHandle]:
    """Yield the outputs that an input comes from, also one that waits for a dynamic output."""
    yield from getattr(source, "step_output_handle_dependencies", ())
    if (waiting := getattr(source, "get_step_output_handle_dep_with_placeholder", None)) is not None:
        yield waiting()


def _without_key(step_key: str) -> str:
    """Return a step's key without that of the dynamic output it belongs to, which is a placeholder before it runs."""
    return step_key.partition("[")[0]


def _input_managers(context: "StepExecutionContext") -> Iterator[tuple[str, object]]:
    layer, plan = context.job_def.asset_layer, context.execution_plan
    for name, source in _sources(context.step):
        keys: list[str] = []
        above: Any = getattr(source, "step_output_handle_dependencies", ())
        if context.op_def.input_dict[name].input_manager_key is not None:
            keys.append(str(context.op_def.input_dict[name].input_manager_key))
        elif above:
            keys += [plan.get_manager_key(handle, context.job_def) for handle in above]
        else:
            key = layer.get_asset_key_for_node_input(context.node_handle, name)
            if key is not None and layer.has(key) and type(source).__name__ == "FromLoadableAsset":
                keys.append(layer.get(key).io_manager_key)
        for key in dict.fromkeys(keys):
            yield name, getattr(context.resources, key, None)


def has_origin(run: dg.DagsterRun) -> bool:
    """Return whether a run says where its code is, so that another process can load it."""
    return run.job_code_origin is not None
