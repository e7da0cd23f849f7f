"""Ten lines about a failure: its cause first, then what was seen. Pure."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from dagster_ray.core.failures.causes import OWN_NEEDS
from dagster_ray.kuberay._bundle.collected import Collected
from dagster_ray.kuberay._diagnosis.cluster_facts import events_of, is_head
from dagster_ray.kuberay._diagnosis.losses import losses_of
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, mappings, name_of, text, time_of, whole

_LIMIT = 400
# `package.module.SomeError: text`, as Python prints the end of a traceback. Any other line with a colon has blanks.
_ERROR_LINE = re.compile(r"(?:\w+\.)*[A-Z]\w+(?:\(\w+\))?: ")
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_TELLING = {"HeadPodReady": "False", "RayClusterProvisioned": "False", "RayClusterReplicaFailure": "True"}


def summary_lines(facts: Collected) -> list[tuple[str, str]]:
    """Return up to ten lines, each with its heading; none is longer than 400 characters.

    Args:
        facts: What was read.
    """
    failure = facts.failure
    lines = (
        ("Cause", cause_of(facts)),
        ("Failure class", failure.judgement.failure_class),
        ("Error", _innermost(failure.error) or failure.judgement.why),
        ("Diagnosis", _diagnosis(facts)),
        ("Cluster", f"{facts.about.target}: {_state(facts)}"),
        ("Pods", _pods(facts.pods)),
        ("Failed tasks and actors", _failed(facts)),
        ("Last warning", _last_warning(facts)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in facts.about.versions.items())),
        ("Not read", ", ".join(facts.unread)),
    )
    return [(heading, _short(said)) for heading, said in lines if said]


def cause_of(facts: Collected) -> str:
    """Return the cause in one sentence: what became of pods, what keeps the cluster away, or the step's own error."""
    why, task = facts.failure.judgement.why, _task_of(facts)
    cluster = name_of(facts.raycluster) or name_of(facts.rayjob)
    losses = losses_of(facts.pods, facts.events, cluster, now=time_of(facts.about.time))
    unsaid = [loss.sentence for loss in losses if loss.sentence not in why]
    if not unsaid and facts.diagnosis is not None and facts.diagnosis.sentence not in why:
        unsaid = [f"{facts.diagnosis.reason}: {facts.diagnosis.sentence}"]
    if any(loss.is_head and loss.kind not in OWN_NEEDS and loss.sentence in why for loss in losses):
        why = f"the head was lost: {why}"
    elif task and not unsaid:
        # Ray's error has the whole traceback of the task in it.
        why = f"task {task} failed: {_innermost(facts.failure.error) or why}"
    return f"{why} Seen in the cluster: {unsaid[0]}" if unsaid else why


def _task_of(facts: Collected) -> str:
    """Return the name of the failed task that the error is from; empty if it is from none that is known.

    Ray writes `ray::name() (pid=...)` where the traceback of a task begins (`RayTaskError` of ray/exceptions.py).
    """
    error = facts.failure.error
    found: list[tuple[int, str]] = []
    for task in facts.tasks:
        names = [name for key in ("name", "func_or_class_name") if (name := text(task, key))]
        found += [(place, names[0]) for name in names if (place := error.rfind(f"ray::{name}(")) >= 0]
    return max(found)[1] if found else ""  # the last one is the innermost, which the others have called


def _diagnosis(facts: Collected) -> str:
    found = facts.diagnosis
    return "" if found is None else f"{found.code}: {found.sentence} {found.remedy}"


def _state(facts: Collected) -> str:
    job, cluster = mapping(at(facts.rayjob, "status")), mapping(at(facts.raycluster, "status"))
    said = [
        text(job, "jobDeploymentStatus"),
        text(job, "jobStatus"),
        text(job, "message"),
        text(cluster, "state"),
        text(cluster, "reason"),
    ]
    conditions = [
        f"{condition.get('type')}={condition.get('status')} ({condition.get('reason')})"
        for condition in mappings(cluster.get("conditions"))
        if _TELLING.get(text(condition, "type")) == condition.get("status")
    ]
    return ", ".join([*(part for part in said if part), *conditions]) or "no status"


def _pods(pods: Sequence[Manifest]) -> str:
    """Return how many pods there are in each phase, and what is wrong with their containers."""
    phases = Counter(text(pod, "status", "phase") or "unknown" for pod in pods)
    counted = ", ".join(f"{count} {phase}" for phase, count in sorted(phases.items())) or "none"
    troubles = [*dict.fromkeys(trouble for pod in pods for trouble in _troubles(pod))]
    return counted + ("; " + "; ".join(troubles[:4]) if troubles else "")


def _troubles(pod: Manifest) -> Iterator[str]:
    where = "head" if is_head(pod) else name_of(pod)
    reason = text(pod, "status", "reason")
    if reason:
        yield f"{where}: {reason}"
    for status in mappings(at(pod, "status", "containerStatuses")):
        waiting = text(status, "state", "waiting", "reason")
        ended = text(status, "state", "terminated", "reason") or text(status, "lastState", "terminated", "reason")
        restarts = whole(status, "restartCount")
        said = [part for part in (waiting, ended, f"{restarts} restarts" if restarts else "") if part]
        if said:
            yield f"{where}, container {text(status, 'name')}: {', '.join(said)}"
    for condition in mappings(at(pod, "status", "conditions")):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield f"{where}: {text(condition, 'reason')}"


def _failed(facts: Collected) -> str:
    tasks = Counter((text(task, "name"), text(task, "error_type")) for task in facts.tasks)
    dead = Counter(text(actor, "class_name") for actor in facts.actors)
    said = [f"{count} x task {name} ({error})" for (name, error), count in tasks.most_common(3)]
    said += [f"{count} x actor {name}" for name, count in dead.most_common(2)]
    return ", ".join(said)


def _last_warning(facts: Collected) -> str:
    warnings = [event for event in facts.events if event.get("type") == "Warning"]
    known = events_of(warnings, ())
    return f"{known[-1].kind} {known[-1].name}: {known[-1].reason}: {known[-1].message}" if known else ""


def _innermost(error: str) -> str:
    """Return the line of a chain of tracebacks that names the error which caused all others."""
    named = [line for line in error.splitlines() if _ERROR_LINE.match(line)]
    return named[-1] if named else ""


def _short(said: str) -> str:
    line = " ".join(_COLOR.sub("", said).split())
    return line if len(line) <= _LIMIT else line[:_LIMIT] + "..."
