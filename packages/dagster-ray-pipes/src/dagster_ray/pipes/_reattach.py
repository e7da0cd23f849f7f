"""Which job a step's call of a Pipes client means: a new one, or one that an earlier attempt has left.

The submission id is derived from the run, the step, the job and the position of the call in the step, so that an
attempt after a crash finds the job without anything but the job server. An attempt that fails for good has a number in
the id; the next one takes the next number.
"""

import hashlib
import json
import logging
import os
import uuid
import weakref
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import dagster as dg

from dagster_ray.core import StepContext, image_candidates, run_of, step_key_of
from dagster_ray.pipes._job_answers import JobDetails
from dagster_ray.pipes._messages import LogLine
from dagster_ray.pipes._packages import with_content
from dagster_ray.pipes._submission import NONCE

STEP_KEY, CALL_KEY = "dagster-ray/step", "dagster-ray/call"
"""Metadata of a job: the run and step that submitted it, and the call of the client within the step."""
SUBMITTING = "Submitting the Ray job"
"""How the log message begins that precedes a submission."""
_HASH_CHARACTERS = 12
_LONGEST_CHAIN = 64
_PAGE = 1000
_LEVELS = {number: name for name, number in logging.getLevelNamesMapping().items() if name not in {"WARN", "FATAL"}}
_FROM_FAILURE = ("dagster/is_resume_retry", "dagster/is_asset_resume_retry")
_calls: "weakref.WeakKeyDictionary[StepContext, Counter[str]]" = weakref.WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class CallIdentity:
    """One call of a Pipes client in a step.

    Args:
        runs: The step's run, and before it the runs that it continues from their failure; newest first.
        step_key: The step.
        digest: A hash of what is submitted.
        number: How often the step has submitted the same before.
    """

    runs: Sequence[str]
    step_key: str
    digest: str
    number: int

    def key(self, run_id: str) -> str:
        """Return what names the call in one of its runs, whatever the attempt."""
        text = json.dumps([run_id, self.step_key, self.digest, self.number])
        return f"{run_id[:8]}-{_hash(text)}"

    def submission_id(self, run_id: str, attempt: int) -> str:
        """Return the submission id of an attempt: 0, 1, ..."""
        return f"dagster-{self.key(run_id)}-{attempt}"

    def step_mark(self, run_id: str) -> str:
        """Return what names the step in one of its runs, whatever it submits."""
        return _hash(json.dumps([run_id, self.step_key]))

    @property
    def metadata(self) -> dict[str, str]:
        """What the metadata of a job say of the call that made it."""
        return {STEP_KEY: self.step_mark(self.runs[0]), CALL_KEY: self.key(self.runs[0])}


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a call does.

    Attributes:
        submission_id: The job that it is about.
        existing: The job, if it is there already and is to be followed; None: it is to be submitted.
    """

    submission_id: str
    existing: JobDetails | None = None


def digest_of(job: Mapping[str, Any], extras: Mapping[str, Any] | None) -> str:
    """Return a hash of what is submitted. Two equal jobs of a step differ by their number. Pure."""
    text = json.dumps([dict(job), extras], sort_keys=True, default=str)
    return _hash(text)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_CHARACTERS]


def code_of(job: Mapping[str, Any], image: str | None, git_sha: str | None) -> dict[str, Any]:
    """Return what tells whether two submissions run the same code.

    It is the content of the local packages. Where there is no package the code is in the image.

    Raises:
        InvalidFieldError: A local package cannot be read.
    """
    runtime_env = with_content(job.get("runtime_env", {}))
    if runtime_env.get("working_dir") or runtime_env.get("py_modules"):
        return {"runtime_env": runtime_env}
    return {"runtime_env": runtime_env, "image": image, "git_sha": git_sha}


def _image_of(context: StepContext) -> str | None:
    found = image_candidates(context)
    return found.run_tags.get("dagster/image") or found.code_origin_image or found.environ_image


def call_identity(
    context: StepContext, job: Mapping[str, Any], extras: Mapping[str, Any] | None, image: str | None = None
) -> CallIdentity:
    """Return who calls, and count the call: the next one with the same job is another.

    Args:
        context: The context of the step.
        job: What is submitted.
        extras: What the job's Pipes context carries.
        image: The image of the job's node. None: that of the code location is taken for it.

    Raises:
        InvalidFieldError: A local package of the job cannot be read.
    """
    code = code_of(job, image or _image_of(context), os.environ.get("DAGSTER_CLOUD_GIT_SHA"))
    digest = digest_of({**job, **code}, extras)
    calls = _calls.setdefault(context, Counter())
    number = calls[digest]
    calls[digest] += 1
    step_key = step_key_of(context)
    if step_key is None:  # called directly: it has no run, no log and no later attempt
        return CallIdentity((uuid.uuid4().hex,), "direct", digest, number)
    return CallIdentity(tuple(_runs(context)), step_key, digest, number)


def _runs(context: StepContext) -> Iterator[str]:
    """Yield the run, then those that it continues: only across re-executions from failure.

    A re-execution of all steps wants everything anew (dagster/_core/pipes/reattach.py has the same rule).
    """
    run = run_of(context)
    seen: set[str] = set()
    while run is not None and run.run_id not in seen and len(seen) < _LONGEST_CHAIN:
        seen.add(run.run_id)
        yield run.run_id
        if not any(run.tags.get(tag) == "true" for tag in _FROM_FAILURE) or run.parent_run_id is None:
            return
        run = context.instance.get_run_by_id(run.parent_run_id)


Rejected: TypeAlias = Callable[[], Container[str]]
"""The nonces of jobs that no attempt may follow; asked only if there is a job to follow."""


def _nothing() -> Container[str]:
    return ()


def choose(
    identity: CallIdentity, found: Sequence[tuple[str, Sequence[JobDetails]]], rejected: Rejected = _nothing
) -> Attempt:
    """Return what to do, given the jobs of each run, oldest first. Pure.

    A job that runs, waits or has succeeded is followed. One that has failed or was stopped, or that a step could not
    use, is not: a retry is there to try again.
    """
    for run_id, jobs in found:
        if not jobs:
            continue
        newest = jobs[-1]
        if _is_followed(newest, rejected):
            return Attempt(newest.submission_id or identity.submission_id(run_id, len(jobs) - 1), newest)
        break
    own = found[0][1] if found else ()
    return Attempt(identity.submission_id(identity.runs[0], len(own)))


def _is_followed(job: JobDetails, rejected: Rejected) -> bool:
    return job.status not in {"FAILED", "STOPPED"} and job.metadata.get(NONCE, "") not in rejected()


def numbered(submission_id: str, attempt: int) -> str:
    """Return the id of an attempt 0, 1, ... if the user has chosen an id: as written, then with -2, -3, ... Pure."""
    return submission_id if attempt == 0 else f"{submission_id}-{attempt + 1}"


def is_of_step(identity: CallIdentity, job: JobDetails) -> bool:
    """Return whether a job was submitted by the step, in its run or in one that the run continues. Pure."""
    return job.metadata.get(STEP_KEY) in {identity.step_mark(run_id) for run_id in identity.runs}


def choose_numbered(
    identity: CallIdentity, submission_id: str, jobs: Sequence[JobDetails], rejected: Rejected = _nothing
) -> Attempt:
    """Return what to do if the user has chosen an id, given the step's jobs with this id, by their number. Pure.

    The id names the attempts of all calls of the step that choose it, also of those whose code has changed since.
    """
    keys = {identity.key(run_id) for run_id in identity.runs}
    own = [job for job in jobs if job.metadata.get(CALL_KEY) in keys]
    if own and _is_followed(own[-1], rejected):
        return Attempt(own[-1].submission_id, own[-1])
    return Attempt(numbered(submission_id, len(jobs)))


def delivered_logs(
    context: StepContext, identity: CallIdentity, submission_id: str, log: logging.Logger
) -> tuple[LogLine, ...]:
    """Return the log messages that the step has in the event log since it first named the job.

    Messages of a job are logged in the process that reads them, at once; so the event log itself says what was
    delivered, also after a crash.
    """
    lines: list[LogLine] = []
    named = False
    try:
        for run_id in reversed(identity.runs):
            for entry in entries_of_run(context.instance, run_id):
                if entry.step_key != identity.step_key or entry.dagster_event is not None:
                    continue
                if entry.user_message.startswith(f"{SUBMITTING} {submission_id} "):
                    lines.clear()  # an id can be used again, where a head has forgotten its jobs
                if named:
                    lines.append((_level_name(entry.level), entry.user_message))
                named = named or submission_id in entry.user_message
    except Exception:
        log.warning("The run's log could not be read, so log messages of the job may appear twice.", exc_info=True)
    return tuple(lines)


def _level_name(level: object) -> str:
    number = level if isinstance(level, int) else logging.INFO
    return _LEVELS.get(number, str(number))


def entries_of_run(
    instance: dg.DagsterInstance, run_id: str, kinds: set[dg.DagsterEventType] | None = None
) -> Iterator[dg.EventLogEntry]:
    """Yield what the event log has of a run, oldest first.

    Args:
        instance: Dagster's instance.
        run_id: The run.
        kinds: The types of events. None: all entries, messages of the log included.
    """
    cursor: str | None = None
    while True:
        page = instance.get_records_for_run(run_id, cursor=cursor, of_type=kinds, limit=_PAGE)
        yield from (record.event_log_entry for record in page.records)
        if not page.has_more:
            return
        cursor = page.cursor
