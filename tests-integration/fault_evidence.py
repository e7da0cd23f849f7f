"""The tests that cells of the fault matrix name, as pytest node ids."""

from fault_terms import (
    JOB,
    KUBE_PIPES,
    PIPES,
    SHARED,
)

STEP_TESTS, JOB_TESTS = "tests-integration/test_fault_matrix_steps.py", "tests-integration/test_fault_matrix_pipes.py"
KUBERAY_TESTS, PIPES_TESTS = "packages/dagster-ray-kuberay/tests", "packages/dagster-ray-pipes/tests"
FEATURE_IDS = {JOB: "job", SHARED: "shared", KUBE_PIPES: "pipes on a RayJob", PIPES: "pipes"}


def with_ids(test: str, *ids: str) -> tuple[str, ...]:
    return tuple(f"{test}[{one}]" for one in ids)


def steps_that_meet(fault: str, feature: str, *phases: str) -> tuple[str, ...]:
    test = f"{STEP_TESTS}::test_an_api_server_that_comes_back_ends_no_step"
    return with_ids(test, *(f"{FEATURE_IDS[feature]}-{phase}-{fault}" for phase in phases))


def jobs_whose_kubernetes_meets(fault: str, *phases: str) -> tuple[str, ...]:
    test = f"{JOB_TESTS}::test_a_kubernetes_that_comes_back_ends_no_job_on_a_rayjob"
    return with_ids(test, *(f"{phase}-{fault}" for phase in phases))


def jobs_whose_server_meets(fault: str, feature: str, *phases: str) -> tuple[str, ...]:
    test = f"{JOB_TESTS}::test_a_job_server_that_comes_back_ends_no_step"
    return with_ids(test, *(f"{FEATURE_IDS[feature]}-{phase}-{fault}" for phase in phases))


SHARING_MODEL = f"{KUBERAY_TESTS}/sharing/test_sharing_model.py::test_nothing_held_is_deleted_and_nothing_is_left"
PROCESSES_DIE = f"{SHARING_MODEL}[a few-processes die at any call]"
SIGTERM_STOPS_JOB = f"{JOB_TESTS}::test_sigterm_stops_the_job"
NOT_MISSED = f"{STEP_TESTS}::test_an_operator_that_does_nothing_is_not_missed_once_the_head_serves"
SILENT_OPERATOR = f"{STEP_TESTS}::test_an_operator_that_does_nothing_is_named_at_the_deadline_and_nothing_stays"
SILENT_OPERATOR_OF_JOB = f"{JOB_TESTS}::test_an_operator_that_does_nothing_is_named_and_no_job_is_submitted"
CANNOT_STOP = f"{JOB_TESTS}::test_a_job_whose_server_is_away_cannot_be_stopped_and_the_step_ends"
ASKS_NOTHING = f"{STEP_TESTS}::test_a_step_that_runs_on_a_rayjob_asks_the_api_server_for_nothing"
LEFT_BY_KILLED_STEP = f"{STEP_TESTS}::test_what_a_killed_step_has_left_of_a_rayjob_the_operator_ends"
LOST_ANSWER = f"{STEP_TESTS}::test_an_answer_that_is_lost_makes_nothing_twice"
STAYS_AWAY = f"{STEP_TESTS}::test_an_api_server_that_stays_away_while_a_cluster_comes_up_is_named"
FORWARDED = f"{JOB_TESTS}::test_a_dashboard_behind_a_port_forward_is_away_with_the_api_server_and_no_job_ends_by_it"
WATCH_ENDS = f"{STEP_TESTS}::test_a_watch_that_ends_while_a_cluster_comes_up_is_taken_up_again"
TICK_WITHOUT_SERVER = f"{STEP_TESTS}::test_a_tick_without_an_api_server_fails_and_deletes_nothing_and_the_next_one_does"
LONG_OUTAGE = f"{KUBERAY_TESTS}/steps/test_faults.py::test_an_outage_that_lasts_is_named_when_the_deadline_has_passed"
SILENT_DASHBOARD = (
    f"{KUBERAY_TESTS}/steps/test_faults_connect.py::test_a_dashboard_that_does_not_answer_keeps_nobody_from_connecting"
)
LOST_HEAD = (
    f"{KUBERAY_TESTS}/steps/test_signals.py"
    "::test_a_head_that_dies_under_a_connected_step_fails_it_and_leaves_no_cluster"
)
RETRIED_STEPS = (
    f"{KUBERAY_TESTS}/steps/test_retried_steps.py::test_two_preemptions_and_then_success_give_one_materialization",
    f"{KUBERAY_TESTS}/steps/test_retried_steps.py::test_a_head_without_memory_is_the_steps_own_failure",
)
LOST_HEADS_OF_JOBS = f"{KUBERAY_TESTS}/pipes/test_pipes_head.py"
FORGOTTEN_JOB = f"{JOB_TESTS}::test_a_job_that_its_head_has_forgotten_is_lost"
UNREADABLE_LOG = f"{JOB_TESTS}::test_a_log_that_the_server_cannot_read_costs_its_text"
FULL_DISK_OF_STEP = f"{JOB_TESTS}::test_a_full_disk_under_the_steps_output_costs_the_jobs_text"
FULL_DISK_UNNOTICED = f"{STEP_TESTS}::test_a_full_disk_under_the_steps_output_is_nothing_to_a_step_that_prints_nothing"
WRONG_CLOCK = f"{STEP_TESTS}::test_a_step_whose_clock_is_wrong_by_an_hour_notices_nothing"
WRONG_CLOCKS = ("the step's clock is behind", "the step's clock is ahead")
SERVER_DOWN = "API server down for 5 min"
EXPIRED_WATCHES = ("job-expire_watches", "shared-expire_watches")
