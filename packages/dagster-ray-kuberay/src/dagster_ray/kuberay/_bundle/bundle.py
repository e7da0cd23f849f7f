"""Which files bundles have, of the facts about failures: no secrets in any of them, and an index page. Pure."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
_LIMIT_WHY = 200
_MOST_OTHERS = 50
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
    """What is written of one step.

    Attributes:
        step_key: The step; None: the work was no step of a run.
        folders: The names of the folders below the place that the user names: run, step, time and cluster.
        files: Texts by path; the index page first.
        summary: The index page's first lines, as a list of Markdown.
    """

    step_key: str | None
    folders: tuple[str, ...]
    files: Mapping[str, str]
    summary: str


def bundles_of(steps: Sequence[Collected]) -> Iterator[Bundle]:
    """Yield the bundle of each step that failed, each made when it is asked for.

    What is about the cluster is in the first one alone, so that another step costs no more than what is its own; the
    index of each names all files, and the other steps.

    Args:
        steps: What was read of each step, at least one; what is about the cluster is the same in all of them.
    """
    objects, found = redacted(_of_cluster(steps[0]))
    secrets = found | steps[0].secrets
    own: list[dict[str, object]] = []
    for step in steps:
        objects_of_job, found = redacted(_of_job(step))
        own.append(objects_of_job)
        secrets |= found
    shared = _files(objects, _texts_of_cluster(steps[0]), secrets)
    folders = _folders(steps)
    links = [_link(_beside(place), step, secrets) for place, step in zip(folders, steps, strict=True)]
    for n, step in enumerate(steps):
        files = _files(own[n], _texts_of_step(step), secrets)
        lines = [f"- **{heading}**: {redacted_text(said, secrets)}" for heading, said in summary_lines(step)]
        summary = "\n".join(lines)
        if n == 0:
            files |= shared
        first = _beside(folders[0])
        rows = [*files.items(), *((f"{first}/{path}", said) for path, said in shared.items() if n)]
        index = _index(step, rows, summary, secrets, [*links[:n], *links[n + 1 :]])
        yield Bundle(step.failure.step_key, folders[n], {INDEX: index, **files}, summary)


def _files(objects: Mapping[str, object], texts: Iterable[tuple[str, str]], secrets: frozenset[str]) -> dict[str, str]:
    """Return files by path: objects whose secrets are gone, and texts."""
    files = {path: redacted_text(_yaml(found), secrets) for path, found in objects.items() if found}
    return files | {path: _end(redacted_text(_end(said, _LIMIT_SEARCHED), secrets)) for path, said in texts if said}


def _of_cluster(facts: Collected) -> dict[str, object]:
    """Return what is written of the cluster as YAML, by path."""
    return {
        "rayjob.yaml": facts.rayjob,
        "raycluster.yaml": facts.raycluster,
        "pods.yaml": [*facts.pods],
        "workloads.yaml": [*facts.workloads],
    }


def _of_job(facts: Collected) -> dict[str, object]:
    """Return what is written of a step's job as YAML, by path."""
    return {
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


def _texts_of_step(facts: Collected) -> Iterator[tuple[str, str]]:
    """Yield what is written of a step as text, each with its path."""
    yield "error.txt", f"Step {facts.failure.step_key}:\n{facts.failure.error}"
    yield "driver.log", facts.driver_log or ""


def _texts_of_cluster(facts: Collected) -> Iterator[tuple[str, str]]:
    """Yield what is written of the cluster as text, each with its path."""
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


def _index(
    facts: Collected,
    files: Sequence[tuple[str, str]],
    summary: str,
    secrets: frozenset[str],
    others: Sequence[str],
) -> str:
    about = facts.about
    step = f"`{facts.failure.step_key}`" if facts.failure.step_key else "the work"
    run = f" of run `{about.run_id}` ({about.job})" if about.run_id else ""
    table = [f"| [{path}]({path}) | {len(said.encode())} |" for path, said in files]
    unread = [
        f"- {part} could not be read: {redacted_text(' '.join(why.split()), secrets)}"
        for part, why in facts.unread.items()
    ]
    parts = [
        f"# Why {step} failed",
        f"Step {step}{run} failed on {about.target}. These facts are of {about.time}, before anything was cleaned up. "
        f"The driver was {about.driver}.",
        summary,
        "## Files",
        "\n".join(["| file | bytes |", "|---|---|", *table]),
    ]
    if others:
        parts += ["## Other steps that failed on this cluster", "\n".join(_some(others))]
    if unread:
        parts += ["## Not read", "\n".join(unread)]
    parts.append(
        "Values of environment variables, and what looks like a credential, were replaced by `(redacted)`. "
        "Look at a bundle before you pass it on: a log can contain anything."
    )
    return "\n\n".join(parts) + "\n"


def _link(place: str, step: Collected, secrets: frozenset[str]) -> str:
    """Return a line about a step that failed, with a link to its bundle."""
    why = " ".join(redacted_text(step.failure.judgement.why, secrets).split())
    shown = why if len(why) <= _LIMIT_WHY else why[:_LIMIT_WHY] + "..."
    return f"- [`{step.failure.step_key}`]({place}/{INDEX}): {shown}"


def _some(lines: Sequence[str]) -> Sequence[str]:
    """Return the first lines, and how many more there are."""
    more = len(lines) - _MOST_OTHERS
    return lines if more <= 0 else [*lines[:_MOST_OTHERS], f"- and {more} more"]


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


def _folders(steps: Sequence[Collected]) -> list[tuple[str, ...]]:
    """Return the folders of each bundle: run, step, time and cluster. Each bundle has its own."""
    found: dict[tuple[str, ...], None] = {}
    for facts in steps:
        about, number = facts.about, 1
        cluster = name_of(facts.rayjob) or name_of(facts.raycluster) or about.target.rpartition("/")[2]
        when = f"{about.time.replace(':', '').replace('-', '')}-{cluster}"
        step = name = _plain(facts.failure.step_key or "steps")
        while (place := (_plain(about.run_id or "no-run"), step, _plain(when))) in found:
            number += 1
            step = f"{name}-{number}"  # keys of mapped steps may differ in what no name of a folder has
        found[place] = None
    return [*found]


def _beside(folders: tuple[str, ...]) -> str:
    """Return the path of a bundle from the folder of another one of the run."""
    return "/".join(("..", "..", *folders[1:]))


def _plain(part: str) -> str:
    """Return a name that means nothing to a file system or URL: a mapped step is called `step[key]`."""
    kept = "".join(one if one.isalnum() or one in "-_." else "_" for one in part)
    return kept.strip(".") or "_"
