"""Make the recordings that diagnoses are tested on: `python scripts/diagnosis_recordings.py FOLDER...`.

A folder's name holds the operator's version, such as `v1.7.0`; its files are traces, one JSON object a line. Kept are
the events of watches over RayJobs, RayClusters, pods and Kubernetes events, in the order seen, with what a diagnosis
reads of each object; of a Kubernetes event only its first time. The same traces give the same bytes.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import at, mapping, mappings

OUTPUT = Path(__file__).resolve().parent.parent / "tests-integration/recordings/objects"
SCENARIOS = (
    *("head-image-missing", "head-unschedulable", "invalid-specs", "interactive-client-driver-success"),
    *("interactive-head-killed", "raycluster-worker-lifecycle"),
)
# Three hundred lines of one RayJob that is refused again and again; its events are recorded in `operator`.
LEFT_OUT = {("v1.4.2", "invalid-specs")}
RESOURCES = ("rayjobs", "rayclusters", "pods", "events")
_METADATA = ("name", "uid", "labels", "creationTimestamp", "deletionTimestamp", "finalizers")
_CONTAINER = ("name", "image", "resources")


def reduced(resource: str, whole: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a diagnosis reads of an object."""
    metadata = {key: whole["metadata"][key] for key in _METADATA if key in whole["metadata"]}
    if resource == "events":
        rest = {key: value for key, value in whole.items() if value and key not in {"metadata", "apiVersion", "kind"}}
        return {"metadata": metadata, **rest}
    kept: dict[str, Any] = {"metadata": metadata, "status": whole.get("status", {})}
    if resource == "pods":
        containers = [{k: c[k] for k in _CONTAINER if k in c} for c in mappings(at(whole, "spec", "containers"))]
        kept["spec"] = {"containers": containers, "nodeName": at(whole, "spec", "nodeName")}
    return kept


def seen(trace: Path) -> Iterator[list[Any]]:
    """Yield type, resource and object of each event of the watches."""
    for text in trace.read_text(encoding="utf-8").splitlines():
        line = mapping(json.loads(text))
        repeated = line.get("resource") == "events" and line.get("type") == "MODIFIED"
        if line.get("resource") in RESOURCES and not repeated:
            yield [line["type"], line["resource"], reduced(line["resource"], line["object"])]


def main(folders: list[str]) -> None:
    """Write a recording for each trace of the folders that is wanted."""
    for folder in map(Path, folders):
        for scenario in SCENARIOS:
            trace = folder / f"{scenario}.jsonl"
            if not trace.is_file() or (folder.name, scenario) in LEFT_OUT:
                continue
            target = OUTPUT / folder.name.removeprefix("v") / f"{scenario}.json"
            target.parent.mkdir(parents=True, exist_ok=True)
            lines = ",\n".join(json.dumps(event, sort_keys=True) for event in seen(trace))
            target.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
            print(target.relative_to(OUTPUT), target.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1:])
