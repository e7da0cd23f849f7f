"""The training script learns, and goes on from its checkpoint; tests-integration/test_examples.py runs it as a job."""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "train.py"


@pytest.fixture(scope="module")
def train() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pipes_training_train", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def here(train: ModuleType) -> Any:
    """Return what computes the gradients in this process."""

    def gradients(line: Any) -> Sequence[tuple[float, float, float]]:
        shards = range(train.SHARDS)
        return [train.gradient(train.points_of(shard), line.slope, line.intercept) for shard in shards]

    return gradients


def test_the_line_of_the_data_is_found(train: ModuleType, tmp_path: Path) -> None:
    line, start = train.fit(tmp_path / "line.json", 100, here(train))
    assert start == 0
    assert (line.slope, line.intercept) == pytest.approx((3, 1), abs=0.3)
    assert line.loss < 0.01


def test_training_that_was_interrupted_ends_with_the_same_model(train: ModuleType, tmp_path: Path) -> None:
    whole, _ = train.fit(tmp_path / "whole/line.json", 20, here(train))

    def fails_after_seven(line: Any) -> Sequence[tuple[float, float, float]]:
        if line.epoch == 7:
            raise ConnectionError("the head is gone")
        return here(train)(line)

    with pytest.raises(ConnectionError):
        train.fit(tmp_path / "line.json", 20, fails_after_seven)
    assert train.fit(tmp_path / "line.json", 20, here(train)) == (whole, 7)


def test_a_checkpoint_is_replaced_at_once(train: ModuleType, tmp_path: Path) -> None:
    train.save(tmp_path / "line.json", train.Line(slope=1.0, epoch=1))
    (tmp_path / "line.part").write_text("{", encoding="utf-8")  # a job was killed while it wrote
    assert train.load(tmp_path / "line.json") == train.Line(slope=1.0, epoch=1)
