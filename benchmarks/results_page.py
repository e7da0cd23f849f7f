"""The tables that people read: benchmarks/RESULTS.md, and the parts of README and docs. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from catalogue import BENCHMARKS, SUMMARY
from figures import (
    COLUMNS,
    RIVALS,
    Benchmark,
    Budget,
    Figure,
    Rival,
    Spread,
    Values,
    outcome,
    pairs,
    spread_of,
    verdict,
)

BEGIN, END = "<!-- figures: written by make bench -->", "<!-- end of figures -->"
HEADER = (
    "| | this project | bare Ray, Kubernetes or Dagster | dagster-ray 0.4.8 | budget | verdict |\n" + "|---" * 6 + "|"
)
NAMES: Mapping[Rival, str] = {
    "ours": "this project",
    "floor": "floor",
    "step": 'with `driver="step"`',
    "older": "dagster-ray 0.4.8",
}
_RIVALS = {**NAMES, "floor": "the floor", "older": "0.4.8"}
"""Their names in a budget."""
ALT = "Bars of this project, bare Ray, Kubernetes or Dagster, and dagster-ray 0.4.8; the table has the same figures."


@dataclass(frozen=True, slots=True)
class Results:
    """What one run of all benchmarks has shown.

    Attributes:
        date: Of its begin, in UTC.
        turns: How often each rival was measured.
        minutes: How long it took.
        machine: What it ran on, by name.
        versions: What was measured, by name.
        values: Of the figures.
        failures: Why a benchmark has no figures, by its name.
    """

    date: str
    turns: int
    minutes: float
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    values: Values
    failures: Mapping[str, str] = field(default_factory=dict[str, str])


def number(value: float, unit: str) -> str:
    """Return a value as people read it, with its unit.

    >>> number(0.0514, "s"), number(101.4, "ms"), number(1008577.2, "lines/s"), number(3.0, "requests")
    ('0.05 s', '101 ms', '1,008,577 lines/s', '3 requests')
    """
    if unit in {"s", "steps/s"}:
        return f"{value:.2f} {unit}"
    if unit == "MB":
        return f"{value:.1f} {unit}"
    if unit in {"ms", "lines/s"}:
        return f"{value:,.0f} {unit}"
    word = unit.removesuffix("s") if value == 1 else unit
    return f"{value:,.2f}".rstrip("0").rstrip(".") + f" {word}"


def budget_of(figure: Figure) -> str:
    """Return the budgets as people read them."""
    return ", ".join(_budget(budget, figure.unit) for budget in figure.budgets)


def _budget(budget: Budget, unit: str) -> str:
    limit = number(budget.limit, unit) if budget.times is None else f"{budget.limit:g} times {_RIVALS[budget.times]}"
    more = "" if budget.over is None else f" more than {_RIVALS[budget.over]}"
    return f"{budget.kind} {limit}{more}{' in each turn' if budget.each_turn else ''}"


def cell(figure: Figure, rival: Rival) -> str:
    """Return a rival's median, or why there is none."""
    if figure.does(rival) is None:
        return "-"
    found = outcome(figure, rival)
    return found if isinstance(found, str) else number(found.median, figure.unit)


def summary_row(figure: Figure) -> str:
    """Return a figure as one line."""
    cells = [figure.title, *(cell(figure, rival) for rival in COLUMNS), budget_of(figure), verdict(figure)]
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def _spread(found: Spread, unit: str) -> str:
    return " | ".join(number(value, unit) for value in (found.median, found.least, found.most))


def _paired(figure: Figure, rival: Rival) -> str:
    if rival == "ours":
        return ""
    values = pairs(figure, rival, figure.compared)
    if not values:
        return "-"
    found = spread_of(values)
    if figure.compared == "difference":
        middle, least, most = (f"{value:+.2f}" for value in (found.median, found.least, found.most))
        return f"{middle} {figure.unit} ({least} to {most})"
    return f"{found.median:.2f} times ({found.least:.2f} to {found.most:.2f})"


def figure_table(figure: Figure) -> str:
    """Return a figure with all that is known of it."""
    how = "this project minus it" if figure.compared == "difference" else "this project divided by it"
    lines = [
        f"| | median | least | most | turns | {how}, turn by turn: median (least to most) |",
        "|---|---|---|---|---|---|",
    ]
    for rival in RIVALS:
        does = figure.does(rival)
        if does is None:
            continue
        found = outcome(figure, rival)
        shown = f"{found} | | | " if isinstance(found, str) else f"{_spread(found, figure.unit)} | {found.count}"
        lines.append(
            f"| {NAMES[rival]}{does and f': {does}'} | {shown} | {_paired(figure, rival)} |".replace("  |", " |")
        )
    judged = f"Budget: {budget_of(figure)}. " if figure.budgets else ""
    return f"### {figure.title}\n\n" + "\n".join(lines) + f"\n\n{judged}Verdict: **{verdict(figure)}**.\n"


def benchmark_section(benchmark: Benchmark, values: Values, failure: str | None = None) -> str:
    """Return all figures of a benchmark."""
    title = f"## {benchmark.title}\n\n`benchmarks/{benchmark.name}.py`. {benchmark.text}\n"
    said = [f"It has no figures in this run: {failure}.\n"] if failure else []
    return "\n".join([title, *said, *(figure_table(figure) for figure in benchmark.with_values(values))])


def figures_of(values: Values) -> dict[str, Figure]:
    """Return every figure by its key."""
    return {figure.key: figure for benchmark in BENCHMARKS for figure in benchmark.with_values(values)}


def _circumstances(results: Results) -> str:
    facts: Iterable[tuple[str, str]] = [
        ("date (UTC)", results.date),
        ("turns", f"{results.turns}; the run took {results.minutes:.0f} minutes"),
        *results.machine.items(),
        *results.versions.items(),
    ]
    return "| this run | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in facts)


def summary_table(figures: Sequence[Figure]) -> str:
    """Return figures as one table."""
    return "\n".join([HEADER, *map(summary_row, figures)])


def _missing(results: Results) -> str:
    if not results.failures:
        return ""
    names = "\n".join(f"- `{name}`: {reason}" for name, reason in results.failures.items())
    return f"\nWithout figures in this run:\n\n{names}\n"


def results_page(results: Results) -> str:
    """Return benchmarks/RESULTS.md."""
    sections = "\n".join(
        benchmark_section(benchmark, results.values, results.failures.get(benchmark.name)) for benchmark in BENCHMARKS
    )
    return (
        "# Results\n\nWritten by `make bench` from `benchmarks/results.json`; not by hand.\n\n"
        f"{_circumstances(results)}\n{_missing(results)}\n"
        "## Summary\n\nMedians. The verdict is of this project.\n\n"
        f"{summary_table(list(figures_of(results.values).values()))}\n\n{sections}"
    )


def readme_part(results: Results | None) -> str:
    """Return what stands in the README between the markers."""
    if results is None:
        return "No figures yet: `make bench` measures them."
    chosen = figures_of(results.values)
    versions = ", ".join(
        f"{name} {version}" for name, version in results.versions.items() if name in {"ray", "dagster"}
    )
    where = f"{results.machine['cores']} cores of {results.machine['CPU']}"
    return (
        f"![{ALT}](docs/images/benchmarks.svg)\n\n{summary_table([chosen[key] for key in SUMMARY])}\n\n"
        f"Medians of at least {results.turns} turns on {where}, {versions}, {results.date}. "
        "[RESULTS.md](benchmarks/RESULTS.md) has every figure with its extremes."
    )


def docs_part(results: Results | None) -> str:
    """Return what stands in docs/figures.md between the markers."""
    if results is None:
        return "No figures yet: `make bench` measures them."
    parts = [f"![{ALT}](images/benchmarks.svg)\n{_missing(results)}"]
    for benchmark in BENCHMARKS:
        table = summary_table(benchmark.with_values(results.values))
        parts.append(f"## {benchmark.title}\n\n{benchmark.text}\n\n{table}\n")
    parts.append(f"## Machine and versions\n\n{_circumstances(results)}")
    return "\n".join(parts)


def with_part(page: str, part: str) -> str:
    """Return a page with a part between its markers.

    Raises:
        ValueError: The page has not exactly one pair of markers.
    """
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ValueError(f"the page needs `{BEGIN}` and `{END}`, once each")
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{part}\n\n{END}{rest.split(END)[1]}"
