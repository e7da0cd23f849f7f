"""What KubeRay refuses in the spec of a RayCluster, in the operator's order. Pure.

Rules that apply only when a feature gate of 1.7 is on that is off by default (network policy, TLS, history server,
embedded GCS storage) end at the gate.
"""

from collections.abc import Mapping
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import mapping
from dagster_ray.kuberay._operator_rules.group_rules import (
    AUTOSCALER_V2,
    HEAD_RULES,
    SUSPENDED_WITH_AUTOSCALER,
    SUSPENDED_WITHOUT_GATE,
    WORKER_RULES,
    env_of,
    head_env,
    head_of,
    is_older,
    restart_rule,
    version_fault,
    workers_of,
)
from dagster_ray.kuberay._operator_rules.rules import Part, Rule, Section, Values, itself, when

_FT_ENABLED = "ray.io/ft-enabled"
_NAMESPACE_OF_STORAGE = "ray.io/external-storage-namespace"
_USE_OPTIONS = "when GcsFaultToleranceOptions is enabled - use GcsFaultToleranceOptions"
_REDIS_ONLY = {
    "redisAddress": ("RedisAddress", 340),
    "redisUsername": ("RedisUsername", 343),
    "redisPassword": ("RedisPassword", 346),
    "externalStorageNamespace": ("ExternalStorageNamespace", 349),
}
_AUTOSCALER_COMMAND = "KUBERAY_GEN_AUTOSCALER_START_CMD"
_HEAD_ENV = "{path}.headGroupSpec.template.spec.containers[0].env"
_HEAD_START = "{path}.headGroupSpec.rayStartParams"
_OPTIONS = "gcsFaultToleranceOptions"

# The fault tolerance of the control store


def _annotation(cluster: Part, key: str) -> str:
    return str(mapping(cluster.values.get("annotations")).get(key) or "")


def _start_params(cluster: Part) -> Mapping[str, Any]:
    return mapping(mapping(cluster.value.get("headGroupSpec")).get("rayStartParams"))


def _implicit_redis(cluster: Part) -> Values | None:
    is_off = not cluster.has(_OPTIONS) and _annotation(cluster, _FT_ENABLED).lower() != "true"
    return when(is_off and "RAY_REDIS_ADDRESS" in head_env(cluster))


def _env_beside_options(name: str, option: str, line: int) -> Rule:
    return Rule(
        find=lambda cluster: when(cluster.has(_OPTIONS) and name in head_env(cluster)),
        field=_HEAD_ENV,
        words=f"cannot set `{name}` env var in head Pod {_USE_OPTIONS}.{option} instead",
        line=line,
        advice=f"remove {name}; give {_OPTIONS}.{option[0].lower()}{option[1:]}",
    )


def _backend(cluster: Part) -> str | None:
    """The backend that is chosen; None without options, or while it is not known."""
    if not cluster.has(_OPTIONS):
        return None
    return cluster.text(_OPTIONS, "backend") if cluster.has(_OPTIONS, "backend") else "redis"


def _of_redis_only(option: str) -> Rule:
    shown, line = _REDIS_ONLY[option]
    return Rule(
        find=lambda cluster: when(_backend(cluster) == "rocksdb" and mapping(cluster.value[_OPTIONS]).get(option)),
        field=f"{{path}}.{_OPTIONS}.{option}",
        words=f"cannot set GcsFaultToleranceOptions.{shown} when backend is 'rocksdb'",
        line=line,
        since=(1, 7, 0),
        advice="leave it out, or use the backend redis",
    )


def _embedded_without_gate(cluster: Part) -> Values | None:
    return when(_backend(cluster) == "rocksdb" and not cluster.operator.on("GCSFaultToleranceEmbeddedStorage"))


_FAULT_TOLERANCE: tuple[Rule, ...] = (
    Rule(find=lambda cluster: when(cluster.has(_OPTIONS) and _annotation(cluster, _FT_ENABLED)),
        field="metadata.annotations", line=154,
        words=f"{_FT_ENABLED} annotation and GcsFaultToleranceOptions are both set. "
        "Please use only GcsFaultToleranceOptions to configure GCS fault tolerance",
        advice=f"remove the annotation {_FT_ENABLED}"),
    Rule(find=_implicit_redis, field=_HEAD_ENV, line=160,
        words="RAY_REDIS_ADDRESS is set which implicitly enables GCS fault tolerance, but GcsFaultToleranceOptions "
        "is not set. Please set GcsFaultToleranceOptions to enable GCS fault tolerance",
        advice=f"remove RAY_REDIS_ADDRESS; give {_OPTIONS}.redisAddress"),
    Rule(find=lambda cluster: when(cluster.has(_OPTIONS) and _start_params(cluster).get("redis-password")),
        field=f"{_HEAD_START}.redis-password", line=169,
        words=f"cannot set `redis-password` in rayStartParams {_USE_OPTIONS}.RedisPassword instead",
        advice=f"give {_OPTIONS}.redisPassword"),
    _env_beside_options("REDIS_PASSWORD", "RedisPassword", 174),
    _env_beside_options("RAY_REDIS_ADDRESS", "RedisAddress", 179),
    Rule(find=lambda cluster: when(cluster.has(_OPTIONS) and _annotation(cluster, _NAMESPACE_OF_STORAGE)),
        field="metadata.annotations", line=184,
        words=f"cannot set `{_NAMESPACE_OF_STORAGE}` annotation {_USE_OPTIONS}.ExternalStorageNamespace instead",
        advice=f"give {_OPTIONS}.externalStorageNamespace"),
    Rule(find=lambda cluster: when(_backend(cluster) not in (None, "rocksdb") and cluster.has(_OPTIONS, "storage")),
        field=f"{{path}}.{_OPTIONS}.storage", line=371, since=(1, 7, 0),
        words="cannot set GcsFaultToleranceOptions.Storage when backend is 'redis' - it only applies to the "
        "'rocksdb' backend",
        advice="leave it out, or use the backend rocksdb"),
    Rule(find=_embedded_without_gate, field=f"{{path}}.{_OPTIONS}.backend", line=337, since=(1, 7, 0),
        words="the embedded RocksDB GCS fault tolerance backend (GcsFaultToleranceOptions.Backend: 'rocksdb') "
        "requires the GCSFaultToleranceEmbeddedStorage feature gate to be enabled",
        advice="turn the operator's feature gate GCSFaultToleranceEmbeddedStorage on, or use the backend redis"),
    *map(_of_redis_only, _REDIS_ONLY),
    Rule(find=lambda one: when(_start_params(one).get("redis-username") or "REDIS_USERNAME" in head_env(one)),
        field="{path}.headGroupSpec", line=193,
        words="cannot set redis username in rayStartParams or environment variables - use "
        "GcsFaultToleranceOptions.RedisUsername instead",
        advice=f"give {_OPTIONS}.redisUsername"),
)  # fmt: skip

# Autoscaling


def _v2_without_autoscaler(cluster: Part) -> Values | None:
    value = head_env(cluster).get(AUTOSCALER_V2)
    return when(cluster.switch("enableInTreeAutoscaling") is False and value in ("1", "true"), value=value)


def _v2_twice(cluster: Part) -> Values | None:
    is_chosen = cluster.switch("enableInTreeAutoscaling") and cluster.has("autoscalerOptions", "version")
    return when(is_chosen and AUTOSCALER_V2 in head_env(cluster))


_V2_WITHOUT_AUTOSCALER = Rule(
    find=_v2_without_autoscaler,
    field=_HEAD_ENV,
    words=f"environment variable {AUTOSCALER_V2} cannot be set to '{{value}}' when enableInTreeAutoscaling is false. "
    "Please set enableInTreeAutoscaling: true to use autoscaler v2",
    line=209,
    since=(1, 5, 0),
    advice="set enableInTreeAutoscaling to true, or remove the variable",
)
_V2_TWICE = Rule(
    find=_v2_twice,
    field=_HEAD_ENV,
    words=f"both .spec.autoscalerOptions.version and head Pod env var {AUTOSCALER_V2} are set, "
    "please only use the former",
    line=223,
    since=(1, 4, 0),
    advice="remove the variable",
)
_HEAD_RESTARTS = restart_rule("restartPolicy for head Pod should be Never or unset when using autoscaler V2", 228)
_WORKER_RESTARTS = restart_rule(
    "restartPolicy for worker group {name} should be Never or unset when using autoscaler V2", 233
)


def _idle_seconds(cluster: Part) -> Values | None:
    seconds = cluster.number("autoscalerOptions", "idleTimeoutSeconds")
    return when((seconds or 0) < 0, seconds=seconds)


_AUTOSCALER_OPTIONS: tuple[Rule, ...] = (
    Rule(find=_idle_seconds, field="{path}.autoscalerOptions.idleTimeoutSeconds", line=243, since=(1, 6, 0),
        words="autoscalerOptions.idleTimeoutSeconds must be non-negative, got {seconds}",
        reason="is {seconds}", advice="give 0 or more seconds"),
    Rule(find=lambda cluster: when(_AUTOSCALER_COMMAND in env_of(mapping(cluster.value.get("autoscalerOptions")))),
        field="{path}.autoscalerOptions.env", line=254, since=(1, 7, 0),
        words=f"autoscalerOptions.env must not contain {_AUTOSCALER_COMMAND}: it is managed by KubeRay and injected "
        "automatically into the autoscaler container",
        advice="remove the variable"),
)  # fmt: skip

# Tokens, and what needs a feature gate


def _ray_for_tokens(cluster: Part) -> str | None:
    """The Ray version of a cluster that wants tokens; None if it wants none, or its version is not known."""
    return cluster.text("rayVersion") if cluster.text("authOptions", "mode") == "token" else None


def _strange_ray_for_tokens(cluster: Part) -> Values | None:
    ray = _ray_for_tokens(cluster)
    fault = version_fault(ray) if ray else None
    return when(fault, ray=ray, fault=fault)


def _old_ray_for_tokens(cluster: Part) -> Values | None:
    ray = _ray_for_tokens(cluster)
    return when(ray and version_fault(ray) is None and is_older(ray, "2.52.0"), ray=ray)


def _takes_kubernetes_tokens(cluster: Part) -> bool:
    return cluster.switch("authOptions", "enableK8sTokenAuth") is True


def _old_ray_for_kubernetes(cluster: Part) -> Values | None:
    ray = _ray_for_tokens(cluster)
    return when(ray and _takes_kubernetes_tokens(cluster) and is_older(ray, "2.55.0"), ray=ray)


def _two_kinds_of_tokens(cluster: Part) -> Values | None:
    is_token = cluster.text("authOptions", "mode") == "token"
    return when(is_token and _takes_kubernetes_tokens(cluster) and cluster.text("authOptions", "secretName"))


def _kubernetes_tokens_without_mode(cluster: Part) -> Values | None:
    mode = cluster.text("authOptions", "mode")
    return when(_takes_kubernetes_tokens(cluster) and mode is not None and mode != "token")


_TOKENS: tuple[Rule, ...] = (
    Rule(find=lambda cluster: when(_ray_for_tokens(cluster) == ""), field="{path}.authOptions.mode", line=286,
        since=(1, 5, 1),
        words="authOptions.mode is 'token' but RayVersion was not specified. Ray version 2.52.0 or later is required",
        advice="give rayVersion"),
    Rule(find=_strange_ray_for_tokens, field="{path}.rayVersion", line=291, since=(1, 5, 1),
        words="authOptions.mode is 'token' but RayVersion format is invalid: {ray}, {fault}",
        advice="give rayVersion as numbers, such as 2.60.0"),
    Rule(find=_old_ray_for_tokens, field="{path}.authOptions.mode", line=297, since=(1, 5, 1), always=True,
        words="authOptions.mode is 'token' but minimum Ray version is 2.52.0, got {ray}",
        reason="is token, which needs Ray 2.52 or later, while rayVersion is {ray}",
        advice="raise rayVersion, or leave the mode out"),
    Rule(find=_old_ray_for_kubernetes, field="{path}.authOptions.enableK8sTokenAuth", line=303, since=(1, 6, 0),
        words="authOptions.enableK8sTokenAuth is enabled but minimum Ray version is 2.55.0, got {ray}",
        advice="raise rayVersion, or use mode: token alone"),
    Rule(find=_two_kinds_of_tokens, field="{path}.authOptions.secretName", line=306, since=(1, 6, 0),
        words="authOptions.enableK8sTokenAuth is enabled and authOptions.secretName is also set",
        advice="keep one of the two"),
    Rule(find=_kubernetes_tokens_without_mode, field="{path}.authOptions.enableK8sTokenAuth", line=311, since=(1, 6, 0),
        words="authOptions.enableK8sTokenAuth is enabled but authOptions.mode not set to 'token'",
        advice="use mode: token alone"),
)  # fmt: skip


_NEEDS_GATE = "spec.{field} requires the {gate} feature gate to be enabled"


def _gated(field: str, gate: str, line: int, words: str = _NEEDS_GATE) -> Rule:
    return Rule(
        find=lambda cluster: when(cluster.has(field) and not cluster.operator.on(gate), field=field, gate=gate),
        field=f"{{path}}.{field}",
        words=words,
        line=line,
        since=(1, 7, 0),
        advice=f"turn the operator's feature gate {gate} on, or leave the field out",
    )


_HISTORY = _gated("historyServerOptions", "RayClusterHistoryServer", 262, "{gate} feature gate is not enabled")
_NETWORK = (_gated("networkPolicy", "RayClusterNetworkPolicy", 317), _gated("tlsOptions", "RayClusterMTLS", 324))

CLUSTER_RULES: tuple[Section, ...] = (
    (head_of, HEAD_RULES),
    (workers_of, WORKER_RULES),
    (itself, _FAULT_TOLERANCE),
    (workers_of, (SUSPENDED_WITHOUT_GATE,)),
    (itself, (_V2_WITHOUT_AUTOSCALER,)),
    (workers_of, (SUSPENDED_WITH_AUTOSCALER,)),
    (itself, (_V2_TWICE,)),
    (head_of, (_HEAD_RESTARTS,)),
    (workers_of, (_WORKER_RESTARTS,)),
    (itself, (*_AUTOSCALER_OPTIONS, _HISTORY, *_TOKENS, *_NETWORK)),
)
_JOB_KINDS = ("RayJob", "RayService")


def _upgrade_of_a_job(cluster: Part) -> Values | None:
    creator = cluster.values.get("creator")
    return when(creator in _JOB_KINDS and cluster.text("upgradeStrategy", "type"), creator=creator)


RAYCLUSTER_RULES: tuple[Section, ...] = (
    *CLUSTER_RULES,
    (
        itself,
        (
            Rule(find=_upgrade_of_a_job, field="{path}.upgradeStrategy", line=53, since=(1, 6, 0),
                words="upgradeStrategy cannot be set when RayCluster is created by {creator}",
                advice="leave it out"),
        ),
    ),
)  # fmt: skip
