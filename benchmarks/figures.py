"""What a benchmark's figures are: values of each rival in turn, a budget, and what they say together. Pure."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

Rival = Literal["ours", "floor", "step", "older"]
RIVALS: tuple[Rival, ...] = ("ours", "floor", "step", "older")
COLUMNS: tuple[Rival, ...] = ("ours", "floor", "older")
"""Those that a line of a table has room for."""
Values = Mapping[str, Mapping[str, Sequence[float | None]]]
"""By figure and rival: one value a turn, None where the rival failed."""

WITHIN, OVER, NO_BUDGET, NOT_MEASURED = "within budget", "over budget", "no budget", "not measured"


@dataclass(frozen=True, slots=True)
class Budget:
    """What a figure may be.

    A time says as much of the machine as of us, so that a budget of time is a multiple of what a rival took in the same
    turn, or counts from it. Counts and memory have limits of their own.

    Attributes:
        limit: The bound: in the unit of the figure, or how many times the rival's value.
        kind: Whether the value is at most the limit, or at least.
        times: The rival whose value of the same turn is multiplied; None for a limit in the unit of the figure.
        over: The rival from whose value of the same turn the limit counts; None for 0.
        each_turn: Whether every turn has to keep it; else the median.
    """

    limit: float
    kind: Literal["at most", "at least"] = "at most"
    times: Literal["floor", "older"] | None = None
    over: Literal["floor", "step"] | None = None
    each_turn: bool = False

    def kept_by(self, values: Sequence[float]) -> bool:
        """Return whether values, or what they are of a rival's, keep it."""
        if not self.each_turn:
            values = [statistics.median(values)]
        return all(value >= self.limit if self.kind == "at least" else value <= self.limit for value in values)


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that is measured.

    Attributes:
        key: Its name in files.
        title: Its name for readers.
        unit: Of the values: s, ms, MB, lines/s, or what is counted.
        floor: What the rival `floor` does: bare calls of Ray or Kubernetes. None if nothing bare compares.
        older: What the rival `older` does: dagster-ray 0.4.8. None if it has no such thing.
        step: What the rival `step` does: this project with `driver="step"`. None where that is no rival.
        budgets: What it may be.
        compared: Whether pairs of a turn are subtracted or divided.
        values: By rival: one value a turn, None where the rival failed.
    """

    key: str
    title: str
    unit: str
    floor: str | None = None
    older: str | None = None
    step: str | None = None
    budgets: tuple[Budget, ...] = ()
    compared: Literal["difference", "ratio"] = "ratio"
    values: Mapping[str, Sequence[float | None]] = field(default_factory=dict[str, Sequence[float | None]])

    def does(self, rival: Rival) -> str | None:
        """Return what a rival does; None if it takes no part. Ours needs no words: the title says it."""
        return {"ours": "", "floor": self.floor, "step": self.step, "older": self.older}[rival]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One script and what it measures.

    Attributes:
        name: The script's, without `.py`.
        title: For readers.
        text: How it is measured, and what is not.
        figures: Without values.
    """

    name: str
    title: str
    text: str
    figures: tuple[Figure, ...]

    def with_values(self, values: Values) -> tuple[Figure, ...]:
        """Return the figures with what was measured of them."""
        return tuple(replace(figure, values=values.get(figure.key, {})) for figure in self.figures)


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and its extremes."""

    median: float
    least: float
    most: float
    count: int


def spread_of(values: Iterable[float]) -> Spread:
    """Return the median and the extremes of values; there is at least one."""
    found = list(values)
    return Spread(statistics.median(found), min(found), max(found), len(found))


def outcome(figure: Figure, rival: Rival) -> Spread | str:
    """Return what a rival has shown, or why there is nothing to show.

    A rival that failed in one turn has no figure: the turns that went well are not a sample of all.
    """
    values = figure.values.get(rival, ())
    measured = [value for value in values if value is not None]
    if not values:
        return NOT_MEASURED
    if len(measured) < len(values):
        return f"failed in {len(values) - len(measured)} of {len(values)} turns"
    return spread_of(measured)


def pairs(figure: Figure, rival: Rival, compared: Literal["difference", "ratio"]) -> list[float]:
    """Return ours minus a rival's, or ours divided by it, turn by turn; empty where that says nothing."""
    if isinstance(outcome(figure, "ours"), str) or isinstance(outcome(figure, rival), str):
        return []
    both = [
        (mine, its)
        for mine, its in zip(figure.values["ours"], figure.values[rival], strict=False)
        if mine is not None and its is not None
    ]
    if compared == "difference":
        return [mine - its for mine, its in both]
    return [mine / its for mine, its in both] if all(its > 0 for _, its in both) else []


def verdict(figure: Figure) -> str:
    """Return whether our values keep every budget."""
    if isinstance(outcome(figure, "ours"), str):
        return NOT_MEASURED
    if not figure.budgets:
        return NO_BUDGET
    found = [_judged(figure, budget) for budget in figure.budgets]
    return next((worst for worst in (OVER, NOT_MEASURED) if worst in found), WITHIN)


def _judged(figure: Figure, budget: Budget) -> str:
    values = [value for value in figure.values["ours"] if value is not None]
    if budget.times is not None:
        values = pairs(figure, budget.times, "ratio")
    elif budget.over is not None:
        values = pairs(figure, budget.over, "difference")
    if not values:
        return NOT_MEASURED
    return WITHIN if budget.kept_by(values) else OVER
