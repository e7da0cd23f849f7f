"""One interface to Ray clusters from Dagster steps.

A step declares `ray_cluster: RayResource`; the deployment chooses the backend.
Importing this package imports neither ray nor kubernetes.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING

from dagster_shared.libraries import DagsterLibraryRegistry

from dagster_ray.core._backends import installed_backends, load_backend
from dagster_ray.core._bounded_sockets import SocketLimit, bound_pools, dial, watched
from dagster_ray.core._config import Lifecycle, RayDataExecutionOptions, StrictConfig, VariablesConfig
from dagster_ray.core._config_types import with_values
from dagster_ray.core._connection import token_of_environment
from dagster_ray.core._dagster_context import (
    DagsterContext,
    ImageCandidates,
    StepContext,
    configured_instance_id,
    identity_of,
    image_candidates,
    instance_id_of,
    log_of,
    run_of,
    safe_log,
    step_key_of,
)
from dagster_ray.core._deadline import Deadline
from dagster_ray.core._identity import Identity
from dagster_ray.core._io_manager import RayIOManager
from dagster_ray.core._phases import CleanupPolicy, StepOutcome
from dagster_ray.core._protocol import RayResource, check_ray_resources, is_ray_resource, require_ray_resource
from dagster_ray.core._resource import BaseRayResource
from dagster_ray.core._run_phases import run_phases
from dagster_ray.core._secrets import SecretRef, secret_of, secrets_of, without_secrets
from dagster_ray.core._signals import interrupts_deferred, is_interrupt, lost_interrupts_raised
from dagster_ray.core._startup import is_of_this_machine, startup_metadata
from dagster_ray.core._wait_lines import WaitLines
from dagster_ray.core.errors import DagsterRayError

if TYPE_CHECKING:
    from dagster_ray.core._component import RayComponent

__all__ = [
    "BaseRayResource",
    "CleanupPolicy",
    "DagsterContext",
    "DagsterRayError",
    "Deadline",
    "Identity",
    "ImageCandidates",
    "Lifecycle",
    "RayComponent",
    "RayDataExecutionOptions",
    "RayIOManager",
    "RayResource",
    "SecretRef",
    "SocketLimit",
    "StepContext",
    "StepOutcome",
    "StrictConfig",
    "VariablesConfig",
    "WaitLines",
    "bound_pools",
    "check_ray_resources",
    "configured_instance_id",
    "dial",
    "identity_of",
    "image_candidates",
    "installed_backends",
    "instance_id_of",
    "interrupts_deferred",
    "is_interrupt",
    "is_of_this_machine",
    "is_ray_resource",
    "load_backend",
    "log_of",
    "lost_interrupts_raised",
    "require_ray_resource",
    "run_of",
    "run_phases",
    "safe_log",
    "secret_of",
    "secrets_of",
    "startup_metadata",
    "step_key_of",
    "token_of_environment",
    "watched",
    "with_values",
    "without_secrets",
]

__version__ = version("dagster-ray-core")
DagsterLibraryRegistry.register("dagster-ray-core", __version__, is_dagster_package=False)


def __getattr__(name: str) -> object:
    # Dagster's components take a while to set up, and few code locations declare them.
    if name == "RayComponent":
        from dagster_ray.core._component import RayComponent

        return RayComponent
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted((*__all__, "errors", "variables"))
