"""Cells of the fault matrix: updates that are denied, and an API server and a storage that are away together."""

from fault_evidence import KUBERAY_TESTS, SERVER_DOWN, SHARING_MODEL, TICK_WITHOUT_SERVER, with_ids
from fault_terms import (
    BY_LOCK,
    BY_STEP,
    CLEANUP,
    CONNECT,
    CREATE,
    JOB,
    KUBE_PIPES,
    NO_KUBERNETES,
    NOTICES_NOTHING,
    PHASES,
    PIPES,
    RUN,
    SENSOR,
    SHARED,
    SUBMIT,
    TICK,
    TOGETHER,
    UNCHANGED,
    UPDATES,
    WAIT,
    Cell,
)

_CONNECT_TESTS = f"{KUBERAY_TESTS}/steps/test_faults_connect.py"
_DENIED_JOB_ID = f"{_CONNECT_TESTS}::test_a_job_id_that_is_denied_is_told_in_the_servers_words"
_DENIED_PIPES = f"{KUBERAY_TESTS}/pipes/test_pipes_client.py::test_updates_that_are_denied_cost_a_warning_and_no_job"
_DENIED_LOCK = (
    f"{KUBERAY_TESTS}/steps/test_raycluster.py"
    "::test_a_step_whose_lock_is_denied_fails_with_the_servers_words_and_makes_no_cluster"
)
_GOES_ON = f"{KUBERAY_TESTS}/sharing/test_heartbeat.py::test_it_goes_on_and_says_so_once"
_BOTH_AWAY = f"{KUBERAY_TESTS}/sharing/test_heartbeat.py::test_the_api_server_and_dagsters_storage_may_be_away_together"
_LOGGED = "packages/dagster-ray-core/tests/test_safe_log.py::test_dagsters_storage_may_be_away_while_a_step_logs"

LOCK_CELLS = (
    Cell(
        UPDATES,
        {SHARED: (CREATE,)},
        "[write-denied](errors/write-denied.md) with the server's words if the step takes an existing cluster. The "
        "lock of a step that creates the cluster is part of the new object.",
        "Nothing was created.",
        (
            *with_ids(_DENIED_LOCK, "400", "422"),
            f"{KUBERAY_TESTS}/sharing/test_sharing_model.py::test_a_denied_lock_makes_no_cluster",
        ),
    ),
    Cell(
        UPDATES,
        {SHARED: (WAIT, CONNECT, RUN)},
        "A warning that the lock could not be renewed. The renewal is tried again at least every 30 s.",
        "The lock is renewed as soon as updates are accepted. If they are denied for longer than `ttl_seconds`, the "
        "sensor may delete the cluster.",
        (
            *with_ids(_GOES_ON, "a webhook's denial, which is a 400", "a 422 for the length of the annotations"),
            f"{SHARING_MODEL}[a few-a webhook denies two patches of ten]",
        ),
    ),
    Cell(
        UPDATES,
        {SHARED: (CLEANUP,)},
        "Nothing, or a warning if the lock was to be removed at once.",
        BY_LOCK,
        (f"{SHARING_MODEL}[a few-a webhook denies two patches of ten]",),
    ),
    Cell(
        UPDATES,
        {JOB: (CONNECT,)},
        "[write-denied](errors/write-denied.md) with the server's words: KubeRay would end a `RayJob` without `jobId` "
        "under a running step.",
        BY_STEP,
        with_ids(_DENIED_JOB_ID, "400", "422"),
    ),
    Cell(
        UPDATES,
        {JOB: (CLEANUP,)},
        "A warning that the outcome could not be written.",
        BY_STEP,
        (f"{_CONNECT_TESTS}::test_an_outcome_that_is_denied_leaves_the_deletion_to_the_step",),
    ),
    Cell(
        UPDATES,
        {KUBE_PIPES: (RUN, CLEANUP)},
        "A warning. The job id is written again every 10 s.",
        "The operator deletes the cluster by the time to live that the `RayJob` was created with.",
        (_DENIED_PIPES,),
    ),
    Cell(
        UPDATES,
        {JOB: (CREATE, WAIT, RUN), KUBE_PIPES: (CREATE, WAIT, SUBMIT)},
        NOTICES_NOTHING,
        UNCHANGED,
        reason="Nothing is updated in these phases.",
    ),
    Cell(
        UPDATES,
        {SENSOR: (TICK,)},
        NOTICES_NOTHING,
        UNCHANGED,
        reason="The sensor lists and deletes objects. It updates clusters of a pool only, to note that a claim has "
        "ended: where that is denied, its report says so and the cluster stays.",
    ),
    Cell(UPDATES, {PIPES: PHASES[PIPES]}, NOTICES_NOTHING, UNCHANGED, reason=NO_KUBERNETES),
    Cell(
        TOGETHER,
        {SHARED: (RUN,)},
        "The step goes on. Messages of dagster-ray go to the step's stderr.",
        "The lock is renewed within seconds of the API server's return.",
        (_BOTH_AWAY, f"{SHARING_MODEL}[a few-API server and Dagster's storage are away together]"),
    ),
    Cell(
        TOGETHER,
        {
            JOB: PHASES[JOB],
            SHARED: (CREATE, WAIT, CONNECT, CLEANUP),
            KUBE_PIPES: PHASES[KUBE_PIPES],
            PIPES: PHASES[PIPES],
        },
        "As if the API server alone were away. Messages of dagster-ray go to the step's stderr.",
        UNCHANGED,
        (_LOGGED,),
    ),
    Cell(
        TOGETHER,
        {SENSOR: (TICK,)},
        "A tick that fails.",
        "The next tick deletes what this one would have deleted.",
        (f"{TICK_WITHOUT_SERVER}[{SERVER_DOWN}]",),
    ),
)
