"""Where a collector is in its lists, across ticks. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from dagster_ray.kuberay._kubernetes.fields import json_of, mapping
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, RAYJOBS, Kind

EVERYWHERE = "*"
_VERSION = 1
_LIMIT = 65536


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
    """

    places: Mapping[str, str] = field(default_factory=dict[str, str])
    failed: frozenset[str] = frozenset()

    def order(self, targets: Sequence[Target]) -> list[Target]:
        """Return the lists in their order for a tick.

        Those that the last tick had no time for come first. Those that failed come last, so that they take no time
        from the others.
        """
        return sorted(targets, key=lambda one: (one.key in self.failed, one.key not in self.places))

    def text(self) -> str:
        """Return it as Dagster keeps it."""
        value = {"version": _VERSION, "places": dict(self.places), "failed": sorted(self.failed)}
        return json.dumps(value, sort_keys=True)


def cursor_of(text: str | None) -> Cursor:
    """Return the cursor that a text describes; a new one where it cannot be read, as after an upgrade."""
    value = mapping(json_of(text) if text and len(text) <= _LIMIT else None)
    if value.get("version") != _VERSION:
        return Cursor()
    places, failed = mapping(value.get("places")), value.get("failed")
    return Cursor(
        {str(key): token for key, token in places.items() if isinstance(token, str)},
        frozenset(str(key) for key in cast("list[object]", failed)) if isinstance(failed, list) else frozenset(),
    )
