"""YAML in which text of Kubernetes stays as it was written.

YAML 1.1 reads `1.10` as 1.1, `012345` as 5349 and `12:30:45` as 45045. Where KubeRay's CRDs want text, in labels,
`rayStartParams`, the values of environment variables and others, a plain scalar is the text that stands in the file.
"""

import re
from collections.abc import Iterator
from typing import Any, cast

import yaml
from typing_extensions import override

from dagster_ray.kuberay._operator_rules.crd_fields import CrdKind, Field, field_at
from dagster_ray.kuberay._operator_rules.runtime_env_yaml import BoundedLoader
from dagster_ray.kuberay._spec.typed_values import RELEASE, metadata_field

_TEXT = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"
_READ_AS_SOMETHING_ELSE = {f"tag:yaml.org,2002:{name}" for name in ("bool", "float", "int", "timestamp")}


def documents(text: str) -> Iterator[object]:
    """Yield what each document of a YAML text holds.

    Raises:
        yaml.YAMLError: It is no YAML.
        ValueError, RecursionError: It holds a scalar that Python cannot make, or is nested too deep.
    """
    return yaml.load_all(text, _Loader)


class _Loader(BoundedLoader):
    @override
    def construct_document(self, node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            self._keep_text(node)
        return cast("Any", super()).construct_document(node)

    def _keep_text(self, document: yaml.MappingNode) -> None:
        spec = _under(document, "spec")
        given = spec if isinstance(spec, yaml.MappingNode) else document
        cluster = _under(given, "rayClusterSpec") or _under(given, "ray_cluster_spec")
        named = _under(document, "kind")
        is_job = cluster is not None or (isinstance(named, yaml.ScalarNode) and named.value == "RayJob")
        kind: CrdKind = "RayJob" if is_job else "RayCluster"
        seen: set[tuple[int, int]] = set()
        _written(given, field_at(kind, RELEASE, "spec"), seen)
        metadata = _under(document, "metadata")
        if given is not document and metadata is not None:
            _written(metadata, metadata_field(), seen)


def _pairs(node: yaml.MappingNode) -> list[tuple[Any, Any]]:
    return cast("list[tuple[Any, Any]]", node.value)


def _under(node: yaml.MappingNode, key: str) -> Any:
    return next((value for name, value in _pairs(node) if name.value == key), None)


def _written(node: Any, field: Field | None, seen: set[tuple[int, int]]) -> Any:
    """Return a node in which every plain scalar is text where its field is; mappings and lists are changed in place."""
    if field is None:
        return node
    if isinstance(node, yaml.ScalarNode):
        plain = node.style is None and node.tag in _READ_AS_SOMETHING_ELSE
        return yaml.ScalarNode(_TEXT, node.value) if plain and field.type == "string" else node
    # Aliases make a graph of the tree, which may have more paths than any file has bytes.
    if (id(node), id(field)) in seen:
        return node
    seen.add((id(node), id(field)))
    if isinstance(node, yaml.MappingNode):
        node.value = [
            (key, _written(value, field if key.tag == _MERGE else _inner(field, key), seen))
            for key, value in _pairs(node)
        ]
    elif isinstance(node, yaml.SequenceNode):
        # Below a merge key a list holds mappings that are all merged.
        inner = field if field.items is None else field.items
        node.value = [_written(item, inner, seen) for item in cast("list[Any]", node.value)]
    return node


def _inner(field: Field, key: Any) -> Field | None:
    name = str(key.value)
    if name in field.properties or field.values is not None:
        return field.properties.get(name, field.values)
    return field.properties.get(re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), name))
