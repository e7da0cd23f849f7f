"""Every error of the KubeRay backend, as users catch them.

The three groups: what the Kubernetes API answers, what is wrong with a specification, and what happens to a cluster.
"""

from dagster_ray.core.errors import InvalidVariableError, MissingVariableError
from dagster_ray.kuberay._kubernetes.errors import (
    ConflictError,
    CredentialsError,
    ExecPluginError,
    ForbiddenError,
    InvalidObjectError,
    KindNotInstalledError,
    KubeconfigError,
    KubernetesAnswerError,
    KubernetesError,
    NotFoundError,
    ServerTimeUnknownError,
    UnauthorizedError,
    UnavailableError,
)
from dagster_ray.kuberay._spec.errors import InvalidSpecError, SpecFileError
from dagster_ray.kuberay._status.errors import (
    CannotStartError,
    ClientPortClosedError,
    ClusterGoneError,
    FieldNotSupportedError,
    NameTakenError,
    OperatorSilentError,
    PoolBusyError,
    QueueTimeoutError,
    RayJobEndedError,
    RightsMissingError,
    SpecRefusedError,
    TokenRequiredError,
    VersionMismatchError,
    WriteDeniedError,
)

__all__ = [
    "CannotStartError",
    "ClientPortClosedError",
    "ClusterGoneError",
    "ConflictError",
    "CredentialsError",
    "ExecPluginError",
    "FieldNotSupportedError",
    "ForbiddenError",
    "InvalidObjectError",
    "InvalidSpecError",
    "InvalidVariableError",
    "KindNotInstalledError",
    "KubeconfigError",
    "KubernetesAnswerError",
    "KubernetesError",
    "MissingVariableError",
    "NameTakenError",
    "NotFoundError",
    "OperatorSilentError",
    "PoolBusyError",
    "QueueTimeoutError",
    "RayJobEndedError",
    "RightsMissingError",
    "ServerTimeUnknownError",
    "SpecFileError",
    "SpecRefusedError",
    "TokenRequiredError",
    "UnauthorizedError",
    "UnavailableError",
    "VersionMismatchError",
    "WriteDeniedError",
]


def __dir__() -> list[str]:
    return sorted(__all__)
