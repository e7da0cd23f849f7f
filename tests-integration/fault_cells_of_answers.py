"""Cells of the fault matrix: answers that are lost, that are not the API server's, and credentials that it refuses."""

from fault_evidence import (
    ASKS_NOTHING,
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
    PHASES,
    PIPES,
    REDIRECT,
    REFUSED,
    ROTATED,
    RUN,
    SENSOR,
    SHARED,
    SUBMIT,
    TICK,
    UNCHANGED,
    WAIT,
    Cell,
)

_REFUSED_TESTS = f"{KUBERAY_TESTS}/steps/test_lost_answer.py"
_REFUSED_STEP = (
    f"{_REFUSED_TESTS}::test_a_step_whose_creation_is_refused_after_a_lost_answer_deletes_what_the_lost_one_made"
)

_FOREIGN_TESTS = f"{KUBERAY_TESTS}/kubernetes/test_foreign_answers.py"
_CREDENTIAL_TESTS = f"{KUBERAY_TESTS}/kubernetes/test_credentials.py"

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
        f"{NOTICES_NOTHING} The call is sent again; what the first one did is recognized, so that nothing is made "
        "twice: a `RayJob` or cluster by its name and an annotation, a Secret by its owner, a job by its id.",
        UNCHANGED,
        (
            *with_ids(LOST_ANSWER, "job-create", "job-connect", "job-cleanup"),
            *with_ids(LOST_ANSWER, "shared-create", "shared-run", "shared-cleanup"),
            f"{SHARING_MODEL}[a few-processes die and answers get lost]",
            f"{KUBERAY_TESTS}/collector/test_collector.py::test_an_answer_that_was_lost_is_no_second_delete",
            *with_ids(
                f"{JOB_TESTS}::test_an_answer_that_is_lost_makes_no_second_rayjob", "of the creation", "of the deletion"
            ),
            f"{KUBERAY_TESTS}/pipes/test_secret_context.py::test_an_answer_that_is_lost_makes_no_second_secret",
            f"{KUBERAY_TESTS}/steps/test_faults_connect.py::"
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
        "The server's refusal, for example [cannot-start](errors/cannot-start.md) for a quota.",
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
    Cell(
        REDIRECT,
        {JOB: (CREATE, CONNECT, CLEANUP), SHARED: PHASES[SHARED], SENSOR: (TICK,), KUBE_PIPES: PHASES[KUBE_PIPES]},
        "A call that meets it once or twice goes on. After three times: "
        "[kubernetes-answer](errors/kubernetes-answer.md), which names the host of the redirect or shows the first "
        "words of the page. No credentials follow a redirect. The cleanup sensor keeps everything.",
        "What the step could not delete is collected as after SIGKILL.",
        (
            *with_ids(f"{_FOREIGN_TESTS}::test_the_credentials_do_not_follow_a_redirect", "302"),
            f"{_FOREIGN_TESTS}::test_a_page_that_passes_fails_nothing",
            *with_ids(f"{_FOREIGN_TESTS}::test_the_command_does_not_take_a_login_page_for_an_empty_cluster", "verb0"),
        ),
    ),
    Cell(
        REDIRECT,
        {JOB: (WAIT,)},
        "The watch goes on asking, with pauses, until `timeout`.",
        UNCHANGED,
        (f"{KUBERAY_TESTS}/kubernetes/test_watch_stream.py::test_a_page_that_is_no_watch_is_told",),
    ),
    Cell(
        REDIRECT,
        {JOB: (RUN,)},
        "Nothing: a step that runs asks the API server for nothing, except a sign of life every 10 minutes if a pod "
        "was missing when it connected.",
        UNCHANGED,
        (ASKS_NOTHING,),
    ),
    Cell(
        REDIRECT,
        {PIPES: PHASES[PIPES]},
        "A page in the job server's place is [job-server-answer](errors/job-server-answer.md).",
        UNCHANGED,
        reason="The client asks no API server.",
    ),
    Cell(
        ROTATED,
        {
            JOB: (CREATE, WAIT, CONNECT, CLEANUP),
            SHARED: PHASES[SHARED],
            SENSOR: (TICK,),
            KUBE_PIPES: PHASES[KUBE_PIPES],
        },
        f"{NOTICES_NOTHING} After a 401 the credentials are loaded again, and the call is repeated. If they have not "
        "changed: [kubernetes-unauthorized](errors/kubernetes-unauthorized.md).",
        UNCHANGED,
        (
            *with_ids(
                f"{_CREDENTIAL_TESTS}::test_new_credentials_are_taken_when_the_old_ones_end",
                "token_file-call",
                "token_file-stream",
                "plug_in_without_expiry-call",
                "kubeconfig_itself-call",
            ),
            f"{_CREDENTIAL_TESTS}::test_the_pod_takes_the_new_token_of_its_account",
            f"{_CREDENTIAL_TESTS}::test_a_certificate_of_a_plug_in_is_replaced",
        ),
    ),
    Cell(
        ROTATED,
        {JOB: (RUN,)},
        "Nothing: a step that runs asks the API server for nothing, except a sign of life every 10 minutes if a pod "
        "was missing when it connected.",
        UNCHANGED,
        (ASKS_NOTHING,),
    ),
    Cell(ROTATED, {PIPES: PHASES[PIPES]}, NOTICES_NOTHING, UNCHANGED, reason="The client asks no API server."),
)
