"""What Dagster's contexts tell: the log, run and step, who asks for a cluster, and where its image may stand."""

import contextlib
import logging
import os
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast

import dagster as dg
from dagster._core.errors import DagsterInvalidPropertyError
from typing_extensions import override

from dagster_ray.core._identity import Identity

_FRAMES = 1  # `_log` here; those of the standard library do not count
_FORMAT = logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s")


class _SafeLogger(logging.Logger):
    """Passes messages on to another logger; what that one does not accept goes to stderr.

    A message to Dagster's log is written into Dagster's event storage before the call returns, so the call raises
    while the storage is away. None of our messages is worth a step, or a thread that keeps a cluster alive.
    """

    def __init__(self, inner: logging.Logger) -> None:
        super().__init__(inner.name)
        self._inner = inner

    @override
    def isEnabledFor(self, level: int) -> bool:
        return self._inner.isEnabledFor(level)

    @override
    def _log(
        self,
        level: int,
        msg: object,
        args: Any,
        exc_info: Any = None,
        extra: Mapping[str, object] | None = None,
        stack_info: bool = False,
        stacklevel: int = 1,
    ) -> None:
        if exc_info is True:  # now: further down it would be the error of the storage
            exc_info = sys.exc_info()
        try:
            self._inner.log(
                level,
                msg,
                *args,
                exc_info=exc_info,
                extra=extra,
                stack_info=stack_info,
                stacklevel=stacklevel + _FRAMES,
            )
        except Exception as error:  # noqa: BLE001 - any storage, handler or formatter can stand behind it
            with contextlib.suppress(Exception):
                _to_stderr(self.makeRecord(self.name, level, "", 0, msg, args, _triple(exc_info)), error)


def safe_log(logger: logging.Logger) -> logging.Logger:
    """Return a logger that passes messages on to `logger` and never raises.

    A message that `logger` does not accept, as when Dagster's storage is away, is written to stderr, which Dagster
    keeps as the step's compute log.
    """
    return logger if isinstance(logger, _SafeLogger) else _SafeLogger(logger)


def _triple(exc_info: Any) -> Any:
    if isinstance(exc_info, BaseException):
        return type(exc_info), exc_info, exc_info.__traceback__
    return cast("object", exc_info) if isinstance(exc_info, tuple) else None


def _to_stderr(record: logging.LogRecord, refusal: Exception) -> None:
    text = f"{_FORMAT.format(record)}\n(The log did not accept this message: {type(refusal).__name__}.)\n"
    sys.stderr.write(text)
    sys.stderr.flush()


StepContext: TypeAlias = dg.OpExecutionContext | dg.AssetExecutionContext
"""The context of a step, also that of an op or asset which is called directly, without a run."""

DagsterContext: TypeAlias = dg.InitResourceContext | StepContext
"""What the phases take: the context of a resource's set-up, or that of a step which calls a phase itself."""


def log_of(context: DagsterContext) -> logging.Logger:
    """Return the context's logger, whose lines appear in the run's event log. Its calls never raise.

    While Dagster's storage is away, lines go to stderr. Outside a run it is the logger `dagster_ray`.
    """
    return safe_log(context.log or logging.getLogger("dagster_ray"))


def step_key_of(context: DagsterContext) -> str | None:
    """Return the key of the step that the context belongs to; None when a resource serves several steps.

    The metadata of Dagster's logger has it also during a resource's set-up (dagster/_core/log_manager.py).
    """
    key = None if context.log is None else context.log.metadata.get("step_key")
    return key if isinstance(key, str) else None


def run_of(context: DagsterContext) -> dg.DagsterRun | None:
    """Return the run that the context belongs to; None outside of a run."""
    try:
        return context.run
    except DagsterInvalidPropertyError:  # the context of an op or asset that is called directly
        return None


def code_folders_of(context: DagsterContext, *, is_elsewhere: bool = False) -> tuple[str, ...]:
    """Return where the modules of a code location are that was loaded by file, and that workers of Ray do not find.

    Dagster loads such a file by its path, and keeps `sys.path` as it was (dagster/_core/code_pointer.py). A folder that
    has a module by the name of another one is left out: Ray puts folders before all others, and workers would get it.
    So is a folder that cannot be read.

    Args:
        context: The context of the step.
        is_elsewhere: Whether this is not the machine whose paths the run tells.
    """
    origin = getattr(run_of(context), "job_code_origin", None)
    pointer = None if origin is None else origin.repository_origin.code_pointer
    pointer = getattr(pointer, "reconstructor_pointer", pointer)
    name = Path(getattr(pointer, "python_file", "")).name
    module = name.removesuffix(".py")
    file = getattr(sys.modules.get(module), "__file__", None)
    try:
        here = Path.cwd()
    except OSError:  # it was deleted
        here = Path(os.sep)
    found = [(here / file).parent] if name and file and Path(file).name == name else []
    folder = None if is_elsewhere else getattr(pointer, "working_directory", None)
    found += [here / folder] if folder and os.path.isdir(folder) else []  # noqa: PTH112 - which never raises
    inherited = {Path(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep)} | {here}
    return tuple(str(each) for each in dict.fromkeys(found) if each not in inherited and not _hides(each, module))


def _hides(folder: Path, own: str) -> bool:
    """Return whether a folder has a module by the name of one of Python's, or of one that is loaded from elsewhere.

    One that cannot be read may have any.
    """
    try:
        # Not by `Path.exists`, which raises where a folder inside may not be entered, such as `lost+found`.
        names = {e.stem for e in folder.iterdir() if e.suffix == ".py" or os.path.exists(e / "__init__.py")}  # noqa: PTH110
    except OSError:
        return True
    for name in names:
        file = getattr(sys.modules.get(name), "__file__", None)
        if name in sys.stdlib_module_names or (file and name != own and not Path(file).is_relative_to(folder)):
            return True
    return False


def run_is_over(context: DagsterContext) -> bool:
    """Return whether the run is known to have ended already.

    `dagster job execute` initialises all resources once more after the run, to let the caller look at
    outputs (dagster/_core/execution/job_execution_result.py); no cluster is wanted then.
    """
    instance, run = context.instance, run_of(context)
    if instance is None or run is None:
        return False
    try:
        record = instance.get_run_by_id(run.run_id)
    except Exception:  # noqa: BLE001 - any storage can sit behind it
        log_of(context).warning("Dagster's storage could not be read, so the run counts as under way.", exc_info=True)
        return False
    return record is not None and record.is_finished


def last_event_id(context: DagsterContext) -> int | None:
    """Return the storage id of the run's last event; 0 if there is none, or no run; None if it cannot be read.

    Call it before set-up: a step's earlier attempts in other processes have events of their own in the run.
    """
    instance, run = context.instance, run_of(context)
    if instance is None or run is None:
        return 0
    try:
        newest = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
    except Exception:  # noqa: BLE001 - any storage can sit behind it, and a step must not fail for what cleanup wants
        log_of(context).warning(
            "The run's events could not be read, so how the step ends will not be known.", exc_info=True
        )
        return None
    return newest[0].storage_id if newest else 0


INSTANCE_ID_VARIABLE = "DAGSTER_RAY_INSTANCE_ID"
_RETRIES = {dg.DagsterEventType.STEP_RESTARTED, dg.DagsterEventType.STEP_UP_FOR_RETRY}


@dataclass(frozen=True, slots=True)
class ImageCandidates:
    """Where the image of the step's own code may stand.

    Args:
        run_tags: Tags of the run; Dagster's Kubernetes launcher sets `dagster/image`.
        code_origin_image: The container image of the code location, as the run's origin has it.
        environ_image: `DAGSTER_CURRENT_IMAGE` of this process.
    """

    run_tags: Mapping[str, str] = field(default_factory=dict[str, str])
    code_origin_image: str | None = None
    environ_image: str | None = None


def _resource_key(context: DagsterContext) -> str | None:
    """Return the key under which the resource is bound; only its own set-up knows it."""
    name = None if context.log is None else context.log.metadata.get("resource_name")
    return name if isinstance(name, str) else None


def _attempt(context: DagsterContext, run_id: str, step_key: str | None) -> int:
    """Count the attempts of the step before this one.

    The event of a retry's request is stored before its set-up, that of its start after it; so the larger of
    both counts is right during set-up and in the step. An unreadable log counts as a first attempt.
    """
    if step_key is None or (instance := context.instance) is None:
        return 0
    try:
        records = instance.get_records_for_run(run_id, of_type=_RETRIES).records
    except Exception:  # noqa: BLE001 - any storage can sit behind it, and a name is needed whatever it raises
        log_of(context).warning("The run's events could not be read; the step counts as tried once.", exc_info=True)
        return 0
    events = [record.event_log_entry.dagster_event for record in records]
    types = [event.event_type for event in events if event is not None and event.step_key == step_key]
    return max(types.count(kind) for kind in _RETRIES)


def configured_instance_id(environ: Mapping[str, str] | None = None) -> str | None:
    """Return the id that `DAGSTER_RAY_INSTANCE_ID` gives the Dagster instance; None if it is unset or blank.

    Args:
        environ: The environment. None: that of this process.
    """
    environment = os.environ if environ is None else environ
    return environment.get(INSTANCE_ID_VARIABLE, "").strip() or None


def instance_id_of(instance: dg.DagsterInstance | None, environ: Mapping[str, str] | None = None) -> str | None:
    """Return the id that distinguishes the runs of a Dagster instance from those of other instances.

    This is `DAGSTER_RAY_INSTANCE_ID` if it is set, otherwise the id of the run storage. A copy of a database has the
    storage id of its original, so only the variable distinguishes the two. A storage of Dagster+ or of a third party
    may have no id (dagster/_core/storage/runs/sql_run_storage.py has one).

    Args:
        instance: The instance. None: only the environment is read.
        environ: The environment. None: that of this process.
    """
    configured = configured_instance_id(environ)
    if configured is not None:
        return configured
    read = getattr(getattr(instance, "run_storage", None), "get_run_storage_id", None)
    if read is None:
        return None
    try:
        return str(read())
    except Exception:  # noqa: BLE001 - any storage can sit behind it, and without an id only less is known
        return None


def _asset_keys(context: DagsterContext, run: dg.DagsterRun, step_key: str | None) -> tuple[str, ...]:
    """Return the assets of the step; during set-up those of the run's selection that the step is named after."""
    if not isinstance(context, dg.InitResourceContext):
        return tuple(key.to_user_string() for key in context.selected_asset_keys) if context.has_assets_def else ()
    selected = run.asset_selection or ()
    own = [key for key in selected if "__".join(key.path) == step_key]
    return tuple(key.to_user_string() for key in (own or (selected if len(selected) == 1 else ())))


def identity_of(
    context: DagsterContext,
    attempt: int | None = None,
    *,
    resource_key: str | None = None,
    step_key: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Identity:
    """Return who asks for a cluster. Works outside of a run too, and each call then has a name of its own.

    Args:
        context: The context of a resource's set-up, or that of a step.
        attempt: How often the step was tried before. None: counted from the events of the run.
        resource_key: The resource's key. None: what the context of a resource's set-up says.
        step_key: The step. None: that of the context, if it has one.
        environ: The environment. None: that of this process.
    """
    environment = os.environ if environ is None else environ
    run = run_of(context)
    key = resource_key or _resource_key(context)
    deployment = environment.get("DAGSTER_CLOUD_DEPLOYMENT_NAME")
    git_sha = environment.get("DAGSTER_CLOUD_GIT_SHA")
    if run is None:
        nonce = uuid.uuid4().hex
        return Identity(resource_key=key, attempt=attempt or 0, nonce=nonce, deployment=deployment, git_sha=git_sha)
    step_key = step_key or step_key_of(context)
    if attempt is None:
        attempt = _attempt(context, run.run_id, step_key)
    info = run.dagster_execution_info  # job, code location and partition, where known
    return Identity(
        run_id=run.run_id,
        step_key=step_key,
        attempt=attempt,
        resource_key=key,
        code_location=info.get("dagster/code-location") or run.tags.get("dagster/code_location"),
        git_sha=git_sha,
        deployment=deployment,
        instance_id=instance_id_of(context.instance, environment),
        job=run.job_name,
        asset_keys=_asset_keys(context, run, step_key),
        partition_key=info.get("dagster/partition"),
        backfill_id=run.tags.get("dagster/backfill"),
    )


def image_candidates(context: DagsterContext, environ: Mapping[str, str] | None = None) -> ImageCandidates:
    """Return where the image of the step's code may stand; most of it is empty outside of containers."""
    environment = os.environ if environ is None else environ
    run = run_of(context)
    origin = None if run is None else run.job_code_origin
    return ImageCandidates(
        run_tags=dict(run.tags) if run is not None else {},
        code_origin_image=None if origin is None else origin.repository_origin.container_image,
        environ_image=environment.get("DAGSTER_CURRENT_IMAGE"),
    )
