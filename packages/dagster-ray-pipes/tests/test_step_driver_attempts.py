"""Which job an attempt of a step in the cluster goes on with: tables."""

import pytest

from dagster_ray.pipes._job_answers import JobDetails
from dagster_ray.pipes._reattach import CallIdentity
from dagster_ray.pipes._step_driver.attempts import EarlierAttempts, choose_job
from dagster_ray.pipes._submission import NONCE

IDENTITY = CallIdentity(("run",), "step", "body", 0)


def job(status: str, nonce: str = "ours") -> JobDetails:
    return JobDetails("job", status, metadata={NONCE: nonce})


@pytest.mark.parametrize(
    ("ended", "jobs", "number", "is_followed"),
    [
        pytest.param([], [], 0, False, id="the first attempt"),
        pytest.param([], [job("RUNNING")], 0, True, id="one that runs"),
        pytest.param([], [job("PENDING")], 0, True, id="one that waits for resources"),
        pytest.param([], [job("SUCCEEDED")], 0, True, id="one that has told all to nobody"),
        pytest.param([], [job("FAILED")], 1, False, id="one whose process has died"),
        pytest.param([], [job("STOPPED")], 1, False, id="one that was stopped"),
        pytest.param([], [job("RUNNING", "bad")], 1, False, id="one that an attempt could not use"),
        pytest.param([], [job("FAILED"), job("RUNNING")], 1, True, id="the newest counts"),
        pytest.param([0], [], 1, False, id="an earlier body has ended its attempt, perhaps on another cluster"),
        pytest.param([0], [job("RUNNING")], 1, True, id="and the next one runs here"),
        pytest.param([0, 1], [job("FAILED")], 3, False, id="and the third one has died"),
    ],
)
def test_which_job_an_attempt_is_about(
    ended: list[int], jobs: list[JobDetails], number: int, is_followed: bool
) -> None:
    """`jobs` are those of the cluster from the first number on that is of interest."""
    first = EarlierAttempts(frozenset(IDENTITY.submission_id("run", each) for each in ended)).first_number
    attempt = choose_job(IDENTITY, first, jobs, {"bad"})
    assert attempt.submission_id == IDENTITY.submission_id("run", number)
    assert (attempt.existing is not None) is is_followed
