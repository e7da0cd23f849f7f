"""A manifest as YAML in which the lines that its author did not write are marked. Pure."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import yaml

from dagster_ray.kuberay._kubernetes.fields import mapping

MARK = "# dagster-ray"
"""The comment at the end of each line that the configuration does not have, or has with another value."""


class _Absent:
    """Stands for what nobody has written."""


_ABSENT: Final = _Absent()


def marked_yaml(manifest: Mapping[str, Any], written: Mapping[str, Any]) -> str:
    """Return a manifest in YAML.

    Args:
        manifest: What is sent.
        written: The part of it that the user's configuration has, with the same names. Items of lists stand in the
            same order in both, and those that were added follow.
    """
    return "\n".join(f"{line}  {MARK}" if is_added else line for line, is_added in _of_mapping(manifest, written))


def _of_mapping(value: Mapping[str, Any], written: object) -> Iterator[tuple[str, bool]]:
    known = mapping(written)
    for key, item in value.items():
        yield from _entry(f"{_scalar(key)}:", item, known.get(key, _ABSENT))


def _entry(start: str, item: object, written: object) -> Iterator[tuple[str, bool]]:
    if pairs := mapping(item):
        yield start, written is _ABSENT
        for line, is_added in _of_mapping(pairs, written):
            yield f"  {line}", is_added
    elif items := _list(item):
        yield start, written is _ABSENT
        yield from _of_list(items, written)
    else:
        yield f"{start} {_scalar(item)}", written is _ABSENT or written != item


def _of_list(items: list[object], written: object) -> Iterator[tuple[str, bool]]:
    known = _list(written)
    for n, item in enumerate(items):
        theirs = known[n] if n < len(known) else _ABSENT
        if pairs := mapping(item):
            lines = _of_mapping(pairs, theirs)
        elif inner := _list(item):
            lines = _of_list(inner, theirs)
        else:
            lines = iter([(_scalar(item), theirs is _ABSENT or theirs != item)])
        for m, (line, is_added) in enumerate(lines):
            yield f"{'  ' if m else '- '}{line}", is_added


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _scalar(value: object) -> str:
    """Return a value on one line; text of several lines with its breaks escaped."""
    if isinstance(value, str) and not value.isprintable():
        return json.dumps(value)
    text = yaml.safe_dump(value, width=float("inf"), allow_unicode=True, default_flow_style=True)
    return text.removesuffix("\n").removesuffix("\n...")
