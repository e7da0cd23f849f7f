"""The public names, pinned: a change here is a change for users."""

import dagster_ray.core
from dagster_ray.core import errors

NAMES = [
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
ERRORS = [
    "BackendBrokenError",
    "BackendNotFoundError",
    "CleanupFailedError",
    "ConnectFailedError",
    "DagsterRayError",
    "DriverInUseError",
    "InvalidFieldError",
    "InvalidVariableError",
    "MissingVariableError",
    "NotARayResourceError",
    "NotConnectedError",
    "NotCreatedError",
    "NotReadyError",
    "ObjectMissingError",
    "RayNotInstalledError",
    "UnknownFieldError",
]


def test_the_names_of_the_package() -> None:
    assert dagster_ray.core.__all__ == NAMES
    assert sorted(NAMES) == NAMES
    assert [name for name in NAMES if not hasattr(dagster_ray.core, name)] == []


def test_the_names_of_the_errors() -> None:
    assert errors.__all__ == ERRORS
    assert sorted(ERRORS) == ERRORS
    assert [name for name in ERRORS if not hasattr(errors, name)] == []
