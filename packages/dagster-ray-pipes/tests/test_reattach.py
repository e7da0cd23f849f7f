import pytest

from dagster_ray.pipes._job_answers import JobDetails
from dagster_ray.pipes._reattach import CALL_KEY, STEP_KEY, CallIdentity, choose, choose_numbered, digest_of, is_of_step

IDENTITY = CallIdentity(("run-two-2", "run-one-1"), "step", "digest", 0)


def job(status: str, name: str = "job") -> JobDetails:
    return JobDetails(name, status)


@pytest.mark.parametrize(
    ("own", "parent", "follows", "number"),
    [
        pytest.param([], [], None, 0, id="nothing there: the first job"),
        pytest.param([job("RUNNING")], [], "job", None, id="one that runs is followed"),
        pytest.param([job("PENDING")], [], "job", None, id="one that waits is followed"),
        pytest.param([job("SUCCEEDED")], [], "job", None, id="one that has succeeded is read again"),
        pytest.param([job("FAILED")], [], None, 1, id="one that has failed: the next job"),
        pytest.param([job("STOPPED"), job("FAILED")], [], None, 2, id="two that have failed"),
        pytest.param([job("FAILED"), job("RUNNING")], [], "job", None, id="the newest counts"),
        pytest.param([], [job("RUNNING", "old")], "old", None, id="of the run that this one continues"),
        pytest.param([], [job("FAILED", "old")], None, 0, id="failed in the run before"),
        pytest.param([job("FAILED")], [job("SUCCEEDED", "old")], None, 1, id="this run's own attempts count first"),
    ],
)
def test_which_job_a_call_is_about(
    own: list[JobDetails], parent: list[JobDetails], follows: str | None, number: int | None
) -> None:
    attempt = choose(IDENTITY, [("run-two-2", own), ("run-one-1", parent)])
    if follows is not None:
        assert (attempt.submission_id, attempt.existing is not None) == (follows, True)
    else:
        assert attempt.existing is None
        assert attempt.submission_id == IDENTITY.submission_id("run-two-2", number or 0)


def chosen(status: str, name: str, run_id: str = "run-two-2", digest: str = "digest") -> JobDetails:
    metadata = CallIdentity((run_id,), "step", digest, 0).metadata
    return JobDetails(name, status, metadata=metadata)


@pytest.mark.parametrize(
    ("jobs", "follows", "next_id"),
    [
        pytest.param([], False, "mine", id="nothing there: the id as written"),
        pytest.param([chosen("RUNNING", "mine")], True, "mine", id="one that runs is followed"),
        pytest.param([chosen("FAILED", "mine")], False, "mine-2", id="one that has failed: the second"),
        pytest.param([chosen("FAILED", "mine"), chosen("STOPPED", "mine-2")], False, "mine-3", id="two: the third"),
        pytest.param([chosen("FAILED", "mine"), chosen("PENDING", "mine-2")], True, "mine-2", id="the newest counts"),
        pytest.param([chosen("RUNNING", "mine", run_id="run-one-1")], True, "mine", id="of a run that is continued"),
        pytest.param([chosen("RUNNING", "mine", digest="other")], False, "mine-2", id="of other code: not followed"),
    ],
)
def test_which_job_a_call_with_a_chosen_id_is_about(jobs: list[JobDetails], follows: bool, next_id: str) -> None:
    attempt = choose_numbered(IDENTITY, "mine", jobs)
    assert (attempt.existing is not None, attempt.submission_id) == (follows, next_id)


@pytest.mark.parametrize(
    ("metadata", "is_ours"),
    [
        pytest.param(IDENTITY.metadata, True, id="of this run"),
        pytest.param(CallIdentity(("run-one-1",), "step", "x", 7).metadata, True, id="of a run that is continued"),
        pytest.param(CallIdentity(("run-0",), "step", "digest", 0).metadata, False, id="of another run"),
        pytest.param(CallIdentity(IDENTITY.runs, "other", "digest", 0).metadata, False, id="of another step"),
        pytest.param({CALL_KEY: IDENTITY.key("run-two-2")}, False, id="without a step"),
        pytest.param({STEP_KEY: ""}, False, id="with an empty one"),
        pytest.param({}, False, id="of somebody who does not use this client"),
    ],
)
def test_whose_job_it_is(metadata: dict[str, str], is_ours: bool) -> None:
    assert is_of_step(IDENTITY, JobDetails("mine", "RUNNING", metadata=metadata)) is is_ours


def test_ids_differ_by_run_step_job_call_and_attempt() -> None:
    identities = [
        IDENTITY,
        CallIdentity(IDENTITY.runs, "other", "digest", 0),
        CallIdentity(IDENTITY.runs, "step", "other", 0),
        CallIdentity(IDENTITY.runs, "step", "digest", 1),
    ]
    ids = {one.submission_id(run, attempt) for one in identities for run in IDENTITY.runs for attempt in (0, 1)}
    assert len(ids) == 16


def test_the_digest_is_that_of_what_is_submitted() -> None:
    first = digest_of({"entrypoint": "a", "metadata": {"x": "1", "y": "2"}}, {"n": 1})
    assert first == digest_of({"metadata": {"y": "2", "x": "1"}, "entrypoint": "a"}, {"n": 1})
    assert first != digest_of({"entrypoint": "a", "metadata": {"x": "1", "y": "2"}}, {"n": 2})
