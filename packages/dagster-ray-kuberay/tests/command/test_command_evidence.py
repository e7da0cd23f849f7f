"""`dagster-ray evidence`: from a run's log, and from a bundle."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

from collections.abc import Generator
from pathlib import Path

import dagster as dg
import pytest
from command_world import dagster_ray

from dagster_ray.core.failures.causes import Kept
from dagster_ray.core.failures.record import FailedStep, report_kept

SUMMARY = "- **Cause**: ValueError: odd number 3\n- **Failure class**: user"


@pytest.fixture
def run_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[str]:
    """Return a run whose log names the evidence of two steps."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.get() as instance:
        run = instance.create_run_for_job(dg.job(name="a")(lambda: None))
        for step in ("first", "second"):
            kept = Kept(f"s3://bucket/{step}/index.md", SUMMARY)
            report_kept(FailedStep(instance, run, step, "RayJob ray/a"), kept)
        yield run.run_id


def test_the_summaries_of_a_run_are_printed_with_their_places(run_id: str) -> None:
    printed = dagster_ray("evidence", run_id)
    assert printed.code == 0
    assert printed.out.startswith(f"first: s3://bucket/first/index.md\n{SUMMARY}\n\nsecond: ")
    rows = dagster_ray("evidence", run_id, "--step", "second", "--json").data
    assert rows == [{"step": "second", "place": "s3://bucket/second/index.md", "summary": SUMMARY.splitlines()}]


def test_a_run_without_evidence_is_a_finding(run_id: str) -> None:
    printed = dagster_ray("evidence", run_id, "--step", "third")
    assert (printed.code, printed.out) == (1, "")
    assert f"The log of run {run_id} names no evidence of step third." in printed.err


@pytest.mark.usefixtures("run_id")
def test_a_bundle_is_read_from_its_place(tmp_path: Path) -> None:
    (tmp_path / "index.md").write_text(f"# Why `a` failed\n\n{SUMMARY}\n\n## Files\n", encoding="utf-8")
    for path in (tmp_path, tmp_path / "index.md"):
        assert dagster_ray("evidence", "--path", str(path)).out == f"{SUMMARY}\n"
    assert dagster_ray("evidence", "--path", str(tmp_path / "gone")).code == 3


def test_a_run_needs_dagsters_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    printed = dagster_ray("evidence", "4f0c1e2d")
    assert printed.code == 3
    assert "Set DAGSTER_HOME" in printed.err


@pytest.mark.parametrize("arguments", [[], ["4f0c1e2d", "--path", "x"]])
def test_a_run_and_a_place_exclude_each_other(arguments: list[str]) -> None:
    assert dagster_ray("evidence", *arguments).code == 2
