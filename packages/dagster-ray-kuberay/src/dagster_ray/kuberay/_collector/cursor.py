"""Where a collector is in its lists, across ticks. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from dagster_ray.kuberay._kubernetes.fields import json_of, mapping
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, RAYJOBS, Kind

EVERYWHERE = "*"
_VERSION = 1
_LIMIT_BYTES = 32 * 1024
_READ_LIMIT = 2 * _LIMIT_BYTES
_MOST_REMEMBERED = 1000
_ASKED_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Target:
    """One list: a kind of objects in one namespace, or in all (None)."""

    kind: Kind
    namespace: str | None

    @property
    def key(self) -> str:
        """Its name in the cursor."""
        return f"{self.kind.plural}/{EVERYWHERE if self.namespace is None else self.namespace}"

    @property
    def label(self) -> str:
        """Its name in reports."""
        return f"{self.kind.plural} in {'all namespaces' if self.namespace is None else self.namespace}"


def targets_of(namespaces: Sequence[str], own_namespace: str, kinds: Iterable[Kind] = ()) -> tuple[Target, ...]:
    """Return the lists to go through.

    Args:
        namespaces: Namespaces; none for the account's own; one of them `*` for all.
        own_namespace: The account's own namespace.
        kinds: The kinds of objects. None given: RayClusters and RayJobs.
    """
    wanted: list[str | None] = [*dict.fromkeys(namespaces)] or [own_namespace]
    if EVERYWHERE in wanted:
        wanted = [None]
    chosen = tuple(kinds) or (RAYCLUSTERS, RAYJOBS)
    return tuple(Target(kind, namespace) for namespace in wanted for kind in chosen)


@dataclass(frozen=True, slots=True)
class Cursor:
    """What one tick leaves to the next.

    Attributes:
        places: Lists that were not finished, by the key of their target: the token of the page to go on with; "" is
            the first one.
        failed: Keys of lists that errors have ended.
        asked: The run whose steps were asked for last, if the tick had no time for the rest: the next one goes on after
            it. Empty: from the first.
        succeeded: Marks of steps that have succeeded, which is final, the oldest first.
    """

    places: Mapping[str, str] = field(default_factory=dict[str, str])
    failed: frozenset[str] = frozenset()
    asked: str = ""
    succeeded: tuple[str, ...] = ()

    def turn(self, run_id: str) -> tuple[bool, str]:
        """Return a key that sorts runs by their turn: those after the one that was asked last come first."""
        short = run_id[:_ASKED_CHARACTERS]
        return short <= self.asked, short

    def order(self, targets: Sequence[Target]) -> list[Target]:
        """Return the lists in their order for a tick.

        Those that the last tick had no time for come first. Those that failed come last, so that they take no time
        from the others.
        """
        return sorted(targets, key=lambda one: (one.key in self.failed, one.key not in self.places))

    def text(self) -> str:
        """Return it as Dagster keeps it, in less than 32 KiB.

        What does not fit is dropped, the oldest first: remembered answers, then what failed, then places. All of these
        only save work.
        """
        cursor = self
        while len(text := cursor._json()) >= _LIMIT_BYTES:
            cursor = cursor._smaller(len(text) - _LIMIT_BYTES)
        return text

    def _json(self) -> str:
        value: dict[str, object] = {"version": _VERSION, "places": dict(self.places), "failed": sorted(self.failed)}
        if self.asked:
            value["asked"] = self.asked[:_ASKED_CHARACTERS]
        if self.succeeded:
            value["succeeded"] = list(self.succeeded[-_MOST_REMEMBERED:])
        return json.dumps(value)

    def _smaller(self, surplus: int) -> "Cursor":
        if self.succeeded:
            known = self.succeeded[-_MOST_REMEMBERED:]
            return replace(self, succeeded=known[1 + len(known) // 8 :])
        if self.failed:
            return replace(self, failed=frozenset())
        if self.places:
            # So many are surely too many. One after the other, thousands would take longer than a tick.
            longest = max(len(json.dumps({key: token})) for key, token in self.places.items())
            return replace(self, places=dict(list(self.places.items())[max(1, surplus // longest) :]))
        return replace(self, asked="")


def cursor_of(text: str | None) -> Cursor:
    """Return the cursor that a text describes; a new one where it cannot be read, as after an upgrade."""
    value = mapping(json_of(text) if text and len(text) <= _READ_LIMIT else None)
    if value.get("version") != _VERSION:
        return Cursor()
    asked = value.get("asked")
    return Cursor(
        {str(key): token for key, token in mapping(value.get("places")).items() if isinstance(token, str)},
        frozenset(_texts(value.get("failed"))),
        asked if isinstance(asked, str) else "",
        _texts(value.get("succeeded")),
    )


def _texts(value: object) -> tuple[str, ...]:
    """Return the texts of a list."""
    return tuple(str(one) for one in cast("list[object]", value)) if isinstance(value, list) else ()
