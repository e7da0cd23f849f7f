"""Specifications in YAML files, and what `kubectl get -o yaml` adds to them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from dagster_ray.kuberay._kubernetes.fields import mapping, name_of
from dagster_ray.kuberay._operator_rules.runtime_env_yaml import UNREADABLE, TooManyMergesError
from dagster_ray.kuberay._spec.errors import SpecFileError
from dagster_ray.kuberay._spec.plain_json import Json, step

LIMIT_BYTES = 1 << 20
"""Largest file that is read. An API server takes objects of 1.5 MiB at most."""
_KINDS = ("RayJob", "RayCluster")
_SMALLER = "write out fewer values by aliases (`*name`) and merge keys (`<<`)"
LIMIT_VALUES = 50_000
"""Most values that a file may hold once its aliases are written out."""


class FileSpec(NamedTuple):
    """What a file says.

    Attributes:
        metadata: The object's metadata.
        rayjob: The part of the RayJob around the cluster.
        cluster: The cluster.
        is_manifest: Whether the file has a `kind`, and so means what it means for `kubectl apply`.
    """

    metadata: Json
    rayjob: Json
    cluster: Json
    is_manifest: bool


def _copied(value: object, file: str, path: str, seen: list[int]) -> Any:
    """Return what JSON can hold of `value`, aliases written out; refuse the rest."""
    seen[0] += 1
    if seen[0] > LIMIT_VALUES:
        raise SpecFileError(file, "", f"it has more than {LIMIT_VALUES} values", _SMALLER)
    if isinstance(value, dict):
        copied: Json = {}
        for key, item in cast("dict[object, object]", value).items():
            if not isinstance(key, str):
                raise SpecFileError(file, step(path, str(key)), "the key is not text", "put the key in quotes")
            copied[key] = _copied(item, file, step(path, key), seen)
        return copied
    if isinstance(value, list):
        return [_copied(item, file, step(path, n), seen) for n, item in enumerate(cast("list[object]", value))]
    if value is None or isinstance(value, str | int | float):
        return value
    reason = f"it is a {type(value).__name__}, which JSON does not have"
    raise SpecFileError(file, path, reason, "put it in quotes if it is meant as text")


def _part(file: str, document: Mapping[str, Any], key: str) -> Json:
    part = document.get(key)
    if part is None:
        return {}
    if not isinstance(part, dict):
        raise SpecFileError(file, key, f"it is a {type(part).__name__}", "write a mapping")
    return cast("Json", part)


def _recognized(file: str, document: Json) -> FileSpec:
    """Tell a RayJob, a RayCluster and the spec of one apart."""
    kind = document.get("kind")
    if kind not in (None, *_KINDS):
        reason = f"{kind!r} is neither RayJob nor RayCluster"
        raise SpecFileError(file, "kind", reason, "name a file with one of these kinds")
    whole = kind is not None or "spec" in document
    metadata, spec = (_part(file, document, "metadata"), _part(file, document, "spec")) if whole else ({}, document)
    is_cluster = bool({"headGroupSpec", "workerGroupSpecs", "head_group_spec", "worker_group_specs"} & spec.keys())
    if kind == "RayCluster" or (kind is None and is_cluster):
        return FileSpec(metadata, {}, spec, kind is not None)
    cluster_key = "ray_cluster_spec" if "ray_cluster_spec" in spec else "rayClusterSpec"
    if kind is None and cluster_key not in spec:
        reason = "it has neither `kind` nor a key of a RayJob's or RayCluster's spec"
        raise SpecFileError(file, "", reason, "name a file with a RayJob, a RayCluster or the spec of one")
    rayjob = {key: value for key, value in spec.items() if key != cluster_key}
    return FileSpec(metadata, rayjob, _part(file, spec, cluster_key), kind is not None)


def parse_spec(file: str, text: str) -> FileSpec:
    """Return what the text of a file says. Pure.

    Raises:
        SpecFileError: It is not YAML, has more than one RayJob or RayCluster, or is not a specification of KubeRay.
    """
    # Loads with the first file: the fields of the CRDs take a while.
    from dagster_ray.kuberay._spec.yaml_text import documents as documents_of

    try:
        documents: list[object] = [document for document in documents_of(text) if document is not None]
    except UNREADABLE as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark is not None else ""
        what = getattr(error, "problem", None) or "it is not YAML"
        advice = _SMALLER if isinstance(error, TooManyMergesError) else "correct the YAML"
        raise SpecFileError(file, where, str(what), advice) from error
    return _recognized(file, _copied(_chosen(file, documents), file, "", [0]))


def _chosen(file: str, documents: list[object]) -> object:
    """Return the document that is one of KubeRay; what others describe is not made by dagster-ray."""
    maps = [mapping(cast("object", document)) for document in documents if isinstance(document, dict)]
    rays = [document for document in maps if document.get("kind") in _KINDS]
    if len(rays) > 1:
        named = ", ".join(f"{document['kind']} {name_of(document)}".rstrip() for document in rays)
        reason = f"it has {len(rays)} documents that could be meant: {named}"
        raise SpecFileError(file, "", reason, "leave one RayJob or RayCluster in it")
    if not rays and not (len(documents) == 1 and maps):
        found = f"{len(documents)} documents" if len(documents) != 1 else f"a {type(documents[0]).__name__}"
        reason = f"it has {found} and no RayJob or RayCluster"
        raise SpecFileError(file, "", reason, "write one RayJob or RayCluster into it, or the spec of one")
    return rays[0] if rays else maps[0]


def read_spec(file: str) -> FileSpec:
    """Read the specification that a file holds.

    Args:
        file: Path of a YAML file with a RayJob, a RayCluster, the spec of a RayJob or that of a RayCluster. Documents
            of other kinds beside a RayJob or RayCluster are not used, nor is `status`.

    Raises:
        SpecFileError: The file cannot be read, is larger than 1 MiB, or holds something else.
    """
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(LIMIT_BYTES + 1)
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError):
            reason, advice = (
                error.strerror or type(error).__name__,
                "correct the path, or let this process read the file",
            )
        else:
            reason, advice = "it is not text in UTF-8", "save it as UTF-8"
        raise SpecFileError(file, "", reason, advice) from error
    if len(content) > LIMIT_BYTES:
        raise SpecFileError(file, "", f"it is larger than {LIMIT_BYTES >> 20} MiB", "name a smaller file")
    return parse_spec(file, text)


_METADATA = frozenset({
    "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields",
    "resourceVersion", "selfLink", "uid",
})  # fmt: skip
# The whole object as `kubectl apply` sent it last, which the next apply would compare with ours.
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def without_server_fields(metadata: Mapping[str, Any]) -> Json:
    """Return the metadata of an object as its author wrote it, without empty keys."""
    kept = {key: value for key, value in metadata.items() if key not in _METADATA and value is not None}
    annotations = mapping(kept.get("annotations"))
    if _LAST_APPLIED in annotations:
        kept["annotations"] = {key: value for key, value in annotations.items() if key != _LAST_APPLIED}
    return kept
