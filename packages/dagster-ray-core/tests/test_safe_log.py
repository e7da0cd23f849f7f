"""Messages of ours raise nothing, whatever stands behind the logger, and none is lost."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import logging
import shutil
from pathlib import Path

import dagster as dg
import pytest
from typing_extensions import override

from dagster_ray.core import log_of, safe_log
from dagster_ray.core._startup import report_startup


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.records: list[logging.LogRecord] = []

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.texts.append(self.format(record))


class Refusing(logging.Handler):
    @override
    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("the database is away")


def logger(handler: logging.Handler) -> logging.Logger:
    found = logging.Logger("probe", logging.INFO)
    found.addHandler(handler)
    return found


def test_messages_arrive_with_level_arguments_traceback_and_caller() -> None:
    kept = Kept()
    log = safe_log(logger(kept))
    log.debug("not wanted")
    log.info("%s and %d", "one", 2)
    try:
        int("x")
    except ValueError:
        log.exception("broken")
    assert kept.texts[0] == "one and 2"
    assert kept.texts[1].startswith("broken\nTraceback")
    assert [record.levelno for record in kept.records] == [logging.INFO, logging.ERROR]
    assert {Path(record.pathname).name for record in kept.records} == {Path(__file__).name}


def test_a_message_that_the_log_refuses_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    log = safe_log(logger(Refusing()))
    log.warning("the lock of %s", "step", exc_info=ValueError("why"))
    said = capfd.readouterr().err
    assert "WARNING - the lock of step" in said
    assert "ValueError: why" in said
    assert "OSError" in said


def test_a_message_that_cannot_be_composed_raises_nothing() -> None:
    class Broken:
        @override
        def __str__(self) -> str:
            raise ValueError("no text")

    safe_log(logger(Refusing())).info("%s", Broken())


def test_a_closed_stderr_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    safe_log(logger(Refusing())).info("nobody hears it")


def test_a_logger_is_made_safe_once() -> None:
    log = safe_log(logger(Kept()))
    assert safe_log(log) is log


class NoCluster:
    """As much of a resource as the start-up event reads."""

    display_name, dashboard_url, job_id = "Probe", None, "01000000"


def test_dagsters_storage_may_be_away_while_a_step_logs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    history, away = tmp_path / "history", tmp_path / "away"

    @dg.op
    def step(context: dg.OpExecutionContext) -> None:
        history.rename(away)
        with pytest.raises(Exception, match="unable to open database file"):
            context.log.info("by Dagster's own logger")
        log_of(context).warning("a lock could not be renewed")
        report_startup(NoCluster(), {"create": 1.0}, context)  # pyright: ignore[reportArgumentType]
        shutil.rmtree(history, ignore_errors=True)
        away.rename(history)
        log_of(context).info("the storage is back")

    probe = dg.GraphDefinition("probe", node_defs=[step]).to_job()
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        result = probe.execute_in_process(instance=instance)
        stored = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert result.success
    assert "the storage is back" in stored
    said = capfd.readouterr().err
    assert "a lock could not be renewed" in said
    assert "Connected to Probe after 1.0 s." in said
