"""Cells of the fault matrix: answers that are lost."""

from fault_evidence import (
    JOB_TESTS,
    KUBERAY_TESTS,
    LOST_ANSWER,
    PIPES_TESTS,
    SHARING_MODEL,
    SIGTERM_STOPS_JOB,
    with_ids,
)
from fault_terms import (
    CLEANUP,
    CONNECT,
    CREATE,
    JOB,
    KUBE_PIPES,
    LOST,
    NOTICES_NOTHING,
    PIPES,
    REFUSED,
    RUN,
    SENSOR,
    SHARED,
    SUBMIT,
    TICK,
    UNCHANGED,
    WAIT,
    Cell,
)

_REFUSED_TESTS = f"{KUBERAY_TESTS}/test_lost_answer.py"
_REFUSED_STEP = (
    f"{_REFUSED_TESTS}::test_a_step_whose_creation_is_refused_after_a_lost_answer_deletes_what_the_lost_one_made"
)

ANSWER_CELLS: tuple[Cell, ...] = (
    Cell(
        LOST,
        {
            JOB: (CREATE, CONNECT, CLEANUP),
            SHARED: (CREATE, WAIT, CONNECT, RUN, CLEANUP),
            SENSOR: (TICK,),
            KUBE_PIPES: (CREATE, SUBMIT, RUN, CLEANUP),
            PIPES: (SUBMIT, CLEANUP),
        },
        f"{NOTICES_NOTHING} The call is sent again; what the first one did is recognised, so that nothing is made "
        "twice: a `RayJob` or cluster by its name and an annotation, a job by its id.",
        UNCHANGED,
        (
            *with_ids(LOST_ANSWER, "job-create", "job-connect", "job-cleanup"),
            *with_ids(LOST_ANSWER, "shared-create", "shared-run", "shared-cleanup"),
            f"{SHARING_MODEL}[processes die and answers get lost]",
            f"{KUBERAY_TESTS}/test_collector.py::test_an_answer_that_was_lost_is_no_second_delete",
            *with_ids(
                f"{JOB_TESTS}::test_an_answer_that_is_lost_makes_no_second_rayjob", "of the creation", "of the deletion"
            ),
            f"{KUBERAY_TESTS}/test_faults_connect.py::"
            "test_the_job_id_is_written_although_the_api_server_is_away_for_a_while[an answer that is lost]",
            *with_ids(
                f"{PIPES_TESTS}/test_job_client.py::test_a_job_is_submitted_once_whatever_is_lost", "1-answer lost"
            ),
            *with_ids(
                SIGTERM_STOPS_JOB,
                "pipes-submit",
                "pipes-cleanup",
                "pipes on a RayJob-submit",
                "pipes on a RayJob-cleanup",
            ),
        ),
    ),
    Cell(
        LOST,
        {JOB: (WAIT, RUN), KUBE_PIPES: (WAIT,), PIPES: (RUN,)},
        NOTICES_NOTHING,
        UNCHANGED,
        reason="These phases only read. A read that is lost is a connection that breaks.",
    ),
    Cell(
        REFUSED,
        {JOB: (CREATE,), SHARED: (CREATE,), KUBE_PIPES: (CREATE,)},
        "The server's refusal, for example [kubernetes-forbidden](errors/kubernetes-forbidden.md) for a quota.",
        "The step looks for the object that the first call may have made, for 8 s, and deletes it.",
        (
            *with_ids(_REFUSED_STEP, "a RayJob-403", "a RayCluster-403", "a shared RayCluster-403", "a RayJob-422"),
            f"{_REFUSED_TESTS}::test_a_pipes_job_whose_rayjob_is_refused_after_a_lost_answer_leaves_none",
        ),
    ),
    Cell(
        REFUSED,
        {KUBE_PIPES: (SUBMIT,), PIPES: (SUBMIT,)},
        f"{NOTICES_NOTHING} The job is looked for before it is sent again.",
        UNCHANGED,
        with_ids(f"{PIPES_TESTS}/test_job_client.py::test_a_job_is_submitted_once_whatever_is_lost", "1-answer lost"),
    ),
    Cell(
        REFUSED,
        {
            JOB: (WAIT, CONNECT, RUN, CLEANUP),
            SHARED: (WAIT, CONNECT, RUN, CLEANUP),
            SENSOR: (TICK,),
            KUBE_PIPES: (WAIT, RUN, CLEANUP),
            PIPES: (RUN, CLEANUP),
        },
        NOTICES_NOTHING,
        UNCHANGED,
        reason="Nothing is created in these phases: a change or a deletion that was carried out leaves nothing behind.",
    ),
)
