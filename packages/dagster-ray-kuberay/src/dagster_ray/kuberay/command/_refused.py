"""What a module's exception says about a configuration that was refused: fields and remedies, never values. Pure."""

# pydantic's error details are plain dictionaries.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from dagster_ray.core.errors import DagsterRayError, InvalidFieldError
from dagster_ray.kuberay.command._checks import Refusal

_HIDDEN = "'...'"
# Types of pydantic's errors whose text is somebody else's, or quotes the value.
_QUOTING = {"value_error", "assertion_error", "union_tag_invalid"}
_ADVICE = "correct its value"


def refused(error: BaseException) -> tuple[Refusal, ...]:
    """Return what an exception, or one that it was raised from, says of a configuration; empty if it is about none."""
    seen: set[int] = set()
    now: BaseException | None = error
    while now is not None and id(now) not in seen:
        seen.add(id(now))
        if isinstance(now, DagsterRayError):
            return (_plain(now, {}),)
        if isinstance(now, ValidationError):
            return tuple(_of_pydantic(now.title, one) for one in now.errors(include_url=False))
        now = now.__cause__ or now.__context__
    return ()


def _of_pydantic(model: str, detail: Mapping[str, Any]) -> Refusal:
    ours = detail.get("ctx", {}).get("error")
    if isinstance(ours, DagsterRayError):
        return _plain(ours, detail.get("input"))
    field = ".".join([model, *map(str, detail["loc"])])
    kind = detail["type"]
    reason = "has a value that its own check refuses" if kind in _QUOTING else f"was refused: {detail['msg']}"
    return _plain(InvalidFieldError(field, reason, _ADVICE), {})


def _plain(error: DagsterRayError, value: object) -> Refusal:
    return Refusal(error.code, _without(error.problem, value), _without(error.remedy, value))


def _without(text: str, value: object) -> str:
    """Return a text in which no value of the configuration is quoted: a module may have computed it from a secret."""
    for leaf in _texts(value):
        text = text.replace(repr(leaf), _HIDDEN).replace(f'"{leaf}"', _HIDDEN)
    return text


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
