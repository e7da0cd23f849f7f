"""Make the table of the CRDs' fields: `python scripts/crd_fields.py FOLDER...`, one folder of CRD files per operator.

A folder's name holds the version of the operator, such as `v1.7.0`; its files are those of KubeRay's chart. The table
keeps what an API server checks (names, types, defaults, bounds), never a description. Equal parts are stored once. The
same folders give the same bytes.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

RULES = "packages/dagster-ray-kuberay/src/dagster_ray/kuberay/_operator_rules"
OUTPUT = Path(__file__).resolve().parent.parent / RULES / "crd_fields.json"
KINDS = {"RayCluster": "ray.io_rayclusters.yaml", "RayJob": "ray.io_rayjobs.yaml"}
API_VERSION = "v1"

# How a schema's keyword is named in the table.
KEPT = {
    "type": "t",
    "enum": "e",
    "default": "d",
    "nullable": "n",
    "minimum": "lo",
    "maximum": "hi",
    "minLength": "ln",
    "maxLength": "hn",
    "minItems": "c",
    "pattern": "x",
    "format": "f",
    "x-kubernetes-int-or-string": "s",
    "x-kubernetes-preserve-unknown-fields": "u",
}
# Read below, or without a meaning for us.
READ = {
    "additionalProperties",
    "anyOf",  # only ever "integer or string", which the int-or-string keyword says too
    "description",
    "items",
    "properties",
    "required",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-validations",
}

# Rules in CEL cannot be evaluated by us, so each is known by a name and written by hand where it is checked.
RULE_NAMES = {
    "the managedBy field is immutable": "managed-by-immutable",
    "the managedBy field value must be either 'ray.io/kuberay-operator' or 'kueue.x-k8s.io/multikueue'": "managed-by",
    "the deletionPolicy field value must be either 'DeleteCluster', 'DeleteWorkers', 'DeleteSelf', or 'DeleteNone'": (
        "deletion-policy"
    ),
    "legacy policies (onSuccess/onFailure) and deletionRules cannot be used together within the same "
    "deletionStrategy": "deletion-strategy-one-form",
    "deletionStrategy requires either BOTH onSuccess and onFailure, OR the deletionRules field (cannot be empty)": (
        "deletion-strategy-complete"
    ),
    "JobStatus and JobDeploymentStatus cannot be used together within the same deletion condition.": (
        "deletion-condition-one-status"
    ),
    "the deletion condition requires either the JobStatus or the JobDeploymentStatus field.": (
        "deletion-condition-some-status"
    ),
    "gcsFaultToleranceOptions.backend is immutable": "gcs-backend-immutable",
}


class _Nodes:
    """The parts of all schemas, each once, a part after those that it refers to."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []
        self._ids: dict[str, int] = {}

    def add(self, schema: dict[str, Any], where: str) -> int:
        """The number of the part that describes this schema."""
        if unknown := sorted(set(schema) - set(KEPT) - READ):
            raise SystemExit(f"{where}: the table has no place for {', '.join(unknown)}")
        node: dict[str, Any] = {short: schema[name] for name, short in KEPT.items() if schema.get(name) is not None}
        if properties := schema.get("properties"):
            node["p"] = {name: self.add(properties[name], f"{where}.{name}") for name in sorted(properties)}
        if required := schema.get("required"):
            node["r"] = sorted(required)
        if "items" in schema:
            node["i"] = self.add(schema["items"], f"{where}[]")
        if values := schema.get("additionalProperties"):
            node["a"] = self.add(values, f"{where}.*")
        if schema.get("x-kubernetes-list-type") in ("set", "map"):
            node["l"] = schema.get("x-kubernetes-list-map-keys", [])
        if rules := schema.get("x-kubernetes-validations"):
            node["v"] = [_rule_name(rule["message"], where) for rule in rules]
        text = json.dumps(node, sort_keys=True)
        if text not in self._ids:
            self._ids[text] = len(self.all)
            self.all.append(node)
        return self._ids[text]


def _rule_name(message: str, where: str) -> str:
    if message not in RULE_NAMES:
        raise SystemExit(f"{where}: a rule that has no name yet: {message}")
    return RULE_NAMES[message]


def _schema(file: Path) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    crd: dict[str, Any] = yaml.load(file.read_text(), Loader=loader)
    for version in crd["spec"]["versions"]:
        if version["name"] == API_VERSION and version["served"]:
            return version["schema"]["openAPIV3Schema"]
    raise SystemExit(f"{file} serves no {API_VERSION}")


def table(folders: list[Path]) -> dict[str, Any]:
    """The table of these folders' CRDs."""
    nodes = _Nodes()
    versions: dict[str, dict[str, int]] = {}
    for folder in sorted(folders, key=_minor):
        versions[".".join(map(str, _minor(folder)))] = {
            kind: nodes.add(_schema(folder / name), kind) for kind, name in KINDS.items()
        }
    return {"versions": versions, "nodes": nodes.all}


def _minor(folder: Path) -> tuple[int, int]:
    match = re.fullmatch(r"v?(\d+)\.(\d+)(\.\d+)?", folder.name)
    if match is None:
        raise SystemExit(f"{folder}: the folder's name must be a version, such as v1.7.0")
    return int(match[1]), int(match[2])


def main(arguments: list[str]) -> None:
    """Write the table."""
    if not arguments:
        raise SystemExit(__doc__)
    made = table([Path(argument) for argument in arguments])
    lines = ",\n".join(json.dumps(node, sort_keys=True, separators=(",", ":")) for node in made["nodes"])
    versions = json.dumps(made["versions"], sort_keys=True, separators=(",", ":"))
    OUTPUT.write_text(f'{{"versions":{versions},\n"nodes":[\n{lines}\n]}}\n')
    print(f"{OUTPUT}: {len(made['nodes'])} parts, {OUTPUT.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
