"""How far Ray Data and Ray Train have come, by the answers of Ray's dashboard. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

_NANOSECONDS = 1e9
_SHOWN = 20
_NAME_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: a dataset, an operator of one, or a training run.

    Attributes:
        name: Its name.
        state: Ray's word.
        done: Tasks that are done, or workers of the last attempt.
        total: Tasks in all, as far as Ray knows; None if it does not.
        rows: Rows in all, as Ray estimates them; None if it does not.
        seconds: For how long it ran; None while it runs, and of operators.
        is_part: Whether it is an operator of the dataset above it.
    """

    name: str
    state: str
    done: int
    total: int | None = None
    rows: int | None = None
    seconds: float | None = None
    is_part: bool = False

    @property
    def is_running(self) -> bool:
        """Whether it has begun and not ended."""
        return self.state in {"RUNNING", "INITIALIZING", "SCHEDULING", "RESTARTING", "RESIZING"}


def dataset_rows(answer: object) -> list[Row]:
    """Return the datasets of an answer to `/api/data/datasets/<job id>`, the oldest first, each before its operators.

    `total` and `total_rows` are estimates until the end, and older releases have no `total_rows`
    (ray/data/_internal/stats.py and ray/data/_internal/execution/streaming_executor.py).
    """
    found: list[Row] = []
    for dataset in reversed(_mappings(_mapping(answer).get("datasets"))):
        found.append(_row(dataset, _text(dataset.get("dataset")), is_part=False))
        parts = _mappings(dataset.get("operators"))
        found += [_row(part, _text(part.get("name")) or _text(part.get("operator")), is_part=True) for part in parts]
    return found


def _row(item: Mapping[str, Any], name: str, *, is_part: bool) -> Row:
    start, end = _number(item.get("start_time")), _number(item.get("end_time"))
    return Row(
        name=name[:_NAME_CHARACTERS],
        state=_text(item.get("state")),
        done=int(_number(item.get("progress")) or 0),
        total=_count(item.get("total")),
        rows=_count(item.get("total_rows")),
        seconds=None if start is None or end is None else end - start,
        is_part=is_part,
    )


def train_rows(answer: object, job_id: str) -> list[Row]:
    """Return the training runs of a job in an answer to `/api/train/v2/runs/v1`, the oldest first.

    Ray has it from its state actor, which exists where `RAY_TRAIN_ENABLE_STATE_TRACKING` is 1
    (ray/train/v2/_internal/state/schema.py).
    """
    found: list[Row] = []
    for run in reversed(_mappings(_mapping(answer).get("train_runs"))):
        if run.get("job_id") != job_id:
            continue
        attempts = _mappings(run.get("attempts"))
        start, end = _number(run.get("start_time_ns")), _number(run.get("end_time_ns"))
        found.append(
            Row(
                name=_text(run.get("name"))[:_NAME_CHARACTERS],
                state=_text(run.get("status")),
                done=len(_mappings(attempts[-1].get("workers"))) if attempts else 0,
                total=len(attempts),
                seconds=None if start is None or end is None else (end - start) / _NANOSECONDS,
            )
        )
    return found


def progress_line(datasets: Sequence[Row], runs: Sequence[Row]) -> str:
    """Return what runs now, in one line; empty if nothing does."""
    words = [f"{row.name}: {_tasks(row)} tasks" for row in datasets if not row.is_part and row.is_running]
    words += [f"{row.name}: {row.state.lower()}, {row.done} workers" for row in runs if row.is_running]
    more = len(words) - _SHOWN
    return "; ".join(words[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def dataset_table(rows: Sequence[Row]) -> str:
    """Return the datasets and their operators as a table in Markdown; empty if there are none."""
    if not rows:
        return ""
    lines = ["| dataset or operator | state | tasks | rows | seconds |", "|---|---|---|---|---|"]
    for row in rows[-_SHOWN:]:
        name = f"- {row.name}" if row.is_part else f"**{row.name}**"
        cells = (_cell(name), row.state.lower(), _tasks(row), _shown(row.rows), _shown(row.seconds))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def train_table(rows: Sequence[Row]) -> str:
    """Return the training runs as a table in Markdown; empty if there are none."""
    if not rows:
        return ""
    lines = ["| training run | state | attempts | workers | seconds |", "|---|---|---|---|---|"]
    for row in rows[-_SHOWN:]:
        cells = (_cell(row.name), row.state.lower(), _shown(row.total), str(row.done), _shown(row.seconds))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def has_state_of(answer: object, class_name: str) -> bool:
    """Return whether an answer to `/api/v0/actors` lists an actor of a class that lives.

    Asking for datasets of a cluster that has none would start an actor there.
    """
    actors = _mappings(_mapping(_mapping(_mapping(answer).get("data")).get("result")).get("result"))
    return any(one.get("class_name") == class_name and one.get("state") == "ALIVE" for one in actors)


def _tasks(row: Row) -> str:
    return f"{row.done}/{row.total}" if row.total is not None else str(row.done)


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.1f}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [_mapping(item) for item in cast("list[object]", value)] if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _count(value: object) -> int | None:
    number = _number(value)
    return None if number is None else int(number)
