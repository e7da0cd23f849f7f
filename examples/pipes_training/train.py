"""Fit a line to points by gradient descent on Ray, and go on from the last checkpoint after a failure.

Dagster submits this script as a Ray job. It needs `ray` and `dagster-pipes`, and a folder for checkpoints that the next
attempt can read too: on Kubernetes a volume that the pods share, or a bucket.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import ray
from dagster_pipes import open_dagster_pipes

SHARDS = 4
RATE = 0.5
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """A model: y = slope * x + intercept, after some epochs."""

    slope: float = 0.0
    intercept: float = 0.0
    epoch: int = 0
    loss: float = float("inf")


def points_of(shard: int) -> Points:
    """Return a quarter of the data: points on y = 3x + 1, in place of a file or a query."""
    return [(x / 100, 3 * x / 100 + 1) for x in range(shard, 100, SHARDS)]


def gradient(points: Points, slope: float, intercept: float) -> tuple[float, float, float]:
    """Return the sums over a shard: derivative by slope, derivative by intercept, squared error."""
    errors = [(x, slope * x + intercept - y) for x, y in points]
    return sum(e * x for x, e in errors), sum(e for _, e in errors), sum(e * e for _, e in errors)


@ray.remote
def shard_gradient(shard: int, slope: float, intercept: float) -> tuple[float, float, float]:
    """Return the gradient over one shard. Runs on the cluster."""
    return gradient(points_of(shard), slope, intercept)


def on_ray(line: Line) -> list[tuple[float, float, float]]:
    """Return the gradients of all shards, each computed by a task of its own."""
    return ray.get([shard_gradient.remote(shard, line.slope, line.intercept) for shard in range(SHARDS)])


def next_line(line: Line, sums: Sequence[tuple[float, float, float]]) -> Line:
    """Return the model after one more epoch."""
    by_slope, by_intercept, squares = (sum(column) / 100 for column in zip(*sums, strict=True))
    return Line(line.slope - RATE * by_slope, line.intercept - RATE * by_intercept, line.epoch + 1, squares)


def load(checkpoint: Path) -> Line:
    """Return the model of the checkpoint; a new one if there is none."""
    return Line(**json.loads(checkpoint.read_text(encoding="utf-8"))) if checkpoint.is_file() else Line()


def save(checkpoint: Path, line: Line) -> None:
    """Replace the checkpoint at once: a job that is killed meanwhile leaves the old one whole."""
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    unfinished = checkpoint.with_suffix(".part")
    unfinished.write_text(json.dumps(asdict(line)), encoding="utf-8")
    os.replace(unfinished, checkpoint)  # noqa: PTH105 - the word for what is meant


def fit(
    checkpoint: Path, epochs: int, gradients: Callable[[Line], Sequence[tuple[float, float, float]]] = on_ray
) -> tuple[Line, int]:
    """Train up to a number of epochs; return the model, and the epoch of the checkpoint from which training went on."""
    line = load(checkpoint)
    start = line.epoch
    while line.epoch < epochs:
        line = next_line(line, gradients(line))
        save(checkpoint, line)
    return line, start


def main() -> None:
    """Train, and report the model and the check of its loss to Dagster."""
    with open_dagster_pipes() as pipes:
        line, start = fit(Path(pipes.get_extra("checkpoint")), pipes.get_extra("epochs"))
        pipes.log.info("Epochs %d to %d: loss %.6f", start + 1, line.epoch, line.loss)
        pipes.report_asset_materialization(metadata={**asdict(line), "resumed_at": start})
        pipes.report_asset_check("loss_is_low", passed=line.loss < 0.01, metadata={"loss": line.loss})


if __name__ == "__main__":
    main()
