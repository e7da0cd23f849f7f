"""Jobs around the probes, for runs in this process and in others."""

# Dagster's decorators are typed in part only.
# pyright: reportUnknownMemberType=false

import logging
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from probe_clusters import Probe, ProbeCluster, hang, journal_lines, plain_cluster, plain_probe
from typing_extensions import override

POLICIES = ("always", "on_exception", "never")
KINDS: dict[str, object] = {"inherits": ProbeCluster.configure_at_launch(), "conforms": plain_probe}


def succeed(context: dg.OpExecutionContext, probe: Probe) -> None:
    """The step does its work."""


def fail(context: dg.OpExecutionContext, probe: Probe) -> None:
    raise ValueError("the step's own error")


def retry_once(context: dg.OpExecutionContext, probe: Probe) -> None:
    if context.retry_number == 0:
        raise dg.RetryRequested(max_retries=1)


def retry_forever(context: dg.OpExecutionContext, probe: Probe) -> None:
    raise dg.RetryRequested(max_retries=1)


def exit_(context: dg.OpExecutionContext, probe: Probe) -> None:
    raise SystemExit(3)


def hang_in_step(context: dg.OpExecutionContext, probe: Probe) -> None:
    probe.note("hanging")
    hang(Path(f"{probe.journal}.never"))


@dataclass(frozen=True)
class Case:
    """One step with its own cluster: what happens, and what the cluster is told about it in each attempt."""

    name: str
    outcomes: tuple[str, ...]
    """In an executor that runs every attempt in an own process."""
    outcome_in_process: str
    """In one process, where the cluster lives until the last attempt."""
    body: Callable[[dg.OpExecutionContext, Probe], None] = succeed
    fails_in: str = ""
    neighbour_fails_at: int | None = None
    """At which attempt a resource that is set up after the cluster fails."""


CASES = (
    Case("success", ("succeeded",), "succeeded"),
    Case("exception", ("failed",), "failed", fail),
    Case("retry_then_success", ("retry requested", "succeeded"), "succeeded", retry_once),
    Case("retries_used_up", ("retry requested", "failed"), "failed", retry_forever),
    Case("create_fails", ("set-up failed",), "set-up failed", fails_in="create"),
    Case("wait_fails", ("set-up failed",), "set-up failed", fails_in="wait"),
    Case("connect_fails", ("set-up failed",), "set-up failed", fails_in="connect"),
    Case("neighbour_fails", ("unknown",), "unknown", neighbour_fails_at=0),
)
# Only an own process for each attempt sets up resources again.
RETRY_CASES = (Case("neighbour_fails_later", ("retry requested", "unknown"), "", retry_once, neighbour_fails_at=1),)


def cluster_key(case: Case, policy: str) -> str:
    return f"{policy}_{case.name}"


def step_of(key: str, body: Callable[[dg.OpExecutionContext, Probe], None], *also: str) -> dg.OpDefinition:
    @dg.op(name=f"step_{key}", required_resource_keys={key, *also})
    def step(context: dg.OpExecutionContext) -> None:
        probe: Probe = getattr(context.resources, key).probe
        probe.reach("step")
        body(context, probe)

    return step


def neighbour_of(key: str, fails_at: int) -> dg.ResourceDefinition:
    """Return a resource that is set up after the cluster, because it needs the cluster."""

    @dg.resource(required_resource_keys={key})
    def neighbour(context: dg.InitResourceContext) -> None:
        probe: Probe = getattr(context.resources, key).probe
        if [line["did"] for line in journal_lines(probe.journal) if line["cluster"] == key].count("step") == fails_at:
            raise ValueError("the neighbour's own error")

    return neighbour


def job_of(cases: Mapping[str, Case], kind: str, **options: Any) -> dg.JobDefinition:
    resources: dict[str, object] = dict.fromkeys(cases, KINDS[kind])
    neighbours = {key: case.neighbour_fails_at for key, case in cases.items() if case.neighbour_fails_at is not None}
    resources |= {f"{key}_neighbour": neighbour_of(key, attempt) for key, attempt in neighbours.items()}
    steps = [
        step_of(key, case.body, *([f"{key}_neighbour"] if key in neighbours else [])) for key, case in cases.items()
    ]

    @dg.job(resource_defs=resources, **options)
    def probe_job() -> None:
        for step in steps:
            step()

    return probe_job


def probe_config(journal: str, label: str, cleanup: str = "always", **more: object) -> dict[str, Any]:
    return {"config": {"journal": journal, "label": label, "lifecycle": {"cleanup": cleanup}, **more}}


def all_cases() -> dict[str, Case]:
    return {cluster_key(case, policy): case for case in (*CASES, *RETRY_CASES) for policy in POLICIES}


def config_of_all(journal: str, policies: tuple[str, ...]) -> dict[str, Any]:
    cases = ((case, policy) for case in (*CASES, *RETRY_CASES) for policy in policies)
    keys = {cluster_key(case, policy): (case, policy) for case, policy in cases}
    return {key: probe_config(journal, key, policy, fails_in=case.fails_in) for key, (case, policy) in keys.items()}


def every_case() -> dg.JobDefinition:
    return job_of(all_cases(), "inherits")


def one_success() -> dg.JobDefinition:
    return job_of({"ray_cluster": CASES[0]}, "inherits")


def one_plain_success() -> dg.JobDefinition:
    return job_of({"ray_cluster": CASES[0]}, "conforms")


def one_exit() -> dg.JobDefinition:
    return job_of({"ray_cluster": Case("exit", ("failed",), "failed", exit_)}, "inherits")


def one_hanging_step() -> dg.JobDefinition:
    return job_of({"ray_cluster": Case("hanging", ("interrupted",), "interrupted", hang_in_step)}, "inherits")


def two_clusters() -> dg.JobDefinition:
    """One step with two clusters; the second is set up after the first, and cleaned up before it."""

    second = dg.ResourceDefinition(plain_cluster, config_schema=dict, required_resource_keys={"ray_cluster"})
    step = step_of("ray_cluster", succeed, "second")

    @dg.job(resource_defs={"ray_cluster": ProbeCluster.configure_at_launch(), "second": second})
    def probe_job() -> None:
        step()

    return probe_job


class InterruptAfterSuccess(logging.Handler):
    """Sends a signal between the success of a step and the teardown of its resources, in Dagster's own code."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "dagster_event", None)
        if event is not None and event.event_type_value == "STEP_SUCCESS":
            os.kill(os.getpid(), signal.SIGINT)


@dg.logger(config_schema=dict)
def interrupting_logger(_context: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.Logger("interrupting")
    logger.addHandler(InterruptAfterSuccess())
    return logger


def interrupted_after_success() -> dg.JobDefinition:
    return job_of({"ray_cluster": CASES[0]}, "inherits", logger_defs={"interrupting": interrupting_logger})


def without_ray() -> dg.JobDefinition:
    """A step without any of our resources, to see what Dagster itself does."""

    @dg.op(config_schema={"journal": str, "label": str, "hangs_in": str})
    def hanging(context: dg.OpExecutionContext) -> None:
        probe = Probe(**context.op_config)
        probe.note("create", run_id=context.run_id)
        probe.reach("step")

    @dg.job
    def probe_job() -> None:
        hanging()

    return probe_job
