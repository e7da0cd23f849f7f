"""Each defect of `broken_backends.py` fails the tests that name it, and no other."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

_FILE = Path(__file__).with_name("broken_backends.py")
_ADOPTION = "test_a_cluster_that_exists_already_is_used_and_not_deleted"
_NEVER_READY = "test_a_cluster_that_is_never_ready_is_given_up"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the kit said of one backend."""

    passed: frozenset[str]
    failed: Mapping[str, str]
    """The message of each test that failed."""


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Verdict]:
    """The kit's verdicts, by class. One process for all: to import Dagster takes longer than to judge a backend."""
    report = tmp_path_factory.mktemp("verdicts") / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "--import-mode=importlib", "--tb=short", "-p", "no:cacheprovider"]
    finished = subprocess.run(
        [*command, "-o", "addopts=", f"--junitxml={report}", str(_FILE)], capture_output=True, text=True, check=False
    )
    assert finished.returncode == pytest.ExitCode.TESTS_FAILED, finished.stdout[-5000:] + finished.stderr
    return _read(report)


def _read(report: Path) -> Mapping[str, Verdict]:
    passed: dict[str, set[str]] = {}
    failed: dict[str, dict[str, str]] = {}
    for case in ET.parse(report).iter("testcase"):
        backend, test = case.attrib["classname"].rpartition(".")[2], case.attrib["name"]
        bad = [element for element in case if element.tag in {"failure", "error"}]
        if bad:
            failed.setdefault(backend, {})[test] = f"{bad[0].attrib.get('message', '')} {bad[0].text}"
        elif case.find("skipped") is None:
            passed.setdefault(backend, set()).add(test)
    return {
        backend: Verdict(frozenset(passed.get(backend, ())), failed.get(backend, {}))
        for backend in passed.keys() | failed.keys()
    }


def _case(backend: str, tests: set[str], fault: str, sentence: str) -> object:
    return pytest.param(backend, tests, fault, id=sentence)


@pytest.mark.parametrize(
    ("backend", "tests", "fault"),
    [
        _case(
            "TestLeaksAfterSuccess",
            {"test_a_step_that_succeeds_ends_as_the_default_lifecycle_says", "test_cleanup_called_by_a_step_deletes"},
            "it costs money",
            "it leaks a cluster after a step that succeeded",
        ),
        _case(
            "TestLeaksAfterFailure",
            {"test_a_step_that_fails_deletes_on_exception"},
            "a failed step left its cluster",
            "it leaks a cluster after a step that failed",
        ),
        _case(
            "TestLeaksAfterFailedSetup",
            {"test_a_set_up_that_fails_leaves_nothing", _NEVER_READY},
            "a set-up that failed left its cluster",
            "it leaks a cluster after a set-up that failed",
        ),
        _case(
            "TestLeaksAfterRetry",
            {"test_a_step_that_asks_for_a_retry_deletes_on_exception"},
            "an attempt that asked for a retry left its cluster",
            "it leaks a cluster for each retry",
        ),
        _case(
            "TestLeaksAfterSigterm",
            {"test_sigterm_ends_the_run_in_time"},
            "SIGTERM left the cluster",
            "it leaks a cluster when the run is terminated",
        ),
        _case(
            "TestDeletesDespiteNever",
            {"test_never_keeps_the_cluster"},
            'deleted under Lifecycle(cleanup="never")',
            "it deletes although cleanup is never",
        ),
        _case(
            "TestDeletesDespiteSuccess",
            {"test_a_step_that_succeeds_keeps_the_cluster_on_exception"},
            "a step that succeeded lost its cluster",
            "it deletes after a success although cleanup is on_exception",
        ),
        _case(
            "TestDeletesAdopted",
            {f"{_ADOPTION}[after a success]", f"{_ADOPTION}[after a failure]"},
            "deleted a cluster that it did not make",
            "it deletes a cluster that it did not make",
        ),
        _case(
            "TestIgnoresExisting",
            {f"{_ADOPTION}[after a success]", f"{_ADOPTION}[after a failure]"},
            "did not use the cluster that exists already",
            "it makes a second cluster beside the one that exists",
        ),
        _case(
            "TestGivesEachPhaseADeadline",
            {_NEVER_READY},
            "let them spend one Deadline together",
            "each phase has a deadline of its own",
        ),
        _case("TestIgnoresItsTimeout", {_NEVER_READY}, "with timeout=6", "its wait ignores the timeout"),
        _case(
            "TestTimesOutWithABareError",
            {_NEVER_READY},
            "must end in NotReadyError or ConnectFailedError; it was RuntimeError",
            "its timeout is a bare RuntimeError",
        ),
        _case(
            "TestIgnoresCreateOff",
            {"test_create_that_is_switched_off_does_not_run"},
            "with Lifecycle(create=False)",
            "it creates although create is off",
        ),
        _case(
            "TestSwallowsMisspeltFields",
            {"test_a_misspelled_field_is_refused"},
            "`make(tiemout=1.0)` was accepted",
            "it accepts a misspelled field",
        ),
        _case(
            "TestReturnsNoneBeforeConnect",
            {
                "test_reading_it_before_connect_raises_not_connected_error[context]",
                "test_a_phase_that_is_switched_off_does_not_run[wait]",
                "test_a_phase_that_is_switched_off_does_not_run[connect]",
                "test_create_that_is_switched_off_does_not_run",
                "test_cleanup_called_by_a_step_disconnects",
                "test_nothing_is_created_for_a_run_that_has_ended",
                "test_a_set_up_that_fails_leaves_nothing",
            },
            "`context` before `connect` returned None",
            "its context is None before connect",
        ),
        _case(
            "TestHasNoJobId", {"test_the_job_id_is_that_of_the_driver"}, "`job_id` is ''", "its job id is an empty text"
        ),
        _case(
            "TestRaisesItsOwnErrorBeforeConnect",
            {
                "test_reading_it_before_connect_raises_not_connected_error[job_id]",
                "test_a_phase_that_is_switched_off_does_not_run[wait]",
                "test_a_phase_that_is_switched_off_does_not_run[connect]",
                "test_create_that_is_switched_off_does_not_run",
                "test_cleanup_called_by_a_step_disconnects",
                "test_nothing_is_created_for_a_run_that_has_ended",
            },
            "must raise NotConnectedError, whose text says what to do; it raised AssertionError",
            "its job id raises an error of its own before connect",
        ),
        _case(
            "TestForgetsItsLifecycle",
            {
                "test_the_lifecycle_that_was_given_is_kept[always]",
                "test_the_lifecycle_that_was_given_is_kept[on_exception]",
                "test_the_lifecycle_that_was_given_is_kept[never]",
                "test_a_phase_that_is_switched_off_does_not_run[wait]",
                "test_a_phase_that_is_switched_off_does_not_run[connect]",
                "test_create_that_is_switched_off_does_not_run",
            },
            "`lifecycle` must read as it was given",
            "it forgets which phases are switched off",
        ),
        _case(
            "TestHasNoName",
            {"test_it_can_be_named_before_it_is_connected"},
            "`display_name` must not be empty",
            "it has no name before it is created",
        ),
        _case(
            "TestHasNoAddress",
            {"test_the_address_is_one_that_drivers_connect_to"},
            "`address` is 'auto'",
            "its address is no address",
        ),
        _case(
            "TestNeedsItsFirstProcess",
            {"test_the_multiprocess_executor_works", "test_a_step_that_asks_for_a_retry_deletes_on_exception"},
            "nobody has prepared this process",
            "it works only in the process that loaded the code location",
        ),
        _case(
            "TestHasADashboardWithoutScheme",
            {"test_the_dashboard_has_a_url"},
            "it must be an http(s) URL",
            "its dashboard is no URL",
        ),
        _case(
            "TestReplacesSigtermHandler",
            {"test_signal_handlers_stay_in_place"},
            "the handlers of SIGTERM were replaced",
            "it replaces the handler of SIGTERM",
        ),
        _case(
            "TestLeavesEnvironmentVariables",
            {"test_environment_variables_are_restored"},
            "FILE_RAY_LEFT_THIS",
            "it leaves an environment variable behind",
        ),
        _case(
            "TestSharesNothing",
            {"test_two_resources_of_one_configuration_meet"},
            "each made its own",
            "it claims to share and does not",
        ),
        _case(
            "TestFirstToLeaveEndsIt",
            {"test_the_first_to_leave_does_not_end_a_shared_cluster"},
            "deleted by the first resource that left it",
            "the first to leave ends the shared cluster",
        ),
        _case(
            "TestCreatesAgainAfterTheRun",
            {"test_nothing_is_created_for_a_run_that_has_ended"},
            "in a run that has ended",
            "it creates a cluster for a run that has ended",
        ),
        _case(
            "TestCleansUpOnce",
            {"test_a_second_cleanup_does_nothing"},
            "a second `cleanup` raised RuntimeError",
            "its cleanup can be called once",
        ),
        _case(
            "TestCannotBeCalledByAStep",
            {
                "test_a_step_can_call_the_phases",
                "test_cleanup_called_by_a_step_disconnects",
                "test_cleanup_called_by_a_step_deletes",
                "test_signal_handlers_stay_in_place",
            },
            "`create` called by a step, with the step's context, raised TypeError",
            "its phases cannot be called by a step",
        ),
        _case(
            "TestLosesConfigOnCopy",
            {"test_the_step_gets_the_configuration_that_was_given"},
            "the `timeout` given in the code location did not reach the step",
            "it loses a field when it is copied",
        ),
        _case(
            "TestLosesNestedDefaults",
            {
                "test_the_step_gets_the_defaults_of_the_code_location",
                "test_a_step_that_succeeds_ends_as_the_default_lifecycle_says",
            },
            "into a `default_factory`, which Dagster ignores",
            "it puts a nested default where Dagster ignores it",
        ),
    ],
)
def test_a_defect_fails_the_tests_that_name_it(
    verdicts: Mapping[str, Verdict], backend: str, tests: set[str], fault: str
) -> None:
    """Nothing else fails: an author reads what is wrong, not what follows from it."""
    verdict = verdicts[backend]
    assert set(verdict.failed) == tests
    assert any(fault in message for message in verdict.failed.values()), verdict.failed
    assert len(verdict.passed) > len(tests)


def test_a_backend_that_lacks_a_member_fails_every_test_with_its_name(verdicts: Mapping[str, Verdict]) -> None:
    """No run is tried with an object that is no RayResource."""
    verdict = verdicts["TestLacksAMember"]
    assert not verdict.passed
    assert all("lacks dashboard_url: a backend must have" in message for message in verdict.failed.values())


def test_a_backend_that_stays_connected_is_told_to_disconnect(verdicts: Mapping[str, Verdict]) -> None:
    """All later runs of the process fail with it: they cannot connect."""
    verdict = verdicts["TestStaysConnected"]
    assert "`cleanup` must disconnect the driver" in verdict.failed["test_a_process_can_connect_again"] or (
        "this process has a driver already" in verdict.failed["test_a_process_can_connect_again"]
    )


def test_every_test_of_the_kit_catches_a_defect(verdicts: Mapping[str, Verdict]) -> None:
    """A test that no backend can fail proves nothing. Remote tasks need Ray, which none of these has."""
    need_ray = {
        "test_a_body_runs_inside_the_cluster",
        "test_remote_tasks_run",
        "test_what_remote_tasks_print_reaches_the_step",
    }
    judged = {backend: verdict for backend, verdict in verdicts.items() if backend != "TestLacksAMember"}
    caught = {"test_it_has_every_member_of_ray_resource"}.union(*(verdict.failed for verdict in judged.values()))
    assert set(verdicts["TestLacksAMember"].failed) - caught == need_ray


def test_every_broken_backend_is_in_the_table(verdicts: Mapping[str, Verdict]) -> None:
    """A defect that is not caught would not be noticed."""
    assert not [backend for backend, verdict in verdicts.items() if not verdict.failed]
