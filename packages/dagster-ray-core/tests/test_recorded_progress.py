"""Lines and tables of Ray Data and Ray Train, by recorded answers of three releases of Ray.

Recorded with Python 3.11 on one machine, `ray.init()` with its dashboard, RAY_TRAIN_ENABLE_STATE_TRACKING=1, and
RAY_TRAIN_V2_ENABLED=1 in 2.46.0, whose default is V1. The jobs: `ray.data.range(4000, override_num_blocks=4)` with a
slow `map_batches(embed, batch_size=None)`, and a `DataParallelTrainer` of two workers with the name `fit`. In
`recorded_progress/ray-<release>.json`, answers to these paths, while the job ran and after it:

    actors      /api/v0/actors?filter_keys=class_name&filter_predicates=%3D&filter_values=<class>&limit=5
    datasets    /api/data/datasets/01000000
    training    /api/train/v2/runs/v1

Left out are Prometheus' figures, which there were none of, paths, addresses, processes, and the runs' settings.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from dagster_ray.core.step_report.progress import (
    dataset_rows,
    dataset_table,
    has_state_of,
    progress_line,
    train_rows,
    train_table,
)

FOLDER = Path(__file__).with_name("recorded_progress")
RELEASES = ["2.46.0", "2.52.1", "2.60.0"]
JOB = "01000000"


def recorded(release: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"ray-{release}.json").read_text(encoding="utf-8"))


def lines_of(table: str) -> list[str]:
    """Return a table without its head, its cells without the bars around them."""
    return [line.removeprefix("| ").removesuffix(" |") for line in table.splitlines()[2:]]


@pytest.mark.parametrize("release", RELEASES)
def test_an_actor_shows_that_a_library_is_used(release: str) -> None:
    answers = recorded(release)
    assert has_state_of(answers["actors of Ray Data"], "_StatsActor")
    assert has_state_of(answers["actors of Ray Train"], "TrainStateActor")
    assert not has_state_of(answers["no actors"], "_StatsActor")


@pytest.mark.parametrize(
    ("release", "name", "read"),
    [
        pytest.param("2.52.1", "dataset_2_0", "2/4", id="2.52.1"),
        pytest.param("2.60.0", "dataset_03576mK1fGH1GR2tsM2heo_0", "1/4", id="2.60.0"),
    ],
)
def test_datasets_that_run(release: str, name: str, read: str) -> None:
    rows = dataset_rows(recorded(release)["datasets, running"])
    assert progress_line(rows, []) == f"{name}: 1/4 tasks"
    assert lines_of(dataset_table(rows)) == [
        f"**{name}** | running | 1/4 | 4,000 | ",
        "- Input | finished | 4/4 |  | ",
        f"- ReadRange | running | {read} | 4,000 | ",
        "- MapBatches(embed) | running | 1/4 | 4,000 | ",
    ]


@pytest.mark.parametrize(
    ("release", "name", "seconds"),
    [
        pytest.param("2.46.0", "dataset_2_0", "62.4", id="2.46.0"),
        pytest.param("2.52.1", "dataset_2_0", "60.6", id="2.52.1"),
        pytest.param("2.60.0", "dataset_03576aENGFk9G0RwEz9ppb_0", "42.0", id="2.60.0"),
    ],
)
def test_datasets_that_are_finished(release: str, name: str, seconds: str) -> None:
    rows = dataset_rows(recorded(release)["datasets, finished"])
    assert progress_line(rows, []) == ""
    assert lines_of(dataset_table(rows)) == [
        f"**{name}** | finished | 4/4 | 4,000 | {seconds}",
        "- Input | finished | 4/4 |  | ",
        "- ReadRange | finished | 4/4 | 4,000 | ",
        "- MapBatches(embed) | finished | 4/4 | 4,000 | ",
    ]


@pytest.mark.parametrize(
    ("release", "state", "attempts", "seconds"),
    [
        pytest.param("2.46.0", "scheduling", 1, "81.4", id="2.46.0"),
        pytest.param("2.52.1", "scheduling", 1, "112.4", id="2.52.1"),
        pytest.param("2.60.0", "initializing", 0, "105.7", id="2.60.0"),
    ],
)
def test_training_runs_that_begin_and_are_finished(release: str, state: str, attempts: int, seconds: str) -> None:
    answers = recorded(release)
    begun, finished = (train_rows(answers[f"training runs, {when}"], JOB) for when in ("running", "finished"))
    assert progress_line([], begun) == f"fit: {state}, 0 workers"
    assert lines_of(train_table(begun)) == [f"fit | {state} | {attempts} | 0 | "]
    assert progress_line([], finished) == ""
    assert lines_of(train_table(finished)) == [f"fit | finished | 1 | 2 | {seconds}"]
    assert train_rows(answers["training runs, finished"], "02000000") == []
