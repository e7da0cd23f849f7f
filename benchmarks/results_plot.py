"""The figures of the README as bars: an SVG that loads nothing and is legible on light and dark pages. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from figures import COLUMNS, Budget, Figure, Rival, Spread, outcome
from results_page import number

WIDTH, LEFT, BARS, ROW, GAP, TOP = 760, 250, 330, 17, 16, 44
LABELS: dict[Rival, str] = {
    "ours": "this project",
    "floor": "bare Ray, Kubernetes or Dagster",
    "older": "dagster-ray 0.4.8",
}
# The image brings its own background, so the theme of the page around it does not matter. Text has a rim that keeps
# lines off it. Contrast with the background is above 7 for text and above 3 for bars and lines, in both themes.
STYLE = """
  text { font: 12px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328;
         paint-order: stroke; stroke: #ffffff; stroke-width: 4px; stroke-linejoin: round }
  .page { fill: #ffffff } .ours { fill: #0b62c4 } .floor { fill: #7d8590 } .older { fill: #b35900 }
  .budget, .least-most { stroke: #1f2328; stroke-width: 1.5 } .budget { stroke-dasharray: 3 2 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; stroke: #0d1117 }
    .page { fill: #0d1117 } .ours { fill: #4c9bff } .floor { fill: #8b949e } .older { fill: #f0883e }
    .budget, .least-most { stroke: #e6edf3 }
  }
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """What a rival has shown of a figure, or that it has nothing to show."""

    rival: Rival
    found: Spread | str


def bars_of(figure: Figure) -> list[Bar]:
    """Return the bars of a figure: of this project, and of each rival that takes part."""
    return [Bar(rival, outcome(figure, rival)) for rival in COLUMNS if figure.does(rival) is not None]


def limit_of(figure: Figure) -> float | None:
    """Return where the tightest budget is on the scale of the figure; None without one."""
    found = [limit for budget in figure.budgets if (limit := _on_scale(figure, budget)) is not None]
    if not found:
        return None
    return max(found) if _more_is_better(figure) else min(found)


def _on_scale(figure: Figure, budget: Budget) -> float | None:
    against = budget.times or budget.over
    if against is None:
        return budget.limit
    rival = outcome(figure, against)
    if isinstance(rival, str):
        return None
    return rival.median * budget.limit if budget.times else rival.median + budget.limit


def _more_is_better(figure: Figure) -> bool:
    return any(budget.kind == "at least" for budget in figure.budgets)


def _lines(text: str, most: int = 38) -> list[str]:
    lines = [""]
    for word in text.replace("`", "").split():
        if len(lines[-1]) + len(word) >= most:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _figure(figure: Figure, top: int) -> Iterator[str]:
    bars, limit = bars_of(figure), limit_of(figure)
    most = max([limit or 0, *(bar.found.most for bar in bars if isinstance(bar.found, Spread))]) or 1
    texts = [(16.0, top + 13 + 15 * place, line) for place, line in enumerate(_lines(_title(figure)))]
    for place, bar in enumerate(bars):
        y = top + place * ROW
        if isinstance(bar.found, str):
            texts.append((LEFT + 6.0, y + 12, f"{LABELS[bar.rival]}: {bar.found}"))
            continue
        end, least, farthest = (
            LEFT + value / most * BARS for value in (bar.found.median, bar.found.least, bar.found.most)
        )
        width = max(end - LEFT, 1)
        yield f'<rect class="{bar.rival}" x="{LEFT}" y="{y + 2}" width="{width:.1f}" height="{ROW - 4}"/>'
        yield f'<path class="least-most" d="M{least:.1f} {y + ROW / 2}H{farthest:.1f}"/>'
        texts.append((max(farthest, end) + 6, y + 12, number(bar.found.median, figure.unit)))
    if limit is not None:
        x = LEFT + limit / most * BARS
        yield f'<path class="budget" d="M{x:.1f} {top - 2}V{top + len(bars) * ROW + 2}"/>'
    yield from (f'<text x="{x:.1f}" y="{y}">{escape(text)}</text>' for x, y, text in texts)


def _title(figure: Figure) -> str:
    return f"{figure.title} (more is better)" if _more_is_better(figure) else figure.title


def plot(figures: Sequence[Figure]) -> str:
    """Return the SVG: a group of bars for each figure, on a scale of its own."""
    parts: list[str] = []
    x = 16
    for rival in COLUMNS:
        parts.append(f'<rect class="{rival}" x="{x}" y="14" width="12" height="12"/>')
        parts.append(f'<text x="{x + 18}" y="24">{LABELS[rival]}</text>')
        x += 40 + 7 * len(LABELS[rival])
    parts.append(f'<path class="budget" d="M{x} 12V28"/><text x="{x + 8}" y="24">budget</text>')
    parts.append(f'<path class="least-most" d="M{x + 66} 20H{x + 86}"/><text x="{x + 92}" y="24">least to most</text>')
    top = TOP
    for figure in figures:
        parts.extend(_figure(figure, top))
        top += max(len(bars_of(figure)) * ROW, 15 * len(_lines(_title(figure))) + 4) + GAP
    title = "Medians of this project, bare Ray, Kubernetes or Dagster, and dagster-ray 0.4.8"
    size = f'viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n"
        f'<rect class="page" width="{WIDTH}" height="{top}" rx="6"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )
