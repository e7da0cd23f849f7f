"""What executor and run launcher are configured with: a job server, and what drivers take there."""

import os
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from dagster_ray.core import StrictConfig
from dagster_ray.core.errors import InvalidFieldError, MissingVariableError
from dagster_ray.core.variables import field_path
from dagster_ray.pipes._driver_config import DriverConfig, driver_config
from dagster_ray.pipes._job_client import RayJobClient

PATH = "ray"
"""The field of executor and launcher that has all of it."""
_OF_DRIVER = ("num_cpus", "num_gpus", "memory", "resources", "runtime_env")


class DriverJobsConfig(StrictConfig):
    """What is submitted as Ray jobs, wherever that is."""

    metadata: dict[str, str] | None = Field(default=None, description="Texts that Ray keeps with each job.")
    runtime_env: dict[str, Any] | None = Field(
        default=None, description="Ray's runtime environment of each job. Local folders are uploaded."
    )
    env_vars: list[str] | None = Field(
        default=None,
        description=(
            "Environment variables of each job: `NAME=value`, or `NAME` for the value that the submitting process "
            "has. Ray shows them in its dashboard, and a RayJob in its spec: they are no place for secrets."
        ),
    )
    num_cpus: float | None = Field(default=None, description="CPUs of each job's driver. Unset: none.")
    num_gpus: float | None = Field(default=None, description="GPUs of each job's driver. Unset: none.")
    memory: int | None = Field(default=None, description="Memory of each job's driver, in bytes. Unset: none.")
    resources: dict[str, float] | None = Field(default=None, description="Custom resources of each job's driver.")
    server_timeout: float = Field(
        default=1800.0,
        ge=0,
        description="Seconds for which a job server that has answered may be unavailable. Before, 30 s.",
    )

    def driver(self) -> DriverConfig:
        """Return what each driver takes.

        Raises:
            InvalidFieldError: A field has a wrong value.
        """
        return driver_config({name: getattr(self, name) for name in _OF_DRIVER}, PATH)


class RayJobsConfig(DriverJobsConfig):
    """A job server, and what is submitted there."""

    address: str | None = Field(default=None, description="`http://host:port` of Ray's dashboard.")
    headers: dict[str, str] | None = Field(default=None, description="Headers of each request to the job server.")
    cookies: dict[str, str] | None = Field(default=None, description="Cookies of each request to the job server.")

    def client(self) -> RayJobClient:
        """Return a client of the job server.

        Raises:
            InvalidFieldError: There is no address, or it is not an http URL.
        """
        if self.address is None:
            advice = "write the URL of Ray's dashboard, for example http://ray-head:8265"
            raise InvalidFieldError(field_path(PATH, "address"), "is missing", advice)
        try:
            return RayJobClient(self.address, headers=self.headers, cookies=self.cookies)
        except InvalidFieldError as error:
            raise InvalidFieldError(field_path(PATH, error.field), error.reason, error.advice) from None


def variables_of(env_vars: list[str] | None, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment variables that `env_vars` means.

    Raises:
        InvalidFieldError: An entry has no name.
        MissingVariableError: A variable is to have this process' value, and this process has none.
    """
    found: dict[str, str] = {}
    for number, entry in enumerate(env_vars or ()):
        name, is_given, value = entry.partition("=")
        path = field_path(f"{PATH}.env_vars", number)
        if not name:
            raise InvalidFieldError(path, "has no name", "write `NAME=value`, or `NAME`")
        if not is_given and name not in environ:
            raise MissingVariableError(name, path)
        found[name] = value if is_given else environ[name]
    return found
