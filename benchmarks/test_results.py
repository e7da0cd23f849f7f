"""Values become verdicts and pages; the pages in the repository are those of its results."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from catalogue import BENCHMARKS, SUMMARY
from figures import (
    NO_BUDGET,
    NOT_MEASURED,
    OVER,
    WITHIN,
    Benchmark,
    Budget,
    Figure,
    Spread,
    outcome,
    pairs,
    verdict,
)
from results_page import (
    BEGIN,
    END,
    Results,
    budget_of,
    docs_part,
    figure_table,
    figures_of,
    number,
    readme_part,
    results_page,
    summary_row,
    with_part,
)
from results_plot import limit_of, plot
from rivals import Collected, take_turns
from run_all import ROOT, load, pages

Given = Mapping[str, Sequence[float | None]]
FIGURE = Figure("connect", "First line", "s", floor="`ray.init`", older="its step", compared="difference")


TIMES_FLOOR, TIMES_OLDER = Budget(1.3, times="floor"), Budget(0.5, times="older")
OVER_STEP = Budget(3, over="step")


def measured(*budgets: Budget, **values: Sequence[float | None]) -> Figure:
    """Return a figure with values."""
    return replace(FIGURE, budgets=budgets, values=values)


def results(*, failing: Sequence[str] = (), older: float | None = 4.0) -> Results:
    """Return results of all benchmarks but some."""
    values: dict[str, dict[str, list[float | None]]] = {}
    for benchmark in BENCHMARKS:
        for figure in benchmark.figures if benchmark.name not in failing else ():
            values[figure.key] = {"ours": [1.0, 3.0, 2.0]}
            values[figure.key] |= {"floor": [1.0, 1.0, 1.0]} if figure.floor else {}
            values[figure.key] |= {"step": [2.0, 2.0, 2.0]} if figure.step else {}
            values[figure.key] |= {"older": [older, 4.0, 4.0]} if figure.older else {}
    machine = {"CPU": "a processor", "cores": "2", "memory": "8.0 GiB", "kernel": "Linux 6.1"}
    versions = {"dagster": "1.13", "ray": "2.60.0"}
    failures = dict.fromkeys(failing, "it ended with exit code 1")
    return Results("2026-01-02", 3, 12.3, machine, versions, values, failures)


# Figures


@pytest.mark.parametrize(
    ("budget", "values", "expected"),
    [
        pytest.param(Budget(2), {"ours": [1.0, 2.0, 9.0]}, WITHIN, id="the median is at the limit"),
        pytest.param(Budget(2), {"ours": [1.0, 2.1, 9.0]}, OVER, id="the median is above the limit"),
        pytest.param(Budget(2, each_turn=True), {"ours": [1.0, 2.0, 3.0]}, OVER, id="one turn of a count is above"),
        pytest.param(Budget(0, each_turn=True), {"ours": [0.0, 0.0]}, WITHIN, id="no error in any turn"),
        pytest.param(Budget(50, "at least"), {"ours": [50.0]}, WITHIN, id="as many as there have to be"),
        pytest.param(Budget(50, "at least"), {"ours": [49.0]}, OVER, id="fewer than there have to be"),
        pytest.param(
            TIMES_FLOOR,
            {"ours": [1.2, 5.2, 1.0], "floor": [1.0, 4.5, 1.0]},
            WITHIN,
            id="a floor that drifts is divided by turn by turn",
        ),
        pytest.param(TIMES_FLOOR, {"ours": [1.4], "floor": [1.0]}, OVER, id="too many times the floor"),
        pytest.param(TIMES_FLOOR, {"ours": [1.4]}, NOT_MEASURED, id="the floor was not measured"),
        pytest.param(
            TIMES_FLOOR, {"ours": [1.4, 1.4], "floor": [1.0, None]}, NOT_MEASURED, id="the floor failed in a turn"
        ),
        pytest.param(
            Budget(2, "at least", times="floor"), {"ours": [5.0], "floor": [2.0]}, WITHIN, id="more than enough times"
        ),
        pytest.param(
            Budget(2, "at least", times="floor"), {"ours": [3.0], "floor": [2.0]}, OVER, id="too few times the floor"
        ),
        pytest.param(
            OVER_STEP, {"ours": [5.0, 9.0], "step": [2.0, 6.0]}, WITHIN, id="so much more than the other driver"
        ),
        pytest.param(OVER_STEP, {"ours": [5.1], "step": [2.0]}, OVER, id="too much more than the other driver"),
        pytest.param(
            Budget(1, over="floor"), {"ours": [5.0, 9.0], "floor": [4.0, 2.0]}, OVER, id="too much more than the floor"
        ),
        pytest.param(OVER_STEP, {"ours": [5.0], "step": [None]}, NOT_MEASURED, id="the other driver failed"),
        pytest.param(None, {"ours": [1.0]}, NO_BUDGET, id="without a budget"),
        pytest.param(Budget(2), {}, NOT_MEASURED, id="the benchmark failed"),
        pytest.param(Budget(2), {"ours": [1.0, None, 1.0]}, NOT_MEASURED, id="ours failed in a turn"),
        pytest.param(Budget(2), {"ours": [1.0], "older": [None]}, WITHIN, id="the older project failed"),
    ],
)
def test_a_verdict(budget: Budget | None, values: Given, expected: str) -> None:
    assert verdict(measured(*([] if budget is None else [budget]), **values)) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param({"ours": [1.0], "floor": [1.0], "older": [2.0]}, WITHIN, id="both are kept"),
        pytest.param({"ours": [1.0], "floor": [1.0], "older": [1.5]}, OVER, id="one is not kept"),
        pytest.param({"ours": [1.0], "floor": [1.0]}, NOT_MEASURED, id="one is not known"),
        pytest.param({"ours": [2.0], "floor": [1.0]}, OVER, id="one is not known, the other not kept"),
    ],
)
def test_a_verdict_on_two_budgets(values: Given, expected: str) -> None:
    assert verdict(measured(TIMES_FLOOR, TIMES_OLDER, **values)) == expected


def test_no_budget_is_an_absolute_time() -> None:
    absolute = [
        figure.key
        for benchmark in BENCHMARKS
        for figure in benchmark.figures
        if any(budget.times is None and budget.over is None for budget in figure.budgets)
        and figure.unit in {"s", "ms", "lines/s", "steps/s"}
    ]
    assert absolute == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([2.0, 1.0, 9.0], Spread(2.0, 1.0, 9.0, 3), id="all turns went well"),
        pytest.param([2.0, None, 9.0], "failed in 1 of 3 turns", id="one turn failed"),
        pytest.param([], NOT_MEASURED, id="left out"),
    ],
)
def test_what_a_rival_has_shown(values: Sequence[float | None], expected: Spread | str) -> None:
    assert outcome(measured(older=values), "older") == expected


@pytest.mark.parametrize(
    ("compared", "values", "expected"),
    [
        pytest.param("difference", {"ours": [3.0, 1.0], "floor": [1.0, 2.0]}, [2.0, -1.0], id="minus"),
        pytest.param("ratio", {"ours": [3.0, 1.0], "floor": [1.0, 2.0]}, [3.0, 0.5], id="divided"),
        pytest.param("ratio", {"ours": [3.0, 1.0], "floor": [0.0, 2.0]}, [], id="nothing is divided by nothing"),
        pytest.param("difference", {"ours": [3.0, None], "floor": [0.0, 2.0]}, [], id="a turn without ours"),
        pytest.param("difference", {"ours": [3.0]}, [], id="without the rival"),
    ],
)
def test_pairs(compared: Any, values: Given, expected: list[float]) -> None:
    assert pairs(measured(**values), "floor", compared) == expected


def test_rivals_take_turns_in_both_orders() -> None:
    assert list(take_turns(3, ["floor", "ours"])) == ["floor", "ours", "ours", "floor", "floor", "ours"]


def test_a_rival_that_failed_leaves_a_gap_in_each_of_its_figures() -> None:
    collected = Collected()
    collected.add("ours", {"a": 1.0, "b": 2.0, "c": 3.0}, ["a", "b"])
    collected.add("ours", None, ["a", "b"])
    assert collected.values == {"a": {"ours": [1.0, None]}, "b": {"ours": [2.0, None]}}


def test_every_figure_has_a_key_of_its_own_and_each_benchmark_a_script() -> None:
    keys = [figure.key for benchmark in BENCHMARKS for figure in benchmark.figures]
    assert len(keys) == len(set(keys))
    assert set(SUMMARY) <= set(keys)
    assert [b.name for b in BENCHMARKS if not (ROOT / f"benchmarks/{b.name}.py").is_file()] == []


# Pages


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.0514, "s", "0.05 s"),
        (101.4, "ms", "101 ms"),
        (1.26, "MB", "1.3 MB"),
        (1008577.2, "lines/s", "1,008,577 lines/s"),
        (1.0, "steps/s", "1.00 steps/s"),
        (3.0, "requests", "3 requests"),
        (2.115, "requests", "2.12 requests"),
        (1.0, "clusters", "1 cluster"),
        (200.0, "requests", "200 requests"),
    ],
)
def test_a_number(value: float, unit: str, expected: str) -> None:
    assert number(value, unit) == expected


@pytest.mark.parametrize(
    ("budgets", "expected"),
    [
        ([], ""),
        ([TIMES_FLOOR], "at most 1.3 times the floor"),
        ([TIMES_FLOOR, TIMES_OLDER], "at most 1.3 times the floor, at most 0.5 times 0.4.8"),
        ([Budget(2, "at least", times="floor")], "at least 2 times the floor"),
        ([Budget(10)], "at most 10.00 s"),
        ([OVER_STEP], 'at most 3.00 s more than with `driver="step"`'),
        ([Budget(1, over="floor")], "at most 1.00 s more than the floor"),
        ([Budget(5, "at least")], "at least 5.00 s"),
        ([Budget(5, each_turn=True)], "at most 5.00 s in each turn"),
    ],
)
def test_a_budget(budgets: Sequence[Budget], expected: str) -> None:
    assert budget_of(measured(*budgets)) == expected


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        pytest.param(
            measured(TIMES_FLOOR, ours=[1.2], floor=[1.0], older=[3.0]),
            "| First line | 1.20 s | 1.00 s | 3.00 s | at most 1.3 times the floor | within budget |",
            id="all were measured",
        ),
        pytest.param(
            measured(ours=[1.2], floor=[1.0]),
            "| First line | 1.20 s | 1.00 s | not measured | | no budget |",
            id="the older project was left out",
        ),
        pytest.param(
            replace(FIGURE, floor=None, older=None, values={"ours": [1.2]}),
            "| First line | 1.20 s | - | - | | no budget |",
            id="nothing compares",
        ),
        pytest.param(
            measured(Budget(2), ours=[None, 1.0], floor=[1.0, 1.0], older=[None, None]),
            "| First line | failed in 1 of 2 turns | 1.00 s | failed in 2 of 2 turns | at most 2.00 s | not measured |",
            id="turns failed",
        ),
    ],
)
def test_a_figure_as_one_line(figure: Figure, expected: str) -> None:
    assert summary_row(figure) == expected


def test_a_figure_with_all_that_is_known() -> None:
    figure = measured(Budget(4, each_turn=True), ours=[1.0, 2.0, 1.5], floor=[1.0, 1.0, 1.0], older=[None, 4.0, 4.0])
    assert figure_table(figure).splitlines() == [
        "### First line",
        "",
        "| | median | least | most | turns | this project minus it, turn by turn: median (least to most) |",
        "|---|---|---|---|---|---|",
        "| this project | 1.50 s | 1.00 s | 2.00 s | 3 | |",
        "| floor: `ray.init` | 1.00 s | 1.00 s | 1.00 s | 3 | +0.50 s (+0.00 to +1.00) |",
        "| dagster-ray 0.4.8: its step | failed in 1 of 3 turns | | | | - |",
        "",
        "Budget: at most 4.00 s in each turn. Verdict: **within budget**.",
    ]


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_a_benchmark_that_failed_has_no_figure_on_any_page(benchmark: Benchmark) -> None:
    given = results(failing=[benchmark.name])
    reason = f"- `{benchmark.name}`: it ended with exit code 1"
    for page in (results_page(given), docs_part(given)):
        assert reason in page
    shown = figures_of(given.values)
    for figure in benchmark.figures:
        assert f"| {figure.title} | not measured |" in results_page(given)
        assert verdict(shown[figure.key]) == NOT_MEASURED


def test_the_tables_have_as_many_cells_as_their_headers() -> None:
    given = results(failing=["sharing"], older=None)
    for page in (results_page(given), docs_part(given), readme_part(given)):
        for table in re.findall(r"(?m)(?:^\|.*\n?)+", page):
            cells = {len(re.findall(r"\|", line)) for line in table.splitlines()}
            assert len(cells) == 1, table


def test_a_part_is_replaced_between_its_markers_only() -> None:
    page = f"# Title\n\n{BEGIN}\n\nold\n\n{END}\n\nrest\n"
    assert with_part(page, "new") == f"# Title\n\n{BEGIN}\n\nnew\n\n{END}\n\nrest\n"


@pytest.mark.parametrize("page", ["no marker", f"{BEGIN} only", f"{END} {BEGIN}", f"{BEGIN} {END} {BEGIN} {END}"])
def test_a_page_without_its_markers_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="once each"):
        with_part(page, "new")


# The plot


def test_the_plot_is_an_image_that_loads_nothing() -> None:
    image = plot(list(figures_of(results().values).values()))
    assert ET.fromstring(image).tag == "{http://www.w3.org/2000/svg}svg"
    assert re.findall(r"(?i)https?://[^\"]+", image) == ["http://www.w3.org/2000/svg"]
    assert re.findall(r"(?i)@import|@font-face|url\(|<script|<image|href", image) == []
    assert "prefers-color-scheme: dark" in image


def test_the_plot_says_what_failed_and_draws_no_bar_for_it() -> None:
    whole = plot([measured(ours=[1.0], floor=[1.0], older=[1.0])])
    image = plot([measured(ours=[1.0], floor=[1.0], older=[None])])
    assert image.count('class="older"') == whole.count('class="older"') - 1
    assert "dagster-ray 0.4.8: failed in 1 of 1 turns" in image


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        pytest.param(measured(Budget(2)), 2, id="a limit of its own"),
        pytest.param(measured(Budget(2, times="floor"), floor=[1.0, 2.0]), 3.0, id="so many times the floor's median"),
        pytest.param(measured(Budget(2, times="floor")), None, id="times a floor that is not known"),
        pytest.param(measured(TIMES_FLOOR, TIMES_OLDER, floor=[1.0], older=[1.0]), 0.5, id="the tightest of two"),
        pytest.param(measured(OVER_STEP, step=[4.0, 6.0, 5.0]), 8.0, id="so much over the other driver's median"),
        pytest.param(measured(OVER_STEP), None, id="over a driver that is not known"),
        pytest.param(measured(), None, id="no budget"),
    ],
)
def test_where_the_plot_has_the_budget(figure: Figure, expected: float | None) -> None:
    assert limit_of(figure) == expected


# The repository


def test_the_pages_are_those_of_the_results() -> None:
    """`python benchmarks/run_all.py --render` writes them again."""
    for path, text in pages(load()).items():
        assert path.read_text(encoding="utf-8") == text, path.relative_to(ROOT)


def test_nothing_shows_figures_without_results() -> None:
    shown = [ROOT / "benchmarks/RESULTS.md", ROOT / "docs/images/benchmarks.svg"]
    assert {path.exists() for path in shown} == {load() is not None}
