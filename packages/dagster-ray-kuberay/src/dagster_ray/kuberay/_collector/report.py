"""What a tick has seen and done, in words of a bounded length. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dagster_ray.kuberay._collector.candidate import Candidate

_NAMES = 10
_FAILURES = 5
_FAILURE_CHARACTERS = 300
_TEXT_CHARACTERS = 4000


@dataclass(slots=True)
class Report:
    """One tick.

    Attributes:
        deleted: What was deleted and why, in order.
        made: What was made for pools, in order.
        kept: How many objects were kept, by reason.
        examples: For each reason the first objects that were kept for it.
        gone: How many deletes found that the object was gone already.
        failures: What could not be done.
        unfinished: Lists that go on in the next tick.
        is_trial: Whether nothing was deleted in truth.
    """

    deleted: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    made: list[str] = field(default_factory=list[str])
    kept: Counter[str] = field(default_factory=Counter[str])
    examples: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    gone: int = 0
    failures: list[str] = field(default_factory=list[str])
    unfinished: list[str] = field(default_factory=list[str])
    is_trial: bool = False
    examples_per_reason: int = 3

    def note_deleted(self, what: Candidate, because: str) -> None:
        """Count an object that was deleted."""
        self.deleted.append((what.label, because))

    def note_kept(self, what: Candidate, because: str) -> None:
        """Count an object that was kept."""
        self.kept[because] += 1
        shown = self.examples.setdefault(because, [])
        if len(shown) < self.examples_per_reason:
            shown.append(what.label)

    def note_failure(self, text: str) -> None:
        """Note once what could not be done."""
        line = " ".join(text.split())[:_FAILURE_CHARACTERS]
        if line not in self.failures:
            self.failures.append(line)

    @property
    def seen(self) -> int:
        """How many objects were judged."""
        return len(self.deleted) + self.kept.total() + self.gone

    def text(self) -> str:
        """Return the tick in a few lines."""
        verb = "would delete" if self.is_trial else "deleted"
        lines = [f"Looked at {self.seen}: {verb} {len(self.deleted)}, kept {self.kept.total()}, gone {self.gone}."]
        if self.deleted:
            first = [f"{name} ({because})" for name, because in self.deleted[:_NAMES]]
            lines.append(f"{verb.capitalize()}: {_listed(first, len(self.deleted))}.")
        if self.made:
            made = "would make for pools" if self.is_trial else "made for pools"
            lines.append(f"{made.capitalize()}: {_listed(self.made[:_NAMES], len(self.made))}.")
        for because, count in self.kept.most_common():
            lines.append(f"Kept {count}, {because}: {_listed(self.examples[because], count)}.")
        if self.unfinished:
            lines.append(f"The next tick goes on with {', '.join(self.unfinished)}.")
        lines += [f"Failed: {line}" for line in self.failures[:_FAILURES]]
        if len(self.failures) > _FAILURES:
            lines.append(f"{len(self.failures) - _FAILURES} more failures are in the log of the tick.")
        return "\n".join(lines)[:_TEXT_CHARACTERS]

    def plain(self) -> Mapping[str, Any]:
        """Return it as plain data, for an op's output."""
        return {
            "dry_run": self.is_trial,
            "deleted": [{"object": name, "because": because} for name, because in self.deleted],
            "made": list(self.made),
            "kept": [
                {"because": because, "count": count, "objects": list(self.examples[because])}
                for because, count in self.kept.most_common()
            ],
            "gone": self.gone,
            "failures": list(self.failures),
        }


def _listed(names: Iterable[str], count: int) -> str:
    shown = list(names)
    more = count - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
