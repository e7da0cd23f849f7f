"""Which option belongs to the cluster and which to a step's driver. Pure."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

# ray/_private/worker.py, init(): what describes the driver's job. All else shapes the cluster.
_OF_THE_DRIVER = frozenset(
    {
        "configure_logging",
        "job_config",
        "log_to_driver",
        "logging_config",
        "logging_format",
        "logging_level",
        "namespace",
        "runtime_env",
    }
)


def split_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of `ray.init` that shape a cluster, and those of a driver that joins it."""
    cluster = {name: value for name, value in options.items() if name not in _OF_THE_DRIVER}
    driver = {name: value for name, value in options.items() if name in _OF_THE_DRIVER}
    return cluster, driver


def sharing_key(cluster_options: Mapping[str, Any], surroundings: Mapping[str, Any]) -> str:
    """Return the name of the cluster that everybody with these options meets on.

    Args:
        cluster_options: What shapes the cluster: another shape is another cluster.
        surroundings: What else must be the same for drivers to fit: Python, Ray's version, auth mode.
    """
    described = json.dumps([dict(cluster_options), dict(surroundings)], sort_keys=True, default=repr)
    return hashlib.sha256(described.encode()).hexdigest()[:12]
