"""Which files a bundle has, of the facts about a failure: no secrets in any of them, and an index page. Pure."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import yaml

from dagster_ray.kuberay._bundle.collected import Collected
from dagster_ray.kuberay._bundle.redaction import redacted, redacted_text
from dagster_ray.kuberay._bundle.summary import summary_lines
from dagster_ray.kuberay._diagnosis.cluster_facts import events_of
from dagster_ray.kuberay._kubernetes.fields import Manifest, mapping, name_of

INDEX = "index.md"
_LIMIT_TEXT = 262_144
# What is cut off need not be searched for secrets; these take up more room than what replaces them.
_LIMIT_SEARCHED = 300_000
# What Ray's state API says of a task or actor beside this is of no use here, and has runtime environments in it.
_OF_TASK = (
    "task_id", "attempt_number", "name", "func_or_class_name", "type", "state", "job_id", "actor_id", "node_id",
    "worker_id", "worker_pid", "error_type", "error_message", "required_resources", "start_time_ms", "end_time_ms",
)  # fmt: skip
_OF_ACTOR = (
    "actor_id", "class_name", "name", "state", "job_id", "node_id", "pid", "ray_namespace", "required_resources",
    "death_cause", "num_restarts",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is written.

    Attributes:
        files: Texts by path; the index page first.
        summary: The index page's first lines, as a list of Markdown.
    """

    files: Mapping[str, str]
    summary: str


def bundle_of(facts: Collected) -> Bundle:
    """Return the files of a bundle.

    Args:
        facts: What was read.
    """
    objects, found = redacted(_objects(facts))
    secrets = found | facts.secrets
    files = {path: redacted_text(_yaml(objects[path]), secrets) for path in objects if objects[path]}
    files |= {path: _end(redacted_text(_end(said, _LIMIT_SEARCHED), secrets)) for path, said in _texts(facts) if said}
    lines = [f"- **{heading}**: {redacted_text(said, secrets)}" for heading, said in summary_lines(facts)]
    summary = "\n".join(lines)
    index = _index(facts, files, summary, secrets)
    return Bundle({INDEX: index, **files}, summary)


def _objects(facts: Collected) -> dict[str, object]:
    """Return what is written as YAML, by path."""
    return {
        "rayjob.yaml": facts.rayjob,
        "raycluster.yaml": facts.raycluster,
        "pods.yaml": [*facts.pods],
        "workloads.yaml": [*facts.workloads],
        "tasks.yaml": [_chosen(task, _OF_TASK) for task in facts.tasks],
        "actors.yaml": [_chosen(actor, _OF_ACTOR) for actor in facts.actors],
    }


def _chosen(row: Manifest, keys: tuple[str, ...]) -> dict[str, object]:
    """Return some columns of a row; a death's context has the specification of the task that created the actor."""
    found = {key: row[key] for key in keys if row.get(key) not in (None, "", {})}
    death = mapping(found.get("death_cause"))
    if death:
        reasons = {kind: mapping(said).get("error_message", "") for kind, said in death.items()}
        found["death_cause"] = {kind: said for kind, said in reasons.items() if said} or [*death]
    return found


def _texts(facts: Collected) -> Iterator[tuple[str, str]]:
    """Yield what is written as text, each with its path."""
    yield "error.txt", "\n\n".join(f"Step {one.step_key}:\n{one.error}" for one in facts.failures)
    found = facts.diagnosis
    if found is not None:
        said = f"{found.code}: {found.reason}\n{found.sentence}\nTo do: {found.remedy}\n{found.log}"
        yield "diagnosis.txt", said
    named = [("RayJob", facts.rayjob or {}), ("RayCluster", facts.raycluster or {})]
    named += [("Pod", pod) for pod in facts.pods]
    events = events_of(facts.events, named)
    rows = (f"{one.time}  {one.count}x  {one.kind} {one.name}  {one.reason}: {one.message}" for one in events)
    yield "events.txt", "\n".join(rows)
    for log in facts.logs:
        kind = ".previous" if log.previous else ""
        yield f"logs/{log.pod}.{log.container}{kind}.log", log.text
    yield "driver.log", facts.driver_log or ""
    yield "versions.json", json.dumps(dict(facts.about.versions), indent=2)


def _end(said: str, limit: int = _LIMIT_TEXT) -> str:
    """Return the end of a text, from the beginning of a line on."""
    if len(said) <= limit:
        return said.rstrip() + "\n"
    return said[-limit:].partition("\n")[2].rstrip() + "\n"


def _yaml(value: object) -> str:
    """Return an object as YAML without anchors; whatever is not of JSON becomes its text."""
    plain = json.loads(json.dumps(value, default=str))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120)


def _index(facts: Collected, files: Mapping[str, str], summary: str, secrets: frozenset[str]) -> str:
    about = facts.about
    steps = ", ".join(f"`{failure.step_key}`" for failure in facts.failures if failure.step_key) or "the work"
    run = f" of run `{about.run_id}` ({about.job})" if about.run_id else ""
    table = [f"| [{path}]({path}) | {len(said.encode())} |" for path, said in files.items()]
    unread = [
        f"- {part} could not be read: {redacted_text(' '.join(why.split()), secrets)}"
        for part, why in facts.unread.items()
    ]
    parts = [
        f"# Why {steps} failed",
        f"Step {steps}{run} failed on {about.target}. These facts are of {about.time}, before anything was cleaned up. "
        f"The driver was {about.driver}.",
        summary,
        "## Files",
        "\n".join(["| file | bytes |", "|---|---|", *table]),
    ]
    if unread:
        parts += ["## Not read", "\n".join(unread)]
    parts.append(
        "Values of environment variables, and what looks like a credential, were replaced by `(redacted)`. "
        "Look at a bundle before you pass it on: a log can contain anything."
    )
    return "\n\n".join(parts) + "\n"


def summary_of_index(index: str) -> str:
    """Return the summary of an index page; empty if it has none.

    Args:
        index: The page.
    """
    lines = index.splitlines()
    first = next((n for n, line in enumerate(lines) if line.startswith("- **Cause**")), None)
    if first is None:
        return ""
    after = next((n for n, line in enumerate(lines[first:], first) if not line.startswith("- **")), len(lines))
    return "\n".join(lines[first:after])


def folder_of(facts: Collected) -> tuple[str, ...]:
    """Return the names of the folders of a bundle below the place that the user names: run, step, time and cluster."""
    about = facts.about
    keys = [failure.step_key for failure in facts.failures]
    step = keys[0] if len(keys) == 1 and keys[0] else "steps"
    cluster = name_of(facts.rayjob) or name_of(facts.raycluster) or about.target.rpartition("/")[2]
    when = about.time.replace(":", "").replace("-", "")
    return tuple(_plain(part) for part in (about.run_id or "no-run", step, f"{when}-{cluster}"))


def _plain(part: str) -> str:
    """Return a name that means nothing to a file system or URL: a mapped step is called `step[key]`."""
    kept = "".join(one if one.isalnum() or one in "-_." else "_" for one in part)
    return kept.strip(".") or "_"
