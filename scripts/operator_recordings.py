"""Make the recordings that the simulated operator is compared with: `python scripts/operator_recordings.py FOLDER...`.

A folder's name holds the operator's version, such as `v1.7.0`; its files are traces, one JSON object a line: events of
watches ({"t", "resource", "type", "object"}) and calls of the client ({"t", "client", "body", "status", "response"}).
Kept are the client's writes, what the dashboard said and when, how long pods took, and the states of RayJobs and
RayClusters and the events as they are compared. The same traces give the same bytes.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "packages/dagster-ray-simulator/tests/operator"))

from compared_states import cluster_state, event_state, job_state, without_repeats  # noqa: E402

from dagster_ray.kuberay._kubernetes.fields import at, mapping, mappings  # noqa: E402

OUTPUT = ROOT / "tests-integration/recordings/operator"
SCENARIOS = ("interactive-", "raycluster-", "head-", "k8sjobmode-", "httpmode-", "invalid-specs")
# This trace ends in the middle of later calls, before the operator's answer to them was seen.
CUT = {("v1.4.2", "invalid-specs"): 54.9}
_PATH = re.compile(r"^(\w+) /api(?:s/ray\.io)?/v1/namespaces/([^/]+)/(rayjobs|rayclusters|pods)(?:/([^/?]+))?$")
# A poll every 3 s saw it, the client asked itself, a new head answers so long before its pod is ready.
_SEEN_SECONDS = 1.0
_ASKED_SECONDS = 0.2
_UP_SECONDS = 2.5
_DEFAULT_STATUS_CHECK_SECONDS = 300
_TIMEOUT_NOTE = re.compile(r"RAYJOB_STATUS_CHECK_TIMEOUT_SECONDS=(\d+)")

Line = Mapping[str, Any]


def client_writes(lines: list[Line]) -> Iterator[dict[str, Any]]:
    """Yield the client's writes that were accepted; a POST with what was stored."""
    for line in lines:
        match = _PATH.match(str(line.get("client")))
        if match is None or int(line["status"]) >= 300 or match[1] == "GET":
            continue
        method, namespace, plural, name = match.groups()
        call: dict[str, Any] = {"t": line["t"], "method": method, "plural": plural, "namespace": namespace}
        if method == "POST":
            call["object"] = _as_posted(line["response"])
        else:
            call["name"] = _node_type(lines, name) if plural == "pods" else name
            if method == "PATCH":
                call |= {"body": line.get("body", line.get("raw_body")), "content_type": line["content_type"]}
            elif propagation := mapping(line.get("body")).get("propagationPolicy"):
                call["propagation"] = propagation
        yield call


def _node_type(lines: list[Line], pod: str) -> str:
    """What a pod is, in place of its random name."""
    labels = next(line["object"]["metadata"]["labels"] for line in watched(lines, "pods") if _name(line) == pod)
    return str(labels["ray.io/node-type"])


def _name(line: Line) -> str:
    return str(line["object"]["metadata"]["name"])


def _of_submitter(event: Mapping[str, Any]) -> bool:
    """Whether an event is about the batch Job of K8sJobMode or its pods, which are not simulated."""
    about = mapping(event.get("involvedObject"))
    ray_pod = any(part in str(about.get("name")) for part in ("-head-", "-worker-"))
    return about.get("kind") == "Job" or (about.get("kind") == "Pod" and not ray_pod)


def _as_posted(stored: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {
        name: stored["metadata"][name]
        for name in ("name", "namespace", "labels", "annotations")
        if name in stored["metadata"]
    }
    return {"apiVersion": stored["apiVersion"], "kind": stored["kind"], "metadata": metadata, "spec": stored["spec"]}


def watched(lines: list[Line], resource: str) -> list[Line]:
    """Return the watch events of a resource."""
    return [line for line in lines if line.get("resource") == resource]


def dashboard_answers(lines: list[Line]) -> list[dict[str, Any]]:
    """Return what the dashboard said, with the time from which on it is sure to have said so."""
    answers: list[dict[str, Any]] = []
    known: tuple[Any, ...] = ()
    for line in lines:
        if "http://" in str(line.get("client")) and str(line["client"]).startswith("GET"):
            response = mapping(line.get("response"))
            if response.get("status") and known[:1] != (response["status"],):
                known = (response["status"], response.get("message"))
                answers.append(
                    _answer(line["t"] - _ASKED_SECONDS, response["status"], response.get("message"), response)
                )
        elif line.get("resource") == "rayjobs" and line["type"] != "DELETED":
            status = mapping(at(line, "object", "status"))
            told = (status.get("jobStatus"), status.get("message") if status.get("jobStatus") else None)
            if told[0] and told[0] != (known[0] if known else None):
                known = told
                answers.append(_answer(line["t"] - _SEEN_SECONDS, *told, mapping(status.get("rayJobInfo"))))
    if answers and answers[0]["details"]["status"] == "PENDING":
        answers[0]["t"] = min([answers[0]["t"], *_submissions(lines)])
    answers += list(_lost_heads(lines))
    return sorted(answers, key=lambda answer: answer["t"])


def _submissions(lines: list[Line]) -> Iterator[float]:
    """Yield when the client submitted jobs to the dashboard."""
    for line in lines:
        if str(line.get("client")).startswith("POST http://"):
            yield round(line["t"] + _ASKED_SECONDS, 3)


def _answer(moment: float, status: Any, message: Any, job: Mapping[str, Any]) -> dict[str, Any]:
    ended = bool(job.get("end_time") or job.get("endTime"))
    details: dict[str, Any] = {"status": status, "start_time": 1_790_000_000_000}
    details |= {"message": message} if message else {}
    details |= {"end_time": 1_790_000_060_000} if ended else {}
    return {"t": round(moment, 3), "outcome": "job", "details": details}


def _lost_heads(lines: list[Line]) -> Iterator[dict[str, Any]]:
    """Yield when the dashboard was away and when it came back without the job."""
    for line in lines:
        if str(line.get("client")).startswith("DELETE") and "/pods/" in str(line.get("client")):
            yield {"t": line["t"], "outcome": "failed"}
            back = [
                after["t"] for after in watched(lines, "pods") if after["t"] > line["t"] and _ready(after["object"])
            ]
            yield {"t": round(back[0] - _UP_SECONDS, 3), "outcome": "absent"}


def _ready(pod: Mapping[str, Any]) -> bool:
    conditions = mappings(at(pod, "status", "conditions"))
    return any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions)


def pod_seconds(lines: list[Line]) -> list[dict[str, Any]]:
    """Return how long each Ray pod took, in the order of their creation."""
    pods: dict[str, dict[str, Any]] = {}
    started: dict[str, float] = {}
    for line in watched(lines, "pods"):
        pod = line["object"]
        name = pod["metadata"]["name"]
        if "ray.io/node-type" not in mapping(pod["metadata"].get("labels")):
            continue
        if line["type"] == "ADDED":
            started[name] = line["t"]
            pods[name] = {"type": pod["metadata"]["labels"]["ray.io/node-type"]}
        elif name in pods:
            passed = round(line["t"] - started[name], 3)
            init = mappings(at(pod, "status", "initContainerStatuses"))
            if init and "terminated" in mapping(init[0].get("state")):
                pods[name].setdefault("joined", passed)
            if _ready(pod):
                pods[name].setdefault("ready", passed)
    return list(pods.values())


def states(lines: list[Line], resource: str) -> list[list[Any]]:
    """Return the states of each object of a resource, by the order in which the objects came."""
    found: dict[str, list[Any]] = {}
    for line in watched(lines, resource):
        name = line["object"]["metadata"]["uid"]
        if line["type"] == "DELETED":
            found[name].append("gone")
        elif resource == "rayjobs":
            found.setdefault(name, []).append(job_state(line["object"]))
        else:
            found.setdefault(name, []).append(cluster_state(mapping(line["object"].get("status"))))
    return [without_repeats(seen) for seen in found.values()]


def recording(lines: list[Line]) -> dict[str, Any]:
    """Return what is kept of a trace."""
    new = [line["object"] for line in watched(lines, "events") if line["type"] == "ADDED"]
    told = [event_state(event) for event in new if not _of_submitter(event)]
    notes = " ".join(str(line.get("note")) for line in lines if "note" in line)
    timeout = _TIMEOUT_NOTE.search(notes)
    return {
        "status_check_seconds": int(timeout[1]) if timeout else _DEFAULT_STATUS_CHECK_SECONDS,
        "until": lines[-1]["t"],
        "calls": list(client_writes(lines)),
        "dashboard": dashboard_answers(lines),
        "pods": pod_seconds(lines),
        "rayjobs": states(lines, "rayjobs"),
        "rayclusters": states(lines, "rayclusters"),
        "events": told,
    }


def main() -> None:
    """Write a file for each scenario of each folder."""
    for folder in map(Path, sys.argv[1:]):
        target = OUTPUT / folder.name.removeprefix("v")
        target.mkdir(parents=True, exist_ok=True)
        for file in sorted(folder.glob("*.jsonl")):
            if file.name.startswith(SCENARIOS):
                every = [json.loads(text) for text in file.read_text(encoding="utf-8").splitlines()]
                lines = [line for line in every if line["t"] < CUT.get((folder.name, file.stem), 1e9)]
                text = json.dumps(recording(lines), indent=1, sort_keys=True)
                (target / f"{file.stem}.json").write_text(_compact(text) + "\n", encoding="utf-8")
        print(f"{target}: {len(list(target.glob('*.json')))} scenarios")


def _compact(text: str) -> str:
    """Lists of short texts on one line."""
    return re.sub(
        r"\[\s*((?:(?:\"[^\"\n]*\"|[\d.]+),?\s*)+)\]",
        lambda found: "[" + re.sub(r"\s*\n\s*", " ", found[1]).strip() + "]",
        text,
    )


if __name__ == "__main__":
    main()
