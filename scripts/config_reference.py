"""Write docs/kuberay-configuration.md from the config classes: `python scripts/config_reference.py [--check]`."""

# Dagster's config classes are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import inspect
import re
import sys
from pathlib import Path
from typing import Any, TypeAlias, get_args

import dagster as dg
from written_page import write_or_check

from dagster_ray.core._config_types import python_type
from dagster_ray.kuberay import configs

PAGE = Path(__file__).parents[1] / "docs/kuberay-configuration.md"
Model: TypeAlias = type[dg.Config]
# Where each class stands in the configuration of a resource.
MODELS: tuple[tuple[Model, str], ...] = (
    (configs.InteractiveRayJobConfig, "`ray_job` of `KubeRayInteractiveJob`"),
    (configs.InteractiveRayJobSpec, "`spec` of `InteractiveRayJobConfig`"),
    (configs.RayClusterSpec, "`rayClusterSpec` of `InteractiveRayJobSpec`, `spec` of `RayClusterConfig`"),
    (configs.RayClusterConfig, "`ray_cluster` of `KubeRayCluster`"),
    (configs.ClusterSharing, "`cluster_sharing` of `RayClusterConfig`"),
    (configs.MatchDagsterLabels, "`match_dagster_labels` of `ClusterSharing`"),
)
HEAD = """# Configuration of KubeRay

<!-- Written by scripts/config_reference.py from the config classes; change those. -->

All classes are in `dagster_ray.kuberay.configs`. Names of KubeRay are snake_case in Python and camelCase in run
config and YAML; both are accepted in both places.
A class of Kubernetes passes on camelCase fields that it does not know, so that newer versions of KubeRay can be used;
the API server refuses those that it does not know. Unknown names in snake_case, and all unknown fields of the other
classes, are errors.

Pod templates, the head group and worker groups are dictionaries as in a manifest. What they leave out is completed
when the manifest is made:

- The image goes into every container that names none. The first container of a pod is Ray's; it gets a name, the
  resources 1 CPU and 4Gi if it has none, and the environment of the resource, where variables of the container win.
- Every pod and the object itself get the labels that say which run, step and resource they belong to. Values of
  labels that Kubernetes does not take are cut and end in a hash.
- A head whose container declares ports gets `client`, `dashboard` and `gcs-server` beside them, which drivers and the
  operator look for by name.
- Any value can come from an [environment variable](environment-variables.md) of the step.

`dagster_ray.kuberay.groups` has short forms of groups:

```python
from dagster_ray.kuberay.configs import InteractiveRayJobConfig, InteractiveRayJobSpec, RayClusterSpec
from dagster_ray.kuberay.groups import head_group, worker_group

ray_job = InteractiveRayJobConfig(
    metadata={"namespace": "ray"},
    spec=InteractiveRayJobSpec(
        ttl_seconds_after_finished=300,
        ray_cluster_spec=RayClusterSpec(
            head_group_spec=head_group(cpus=2, memory="8Gi"),
            worker_group_specs=[
                worker_group("cpu", cpus=4, memory="16Gi", max_replicas=20),
                worker_group("gpu", cpus=8, memory="32Gi", gpus=1, accelerator="NVIDIA-L4", max_replicas=4),
            ],
        ),
    ),
)
```
"""
REFUSED = """### Refused

These fields of KubeRay mean nothing for a RayJob whose driver is a Dagster step:

| field | why |
|---|---|
"""


def type_name(annotation: Any) -> str:
    """Return a type as YAML knows it, without the None that stands for unset."""
    parts = [part for part in get_args(annotation) if part is not type(None)]
    if type(None) in get_args(annotation):
        return type_name(parts[0])
    text = annotation.__name__ if isinstance(annotation, type) and not parts else str(annotation)
    words = {"bool": "yes or no", "int": "integer", "float": "number", "str": "text", "Any": "any"}
    text = re.sub(r"typing\.", "", text)
    text = re.sub(r"dict\[[^\[\]]*\]", "mapping", text).replace("list[mapping]", "list of mappings")
    return words.get(text, f"`{text}`" if text[0].isupper() else text)


def default_text(field: Any) -> str:
    """Return the default as YAML; nothing where the field is unset."""
    default = field.get_default(call_default_factory=True)
    if default is None or isinstance(default, dg.Config) or default == {}:
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def cell(text: str) -> str:
    """Return text for a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")


def section(model: Model, place: str) -> str:
    """Return the part of the page about one class."""
    fields: dict[str, Any] = model.model_fields
    kubernetes = any(field.alias and field.alias != name for name, field in fields.items())
    names = "| run config and YAML | Python " if kubernetes else "| run config and Python "
    lines = [f"{names}| type | default | |", "|---" * (5 if kubernetes else 4) + "|"]
    for name, field in fields.items():
        keys = f"`{field.alias}` | `{name}`" if kubernetes else f"`{name}`"
        about = cell(str(field.description))
        lines.append(f"| {keys} | {type_name(python_type(field.annotation))} | {default_text(field)} | {about} |")
    refused: dict[str, str] = getattr(model, "refused", {})
    rows = "".join(f"| `{name}` | {cell(why)} |\n" for name, why in refused.items())
    first = inspect.cleandoc(model.__doc__ or "")
    table = "\n".join(lines)
    return f"\n## {model.__name__}\n\n{first}\n\nStands in: {place}.\n\n{table}\n" + (
        f"\n{REFUSED}{rows}" if rows else ""
    )


def page() -> str:
    """Return the whole page."""
    return HEAD + "".join(section(model, place) for model, place in MODELS)


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, page()))
