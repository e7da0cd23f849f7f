"""A rule of KubeRay as a row of a table, and the part of an object that it looks at. Pure.

Both sides read the same rows: the check at load, which names the field and says what to do, and whoever needs the
operator's own words, such as a simulator.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dagster_ray.kuberay._kubernetes.fields import at, mapping, mappings
from dagster_ray.kuberay._operator_rules.crd_fields import NEWEST, OLDEST, Release

PREFIX = "The RayJob spec is invalid: "
Values: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Operator:
    """What decides whether a rule applies.

    Attributes:
        release: The operator's version.
        gates: Its feature gates; a gate that is absent is off.
    """

    release: Release
    gates: Mapping[str, bool]

    def on(self, gate: str) -> bool:
        """Whether a feature gate is on."""
        return self.gates.get(gate, False)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a RayJob or RayCluster, with nothing assumed about its shape.

    Attributes:
        value: The part.
        path: Where it is, such as `spec.rayClusterSpec.workerGroupSpecs[0]`.
        operator: Who judges.
        is_whole: Whether the object is finished: what is absent then has the CRD's default. Otherwise it is what a
            user wrote, of which what is absent, like what comes from the environment, is not known yet.
        around: The part that holds this one.
        values: What the texts of rules may name of it.
    """

    value: Mapping[str, Any]
    path: str
    operator: Operator
    is_whole: bool
    around: "Part | None" = None
    values: Values = field(default_factory=dict[str, object])

    def inside(self, value: object, path: str, **values: object) -> "Part":
        """Return a part of this part."""
        return dataclasses.replace(self, value=mapping(value), path=f"{self.path}.{path}", around=self, values=values)

    def has(self, *keys: str) -> bool:
        """Return whether something is given."""
        return at(self.value, *keys) is not None

    def switch(self, *keys: str) -> bool | None:
        """Return whether a switch is on; None while that is not known."""
        found = at(self.value, *keys)
        return found if isinstance(found, bool) else False if found is None and self.is_whole else None

    def number(self, *keys: str, default: int | None = 0) -> int | None:
        """Return a whole number; None while it is not known."""
        found = at(self.value, *keys)
        if isinstance(found, int) and not isinstance(found, bool):
            return found
        return default if found is None and self.is_whole else None

    def text(self, *keys: str) -> str | None:
        """Return a text, which is empty where it is absent; None while it is not known."""
        found = at(self.value, *keys)
        return found if isinstance(found, str) else "" if found is None and self.is_whole else None

    def parts(self, key: str) -> list[Mapping[str, Any]]:
        """Return the mappings of a list."""
        return mappings(self.value.get(key))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing that is refused. Texts are format strings over what `find` returns and the part's values.

    Attributes:
        find: Returns what the texts need if something is wrong with a part; None if nothing is, or it is not known.
        field: The field that is wrong.
        words: What the operator says; empty for what only the API server or dagster-ray refuses.
        line: Where: the line of KubeRay's ray-operator/controllers/ray/utils/validation.go, in the newest patch of
            the last release that has the rule (1.3.2, 1.4.2, 1.5.2, 1.6.2, 1.7.0).
        since: The first release that refuses it.
        before: The first release that does not refuse it any more.
        earlier: Other words of releases before one, as the release and the words.
        is_prefixed: Whether the words begin with `PREFIX` in a RayJob's own status.
        reason: What is wrong, for whom the field is named. Empty: that the operator refuses it, in its words.
        advice: What to do.
        always: Whether the check at load refuses it for older releases as well. They do not have the field, or let a
            value pass that means nothing.
    """

    find: Callable[[Part], Values | None]
    field: str
    words: str = ""
    line: int = 0
    since: Release = OLDEST
    before: Release | None = None
    earlier: tuple[Release, str] | None = None
    is_prefixed: bool = False
    reason: str = ""
    advice: str
    always: bool = False

    def is_in(self, release: Release) -> bool:
        """Return whether a release refuses it."""
        return self.since <= release and (self.before is None or release < self.before)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with an object.

    Attributes:
        rule: The rule that is broken.
        part: The part that breaks it.
        found: What `find` returned.
    """

    rule: Rule
    part: Part
    found: Values

    def _text(self, template: str) -> str:
        return template.format(**{"path": self.part.path, **self.part.values, **self.found})

    @property
    def words(self) -> str:
        """What the operator says, without a prefix."""
        earlier = self.rule.earlier
        is_earlier = earlier is not None and self.part.operator.release < earlier[0]
        return self._text(earlier[1] if earlier is not None and is_earlier else self.rule.words)

    @property
    def field(self) -> str:
        """The path of the field."""
        return self._text(self.rule.field)

    @property
    def reason(self) -> str:
        """What is wrong with it."""
        return self._text(self.rule.reason) or f"is refused by the operator: {self.words.rstrip('.')}"

    @property
    def advice(self) -> str:
        """What to do."""
        return self._text(self.rule.advice)

    @property
    def releases(self) -> str:
        """Which releases refuse it, in words; empty where all do."""
        major, minor, patch = self.rule.since
        if self.rule.since == OLDEST:
            return "" if self.rule.reason else f"up to KubeRay {NEWEST[0]}.{NEWEST[1]}"
        return f"KubeRay >= {major}.{minor}.{patch}" if patch else f"KubeRay >= {major}.{minor}"


Section: TypeAlias = tuple[Callable[[Part], Iterable[Part]], tuple[Rule, ...]]
"""Which parts are looked at, and by which rules, in the operator's order: all rules for a part, then the next part."""


def itself(part: Part) -> Iterable[Part]:
    """The part as a whole."""
    yield part


def when(wrong: object, **found: object) -> Values | None:
    """Return what was found if something is wrong, else None."""
    return found if wrong else None
