"""Whose failure the error of a step is: by its types and words, and by what became of the cluster's pods. Pure.

Words are Ray's (python/ray/exceptions.py, util/client, src/ray/gcs; 2.46 to 2.60). Ray reports only that a process is
gone for a crash of the step's own code, for memory that ran out, and for a node that was taken away. Where its words
leave that open, the pods decide.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from dagster_ray.core.failures import FailureClass

LossKind: TypeAlias = Literal["preempted", "evicted", "node-lost", "head-replaced", "out-of-memory", "out-of-storage"]

OWN_NEEDS: tuple[LossKind, ...] = ("out-of-memory", "out-of-storage")
"""What a step has met because it needed more than it had asked for."""

_TEXT_LIMIT = 300
_NO_MODULE = "ModuleNotFoundError"
_MODULE_HINT = (
    "If it was in a task or actor: what they import must be in the cluster's image, or be sent by runtime_env."
)

# Dagster's own, around the error of a body (dagster/_core/errors.py, _core/execution/plan/utils.py).
_WRAPPERS = ("DagsterExecutionStepExecutionError", "RetryRequestedFromPolicy")


@dataclass(frozen=True, slots=True)
class Loss:
    """What became of one pod of a step's cluster."""

    kind: LossKind
    sentence: str
    """What happened, with the names that matter."""
    is_head: bool = False


@dataclass(frozen=True, slots=True)
class ErrorFacts:
    """One error of a chain of causes."""

    type: str
    """Its type, with the module where that is known: `ray.exceptions.NodeDiedError`, `ValueError`."""
    text: str
    declared: FailureClass | None = None
    """What an error of dagster-ray says of itself."""

    @property
    def name(self) -> str:
        """The type without its module."""
        return self.type.rpartition(".")[2]

    @property
    def is_rays(self) -> bool:
        """Whether Ray has raised it."""
        return self.type.startswith("ray.")


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whose failure it is, and by what that is known."""

    failure_class: FailureClass
    why: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that failed, for what is kept of it."""

    step_key: str | None
    """None: the work was no step of a run."""
    error: str
    """The error and its causes, with their tracebacks."""
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Kept:
    """What a backend has kept of a failure before its cluster was cleaned up."""

    place: str
    """The path or URL of its index page, without credentials."""
    summary: str
    """The same in a few lines of Markdown."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """What errors of some types, with some words, tell.

    Attributes:
        types: Names of types; empty: any type of Ray's.
        words: The text contains one of them; empty: whatever it is.
        tells: The class, if the pods do not say more.
        asks: Whose pods decide; empty: nobody's, the words are enough.
    """

    types: frozenset[str]
    words: tuple[str, ...]
    tells: FailureClass
    asks: Literal["", "head", "any"] = ""


def _types(names: str) -> frozenset[str]:
    return frozenset(names.split())


_CLIENT = (
    "broke the connection",
    "data client has disconnected",
    "Ray client has already been disconnected",
    "ray client connection timeout",
    "reconnection grace period",
    "Client is shutting down.",
    "GRPC connection failed",
)
_NODE = (
    "node has died",
    "node died",
    "node is dead",
    "node it was running on is dead",
    "node was preempted",
    "node was terminated",
    "node was drained",
    "node is no longer",
)
_OWN_DOING = ("ray.kill", "exit_actor", "never ran", "creation task", "because of an error", "was cancelled")
_DEAD = "ActorDiedError RayActorError TaskUnschedulableError ActorUnschedulableError OwnerDiedError WorkerCrashedError"
DROPPED_PACKAGE = "Failed to download runtime_env file package"
"""What Ray says of an uploaded package that it dropped before the job started (ray/_private/runtime_env/packaging.py).

It drops one that nothing uses for ten minutes; another attempt uploads it again.
"""
# The first rule that fits decides.
_RULES = (
    _Rule(_types("OutOfMemoryError"), (), "user"),
    _Rule(frozenset(), ("low on memory", "memory pressure", "memory monitor"), "user"),
    _Rule(_types("RuntimeEnvSetupError"), (DROPPED_PACKAGE,), "infrastructure"),
    _Rule(_types("RuntimeEnvSetupError AuthenticationError"), (), "configuration"),
    _Rule(_types(_DEAD), _NODE, "infrastructure", "any"),
    _Rule(_types(f"{_DEAD} ObjectReconstructionFailedError"), _OWN_DOING, "user"),
    _Rule(
        _types(
            "NodeDiedError LocalRayletDiedError ActorUnavailableError RpcError ObjectLostError "
            "ObjectFetchTimedOutError ObjectReconstructionFailedError "
            "ObjectReconstructionFailedMaxAttemptsExceededError ObjectReconstructionFailedLineageEvictedError"
        ),
        (),
        "infrastructure",
        "any",
    ),
    _Rule(_types("ActorDiedError RayActorError OwnerDiedError WorkerCrashedError RaySystemError"), (), "user", "any"),
    _Rule(frozenset(), (), "user"),
)
_CLIENT_RULE = _Rule(frozenset(), _CLIENT, "infrastructure", "head")
_JOB_RULES = (
    _Rule(_types("JobLostError"), (), "infrastructure", "any"),
    _Rule(_types("RayJobFailedError"), ("supervisor actor died",), "user", "any"),
)


def judged(errors: Sequence[ErrorFacts], losses: Callable[[], Sequence[Loss]]) -> Judgement:
    """Return whose failure it is.

    An error that is nobody's in particular, such as a `ValueError`, says nothing; its explicit cause may. What nothing
    else explains is the user's, so that a bug is never taken for bad luck.

    Args:
        errors: The error of the step, then its causes, the nearest first.
        losses: Asked for what became of the cluster's pods lately, if the words leave it open.
    """
    for error in errors:
        rule = _rule_of(error)
        if rule is not None:
            return _by_pods(rule, error, losses() if rule.asks else ())
        if error.declared is not None:
            return Judgement(error.declared, _said(error))
    own = next((error for error in errors if error.name not in _WRAPPERS), None)
    return Judgement("user", _said(own) if own else "no error is known")


def _rule_of(error: ErrorFacts) -> _Rule | None:
    if error.name.startswith("RayTaskError"):
        return None  # its cause follows
    if error.is_rays:
        return next((rule for rule in _RULES if _fits(rule, error)), None)
    if error.declared is not None:
        return next((rule for rule in _JOB_RULES if _fits(rule, error)), None)
    is_connection = error.name.startswith("Connection") and error.name.endswith("Error")
    return _CLIENT_RULE if is_connection and _fits(_CLIENT_RULE, error) else None


def _fits(rule: _Rule, error: ErrorFacts) -> bool:
    has_type = not rule.types or error.name in rule.types
    return has_type and (not rule.words or any(word in error.text for word in rule.words))


def _by_pods(rule: _Rule, error: ErrorFacts, losses: Sequence[Loss]) -> Judgement:
    """A head that is gone explains more than a worker, and memory that ran out is no bad luck, whatever followed."""
    asked = [loss for loss in losses if loss.is_head or rule.asks == "any"]
    if asked:
        told = min(asked, key=lambda loss: (not loss.is_head, loss.kind == "head-replaced", loss.kind not in OWN_NEEDS))
        return Judgement("user" if told.kind in OWN_NEEDS else "infrastructure", told.sentence)
    return Judgement(rule.tells, _said(error))


def _said(error: ErrorFacts) -> str:
    text = " ".join(error.text.split())
    shown = text if len(text) <= _TEXT_LIMIT else text[:_TEXT_LIMIT] + "..."
    said = f"{error.name}: {shown}" if shown else error.name
    return f"{said.rstrip('.')}. {_MODULE_HINT}" if _NO_MODULE in error.type or _NO_MODULE in error.text else said


def is_retried(judgement: Judgement, *, done: int, allowed: int) -> bool:
    """Return whether a step is tried again.

    Args:
        judgement: Whose failure it was.
        done: How often the step was tried again for this reason.
        allowed: How often it may be: `retry_infrastructure`.
    """
    return judgement.failure_class == "infrastructure" and done < allowed
