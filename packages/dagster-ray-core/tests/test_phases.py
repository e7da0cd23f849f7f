"""Which phases run, and what the end of a step means for the cluster."""

import dagster as dg
import pytest

from dagster_ray.core import CleanupPolicy, StepOutcome, is_interrupt
from dagster_ray.core._phases import Phase, StepEvent, deletes, outcome_of_events, phases_of_setup

CREATE, WAIT, CONNECT = Phase.CREATE, Phase.WAIT, Phase.CONNECT


@pytest.mark.parametrize(
    ("create", "wait", "connect", "expected"),
    [
        pytest.param(True, True, True, (CREATE, WAIT, CONNECT), id="all phases run in order"),
        pytest.param(True, True, False, (CREATE, WAIT), id="connect is left to the step"),
        pytest.param(True, False, True, (CREATE,), id="connect needs wait, so it is left to the step as well"),
        pytest.param(True, False, False, (CREATE,), id="wait and connect are left to the step"),
        pytest.param(False, True, True, (), id="nothing can be awaited that was not created"),
        pytest.param(False, False, False, (), id="everything is left to the step"),
    ],
)
def test_phases_of_setup(create: bool, wait: bool, connect: bool, expected: tuple[Phase, ...]) -> None:
    assert phases_of_setup(create=create, wait=wait, connect=connect) == expected


@pytest.mark.parametrize("outcome", list(StepOutcome))
@pytest.mark.parametrize(
    ("cleanup", "keeps_after"),
    [
        pytest.param("always", set[StepOutcome](), id="always deletes whatever happened"),
        pytest.param("on_exception", {StepOutcome.SUCCEEDED}, id="on_exception keeps after a known success only"),
        pytest.param("never", set(StepOutcome), id="never deletes nothing"),
    ],
)
def test_deletes(cleanup: CleanupPolicy, keeps_after: set[StepOutcome], outcome: StepOutcome) -> None:
    assert deletes(cleanup, outcome) == (outcome not in keeps_after)


def events(*types: str, step: str = "train") -> list[StepEvent]:
    return [StepEvent(step, f"STEP_{type_}") for type_ in types]


@pytest.mark.parametrize(
    ("given", "step_key", "expected"),
    [
        pytest.param(events("START", "SUCCESS"), "train", StepOutcome.SUCCEEDED, id="a step that succeeded"),
        pytest.param(events("START", "FAILURE"), "train", StepOutcome.FAILED, id="a step that failed"),
        pytest.param(events("START", "UP_FOR_RETRY"), "train", StepOutcome.RETRY_REQUESTED, id="a step that retries"),
        pytest.param(events("START"), "train", StepOutcome.UNKNOWN, id="a step that has no end"),
        pytest.param([], "train", StepOutcome.UNKNOWN, id="a step that never started"),
        pytest.param([], None, StepOutcome.UNKNOWN, id="a run in which no step started"),
        pytest.param(
            events("START", "UP_FOR_RETRY", "RESTARTED", "SUCCESS"),
            "train",
            StepOutcome.SUCCEEDED,
            id="a step that succeeded at the second attempt",
        ),
        pytest.param(
            events("START", "UP_FOR_RETRY", "RESTARTED", "FAILURE"),
            "train",
            StepOutcome.FAILED,
            id="a step whose retries are used up",
        ),
        pytest.param(
            events("START", "UP_FOR_RETRY", "RESTARTED"),
            "train",
            StepOutcome.UNKNOWN,
            id="a step that was restarted and has no end",
        ),
        pytest.param(
            [*events("START", "FAILURE", step="other"), *events("START", "SUCCESS")],
            "train",
            StepOutcome.SUCCEEDED,
            id="the failure of another step does not count",
        ),
        pytest.param(
            [*events("START", "FAILURE", step="other"), *events("START", "SUCCESS")],
            None,
            StepOutcome.FAILED,
            id="one failed step of several is a failure of what serves them all",
        ),
        pytest.param(
            [*events("START", "SUCCESS", step="other"), *events("START", "SUCCESS")],
            None,
            StepOutcome.SUCCEEDED,
            id="all steps succeeded",
        ),
        pytest.param(
            [*events("START", "SUCCESS", step="other"), *events("START")],
            None,
            StepOutcome.UNKNOWN,
            id="one step of several has no end",
        ),
        pytest.param(
            [*events("START", "UP_FOR_RETRY", step="other"), *events("START", "FAILURE")],
            None,
            StepOutcome.FAILED,
            id="a failure outweighs a retry",
        ),
    ],
)
def test_outcome_of_events(given: list[StepEvent], step_key: str | None, expected: StepOutcome) -> None:
    assert outcome_of_events(given, step_key) == expected


def caused(error: BaseException, cause: BaseException | None) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(KeyboardInterrupt(), True, id="Ctrl-C"),
        pytest.param(dg.DagsterExecutionInterruptedError(), True, id="a termination by Dagster"),
        pytest.param(
            caused(SystemError(), dg.DagsterExecutionInterruptedError()), True, id="what Ray's C++ made of it"
        ),
        pytest.param(SystemError(), False, id="another SystemError"),
        pytest.param(
            caused(ValueError(), KeyboardInterrupt()), False, id="an error of the step while it was interrupted"
        ),
        pytest.param(SystemExit(1), False, id="the step's own exit"),
        pytest.param(None, False, id="nothing"),
    ],
)
def test_what_is_an_interrupt(error: BaseException | None, expected: bool) -> None:
    assert is_interrupt(error) is expected
