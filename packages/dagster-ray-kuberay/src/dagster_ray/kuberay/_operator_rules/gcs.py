"""What the KubeRay operator refuses in the fault tolerance of a RayCluster's control store, in its words. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import mapping
from dagster_ray.kuberay._operator_rules.cluster_view import ClusterView

_FT_ENABLED = "ray.io/ft-enabled"
_NAMESPACE_OF_STORAGE = "ray.io/external-storage-namespace"
_USE_OPTIONS = "when GcsFaultToleranceOptions is enabled - use GcsFaultToleranceOptions"
_REDIS_ONLY = (
    ("redisAddress", "RedisAddress"),
    ("redisUsername", "RedisUsername"),
    ("redisPassword", "RedisPassword"),
    ("externalStorageNamespace", "ExternalStorageNamespace"),
)


def fault_tolerance_checks(cluster: ClusterView) -> Iterator[str]:
    """What is wrong, in the operator's order."""
    options = cluster.spec.get("gcsFaultToleranceOptions")
    start: Mapping[str, Any] = mapping(cluster.head.get("rayStartParams"))
    annotated = str(cluster.annotations.get(_FT_ENABLED) or "")
    if annotated and options is not None:
        yield (
            f"{_FT_ENABLED} annotation and GcsFaultToleranceOptions are both set. "
            "Please use only GcsFaultToleranceOptions to configure GCS fault tolerance"
        )
    if options is None and annotated.lower() != "true" and "RAY_REDIS_ADDRESS" in cluster.head_env:
        yield (
            "RAY_REDIS_ADDRESS is set which implicitly enables GCS fault tolerance, but GcsFaultToleranceOptions is "
            "not set. Please set GcsFaultToleranceOptions to enable GCS fault tolerance"
        )
    if options is not None:
        yield from _option_faults(cluster, mapping(options), start)
    if start.get("redis-username") or "REDIS_USERNAME" in cluster.head_env:
        yield (
            "cannot set redis username in rayStartParams or environment variables - use "
            "GcsFaultToleranceOptions.RedisUsername instead"
        )


def _option_faults(cluster: ClusterView, options: Mapping[str, Any], start: Mapping[str, Any]) -> Iterator[str]:
    if start.get("redis-password"):
        yield f"cannot set `redis-password` in rayStartParams {_USE_OPTIONS}.RedisPassword instead"
    for name, instead in (("REDIS_PASSWORD", "RedisPassword"), ("RAY_REDIS_ADDRESS", "RedisAddress")):
        if name in cluster.head_env:
            yield f"cannot set `{name}` env var in head Pod {_USE_OPTIONS}.{instead} instead"
    if cluster.annotations.get(_NAMESPACE_OF_STORAGE):
        yield f"cannot set `{_NAMESPACE_OF_STORAGE}` annotation {_USE_OPTIONS}.ExternalStorageNamespace instead"
    if cluster.operator.release >= (1, 7, 0):
        yield from _backend_faults(cluster, options)


def _backend_faults(cluster: ClusterView, options: Mapping[str, Any]) -> Iterator[str]:
    if options.get("backend") != "rocksdb":
        if options.get("storage") is not None:
            yield (
                "cannot set GcsFaultToleranceOptions.Storage when backend is 'redis' - it only applies to the "
                "'rocksdb' backend"
            )
        return
    if not cluster.operator.on("GCSFaultToleranceEmbeddedStorage"):
        yield (
            "the embedded RocksDB GCS fault tolerance backend (GcsFaultToleranceOptions.Backend: 'rocksdb') requires "
            "the GCSFaultToleranceEmbeddedStorage feature gate to be enabled"
        )
    for name, shown in _REDIS_ONLY:
        if options.get(name):
            yield f"cannot set GcsFaultToleranceOptions.{shown} when backend is 'rocksdb'"
