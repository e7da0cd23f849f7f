"""`RayAddress`: a Ray cluster that somebody else runs."""

import re
import socket

from pydantic import Field
from typing_extensions import override

from dagster_ray.core import BaseRayResource, DagsterContext, DagsterRayError, Deadline, StepOutcome
from dagster_ray.core.errors import NotReadyError

_ADDRESS = re.compile(r"(?:ray://)?(?P<host>\[[^\]]+\]|[^\s/:\[\]]+):(?P<port>\d+)")
_DIAL_SECONDS = 2.0
_RETRY_SECONDS = 0.5


class InvalidAddressError(DagsterRayError):
    """`ray_address` is not an address that drivers connect to."""

    code = "ray-address-invalid"
    failure_class = "configuration"
    problem = "{address!r} is not an address of a Ray cluster."
    remedy = "set `ray_address` to ray://host:10001 or, on a machine of the cluster, to host:6379."

    address: str


class RayAddress(BaseRayResource):
    """A Ray cluster that already runs, given by its address.

    It is used as it is and never deleted, whatever `lifecycle.cleanup` says.
    """

    ray_address: str = Field(
        description=(
            "ray://host:port of the Ray Client server, or host:port of the GCS if the step runs on a machine of the "
            "cluster."
        )
    )

    @property
    @override
    def address(self) -> str:
        """Where drivers connect."""
        return self.ray_address

    @property
    @override
    def display_name(self) -> str:
        """The cluster's name for logs."""
        return f"Ray at {self.ray_address}"

    @override
    def create_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        """Check the address. There is nothing to create.

        Not in a validator: with `dg.EnvVar` the address is known only when a step runs.

        Raises:
            InvalidAddressError: `ray_address` has another form.
        """
        self._host_and_port()

    @override
    def wait_for_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        """Wait until the port accepts connections.

        Raises:
            NotReadyError: It did not before the deadline.
        """
        endpoint = self._host_and_port()
        while True:
            seconds = max(0.1, min(_DIAL_SECONDS, deadline.remaining_seconds()))
            try:
                socket.create_connection(endpoint, timeout=seconds).close()
            except OSError as error:
                if not deadline.sleep(_RETRY_SECONDS):
                    raise NotReadyError(self.display_name, deadline.budget_seconds, str(error)) from error
            else:
                return

    @override
    def delete_cluster(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None:
        """Do nothing: the cluster belongs to somebody else."""

    def _host_and_port(self) -> tuple[str, int]:
        match = _ADDRESS.fullmatch(self.ray_address)
        if match is None:
            raise InvalidAddressError(self.ray_address)
        return match["host"].strip("[]"), int(match["port"])
