"""What a run's log says of failures and of their evidence is read again as it was written."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pytest
from typing_extensions import override

from dagster_ray.core import BaseRayResource, DagsterContext, Deadline, Lifecycle, StepOutcome
from dagster_ray.core.failures.causes import ErrorFacts, Failure, Judgement, Kept, judged
from dagster_ray.core.failures.record import FailedStep, failures_after, kept_of_run, report_kept


@dataclass
class Told:
    kept: Kept | None = None
    error: Exception | None = None
    failures: list[Failure] = field(default_factory=list[Failure])


TOLD = Told()


class Evident(BaseRayResource):
    """A backend that keeps evidence and has no cluster."""

    lifecycle: Lifecycle = Lifecycle(connect=False)

    @property
    @override
    def address(self) -> str:
        return "127.0.0.1:1"

    @property
    @override
    def display_name(self) -> str:
        return "cluster a"

    @override
    def create_cluster(self, context: DagsterContext, deadline: Deadline) -> None: ...

    @override
    def delete_cluster(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None: ...

    @override
    def keep_evidence(
        self, context: DagsterContext, failures: Sequence[Failure], deadline: Deadline
    ) -> Mapping[str | None, Kept]:
        TOLD.failures = [*failures]
        if TOLD.error is not None:
            raise TOLD.error
        return {failure.step_key: TOLD.kept for failure in failures if TOLD.kept is not None}


@pytest.fixture
def instance() -> Generator[dg.DagsterInstance]:
    TOLD.kept, TOLD.error, TOLD.failures = Kept("s3://bucket/index.md", "- **Cause**: a"), None, []
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def run(instance: dg.DagsterInstance, *, fails: bool = True) -> Any:
    @dg.asset
    def model(ray_cluster: dg.ResourceParam[Any]) -> None:
        if fails:
            raise ValueError("odd number 3")

    return dg.materialize([model], resources={"ray_cluster": Evident()}, instance=instance, raise_on_error=False)


def test_a_backend_keeps_the_evidence_of_a_step_that_failed_and_the_log_links_it(instance: dg.DagsterInstance) -> None:
    result = run(instance)
    (failure,) = TOLD.failures
    assert (failure.step_key, failure.judgement) == ("model", Judgement("user", "ValueError: odd number 3"))
    assert "odd number 3" in failure.error
    assert kept_of_run(instance, result.run_id) == [("model", TOLD.kept)]
    assert failures_after(instance, result.run_id, 0) == [failure]


def test_each_step_of_a_process_that_failed_at_last_has_its_own_evidence(instance: dg.DagsterInstance) -> None:
    attempts: list[int] = []

    @dg.asset
    def first(ray_cluster: dg.ResourceParam[Any]) -> None:
        raise ValueError("odd number 3")

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=1))
    def once(ray_cluster: dg.ResourceParam[Any]) -> None:
        attempts.append(len(attempts))
        if len(attempts) == 1:
            raise ValueError("the first time")

    @dg.asset(deps=[once])
    def last(ray_cluster: dg.ResourceParam[Any]) -> None:
        raise KeyError("no column")

    resources = {"ray_cluster": Evident()}
    result = dg.materialize([first, once, last], resources=resources, instance=instance, raise_on_error=False)
    assert {failure.step_key for failure in TOLD.failures} == {"first", "last"}
    assert {step for step, _ in kept_of_run(instance, result.run_id)} == {"first", "last"}


def test_an_error_of_the_evidence_changes_nothing_but_one_warning(instance: dg.DagsterInstance) -> None:
    TOLD.error = RuntimeError("broken")
    result = run(instance)
    log = [str(entry) for entry in instance.all_logs(result.run_id)]
    assert sum("the evidence of the failure could not be kept: RuntimeError" in line for line in log) == 1
    assert any("ValueError: odd number 3" in line for line in log)


def test_nothing_is_kept_of_a_success(instance: dg.DagsterInstance) -> None:
    assert run(instance, fails=False).success
    assert TOLD.failures == []


def test_a_path_and_a_url_are_read_again(instance: dg.DagsterInstance) -> None:
    made = instance.create_run_for_job(dg.job(name="a")(lambda: None))
    every = [Kept("/var/log/index.md", "a"), Kept("gs://bucket/index.md", "b")]
    for kept in every:
        report_kept(FailedStep(instance, made, None, "cluster a"), kept)
    assert kept_of_run(instance, made.run_id) == [(None, kept) for kept in every]


def test_the_error_around_a_bodys_own_is_not_the_cause() -> None:
    around = ErrorFacts("dagster._core.errors.DagsterExecutionStepExecutionError", "Error occurred")
    assert judged([around, ErrorFacts("ValueError", "odd")], tuple) == Judgement("user", "ValueError: odd")
