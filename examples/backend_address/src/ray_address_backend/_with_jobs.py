"""`RayAddressWithJobs`: the same cluster, whose job server lets the bodies of steps run inside."""

import dagster as dg
from pydantic import Field, PrivateAttr
from typing_extensions import override

from dagster_ray.core import DagsterContext, Deadline
from dagster_ray.pipes import RayJobClient
from dagster_ray.pipes.drivers import ClusterDriverResource, Place
from ray_address_backend._ray_address import RayAddress


class RayAddressWithJobs(ClusterDriverResource, RayAddress):
    """A `RayAddress` that also knows the cluster's job server, for `driver="cluster"`."""

    job_server: str = Field(description="http://host:port of Ray's dashboard, where jobs are submitted.")

    _client: RayJobClient | None = PrivateAttr(default=None)

    @override
    def wait_for_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        """Wait until the job server answers, or for a driver until the port accepts connections.

        Raises:
            JobServerUnavailableError: The job server did not answer before the deadline.
            NotReadyError: The port did not open before the deadline.
        """
        if not self.driver_in_cluster:
            super().wait_for_cluster(context, deadline)
            return
        self._client = RayJobClient(self.job_server, timeout=max(1.0, deadline.remaining_seconds()))
        self._client.version()

    @override
    def job_place(self, context: dg.OpExecutionContext) -> Place:
        """Return the job server."""
        return Place(self._client or RayJobClient(self.job_server))

    @override
    def release(self, context: DagsterContext) -> None:
        """Close the connections to the job server."""
        if self._client is not None:
            self._client.close()
