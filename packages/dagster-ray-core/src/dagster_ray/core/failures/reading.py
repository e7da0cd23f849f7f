"""Reads what errors say: those that were raised here, and those that Dagster's events contain."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, get_args

from dagster_ray.core.errors import DagsterRayError
from dagster_ray.core.failures import FailureClass
from dagster_ray.core.failures.causes import ErrorFacts

if TYPE_CHECKING:
    from dagster_shared.error import SerializableErrorInfo

_MOST = 20
# How Ray names the error of a task, which is of the cause's type as well (ray/exceptions.py).
_OF_TASK = re.compile(r"RayTaskError\((\w+)\)$")
_CODE = re.compile(r"\[dagster-ray: ([\w-]+)\]")


def facts_of(error: BaseException) -> tuple[ErrorFacts, ...]:
    """Return an error and its causes, the nearest first.

    Only what the code that raised names as the cause counts (`raise ... from`): an error that merely happened while
    another one was handled is a fault of its own.
    """
    return tuple(_chain(error))


def _chain(error: BaseException | None) -> Iterator[ErrorFacts]:
    for _ in range(_MOST):
        if error is None:
            return
        kind = type(error)
        declared = error.failure_class if isinstance(error, DagsterRayError) else None
        yield ErrorFacts(f"{kind.__module__}.{kind.__qualname__}", _text(error), declared)
        # The error of a task says in its text what its cause was, and has the cause itself where it could be sent.
        inner: object = getattr(error, "cause", None) if _is_of_task(kind) else None
        error = inner if isinstance(inner, BaseException) else error.__cause__


def _is_of_task(kind: type[BaseException]) -> bool:
    return any(base.__module__ == "ray.exceptions" and base.__name__ == "RayTaskError" for base in kind.__mro__)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an error of anybody's may fail to say what it is
        return ""


def facts_of_info(info: "SerializableErrorInfo | None") -> tuple[ErrorFacts, ...]:
    """Return an error of an event and its causes, the nearest first."""
    found: list[ErrorFacts] = []
    while info is not None and len(found) < _MOST:
        kind, text = _type_and_text(info.message.strip(), info.cls_name or "")
        found.append(ErrorFacts(kind, text, _declared(kind, text)))
        if (task := _OF_TASK.search(kind)) is not None:
            found.append(ErrorFacts(_inner(task[1], text), text))
        info = info.cause
    return tuple(found)


def _type_and_text(message: str, name: str) -> tuple[str, str]:
    """Split a message as Python's traceback has it: the type with its module, a colon, the text."""
    head, colon, rest = message.partition(": ")
    if colon and name and head.endswith(name):
        return head, rest
    return (message if message.endswith(name) and " " not in message else name), message


def _inner(name: str, text: str) -> str:
    """Return the type of a task's cause, whose module only the text tells: the last line of the remote traceback."""
    return f"ray.exceptions.{name}" if f"ray.exceptions.{name}" in text else name


def _declared(kind: str, text: str) -> FailureClass | None:
    """Return what an error of dagster-ray declares, found again by its code; None for any other error."""
    code = _CODE.search(text)
    if code is None or not kind.startswith("dagster_ray"):
        return None
    declared: object = next((one.failure_class for one in _kinds(DagsterRayError) if one.code == code[1]), "user")
    # Where the fields decide, the class has a property in its place.
    return next((known for known in get_args(FailureClass) if known == declared), "user")


def _kinds(root: type[DagsterRayError]) -> Iterator[type[DagsterRayError]]:
    for kind in root.__subclasses__():
        yield kind
        yield from _kinds(kind)
