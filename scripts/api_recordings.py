"""Make the recordings that the simulated API server is compared with: `python scripts/api_recordings.py FOLDER...`.

A folder's name holds the operator's version, such as `v1.7.0`; its files are traces, one JSON object a line: calls of
clients ({"t", "client", "body", "status", "response" or "stream"}) and events of watches ({"resource", "type",
"object"}). Kept are the calls with their answers, and what others changed between them as far as it shows in answers:
`outside` steps. The status of RayJobs and RayClusters, which the operator writes, is left out. The same traces give the
same bytes.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import at, mapping, mappings

OUTPUT = Path(__file__).resolve().parent.parent / "tests-integration/recordings/api"
# Scenario -> the methods that are kept, and whether what happens outside of the client's calls matters.
SCENARIOS = {
    "api-shapes": (None, True),
    "api-expired-continue": (None, True),
    "invalid-specs": ({"POST"}, False),
}
# What `kubectl get` shows of a status.
_IN_TABLES = {"desiredCPU", "desiredMemory", "desiredGPU", "desiredTPU", "head", "state", "desiredWorkerReplicas"}
_HEADERS = ("Content-Type", "Warning", "Retry-After")
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
_METADATA_ONLY = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"

Line = Mapping[str, Any]


def without_status(value: Any) -> Any:
    """Return an answer without what the operator has written."""
    if isinstance(value, dict):
        found: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]  # JSON
        of_ray = found.get("kind") in {"RayJob", "RayCluster"} and "metadata" in found
        return {key: without_status(part) for key, part in found.items() if not (of_ray and key == "status")}
    if isinstance(value, list):
        parts: list[Any] = value  # pyright: ignore[reportUnknownVariableType]  # JSON
        return [without_status(part) for part in parts]
    return value


def account(line: Line) -> str:
    """Return who made a call; traces tell it by the answer only."""
    answer = line.get("response")
    text = json.dumps(answer)
    if line["status"] == 401:
        return "unknown"
    if "system:anonymous" in text:
        return "nobody"
    collection = line["client"].startswith("DELETE") and mapping(answer).get("items") is not None
    return "admin" if collection or (line["status"] == 404 and isinstance(answer, str)) else "client"


def call(line: Line) -> dict[str, Any]:
    """Return a call of a client and its answer."""
    method, _, path = line["client"].partition(" ")
    step: dict[str, Any] = {"as": account(line), "method": method, "path": path, "status": line["status"]}
    kind = mapping(line.get("response")).get("kind")
    if kind in {"Table", "PartialObjectMetadata"}:
        step["accept"] = _TABLE if kind == "Table" else _METADATA_ONLY
    step |= {key: line[key] for key in ("content_type", "body", "raw_body") if line.get(key) is not None}
    step["headers"] = {name: line["headers"][name] for name in _HEADERS if name in line["headers"]}
    if "stream" in line:
        step["stream"] = [without_status(entry["line"]) for entry in line["stream"]]
    else:
        step["response"] = without_status(line["response"])
    return step


def outside(line: Line, written: set[str]) -> Iterator[dict[str, Any]]:
    """Yield what somebody else did, if it shows in answers to the client."""
    obj, kind, plural = line["object"], line["type"], line["resource"]
    name, metadata = obj["metadata"]["name"], obj["metadata"]
    if plural == "pods" and kind == "ADDED":
        kept = {key: metadata[key] for key in ("name", "namespace", "labels", "ownerReferences") if key in metadata}
        containers = [{"name": part["name"], "image": part["image"]} for part in obj["spec"]["containers"]]
        yield {"do": "create", "plural": plural, "object": {"metadata": kept, "spec": {"containers": containers}}}
    elif plural == "pods" and kind == "DELETED":
        yield {"do": "remove", "plural": plural, "name": name}
    elif plural == "rayclusters" and kind == "MODIFIED" and metadata["resourceVersion"] not in written:
        shown = {key: value for key, value in mapping(obj.get("status")).items() if key in _IN_TABLES}
        yield {"do": "write status", "plural": plural, "name": name, "status": shown}


def versions(step: Mapping[str, Any]) -> Iterator[int]:
    """Yield the resourceVersions that an answer of the API shows."""
    answer = step.get("response")
    for found in (at(answer, "metadata", "resourceVersion"), *_of_items(answer)):
        if str(found).isdecimal():
            yield int(found)


def _of_items(answer: Any) -> list[Any]:
    return [at(item, "metadata", "resourceVersion") for item in mappings(mapping(answer).get("items"))]


def steps(lines: list[Line], methods: set[str] | None, others: bool) -> list[dict[str, Any]]:
    """Return calls and what others did, in the order in which the API server did them."""
    calls = [call(line) for line in lines if "client" in line]
    written = {str(v) for c in calls if c["method"] in {"POST", "PUT", "PATCH", "DELETE"} for v in versions(c)}
    found: list[dict[str, Any]] = []
    waiting: list[tuple[int, dict[str, Any]]] = []
    for line in lines:
        if "resource" in line and others:
            version = int(line["object"]["metadata"]["resourceVersion"])
            waiting += [(version, step) for step in outside(line, written)]
        elif "client" in line:
            step = call(line)
            if methods is None or step["method"] in methods:
                # Lines of watches may stand behind the call that came after the change.
                shown = max(versions(step), default=None)
                found += [change for version, change in waiting if shown is None or version <= shown]
                waiting = [] if shown is None else [entry for entry in waiting if entry[0] > shown]
                found.append(step)
    return found


def main() -> None:
    """Write a file for each scenario of each folder."""
    for folder in map(Path, sys.argv[1:]):
        target = OUTPUT / folder.name.removeprefix("v")
        target.mkdir(parents=True, exist_ok=True)
        for scenario, (methods, others) in SCENARIOS.items():
            file = folder / f"{scenario}.jsonl"
            if file.exists():
                lines = [json.loads(text) for text in file.read_text(encoding="utf-8").splitlines()]
                kept = [json.dumps(step, sort_keys=True) for step in steps(lines, methods, others)]
                (target / f"{scenario}.json").write_text("[\n" + ",\n".join(kept) + "\n]\n", encoding="utf-8")
                print(f"{target / scenario}.json: {len(kept)} steps")


if __name__ == "__main__":
    main()
