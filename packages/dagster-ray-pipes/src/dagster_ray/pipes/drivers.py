"""How a backend lets the bodies of steps run inside its cluster, for authors of backends.

A backend inherits `ClusterDriverResource`, which has the fields `driver` and `driver_*`, and says where the cluster's
job server is:

    class MyRay(ClusterDriverResource):
        def job_place(self, context):
            return Place(RayJobClient(f"http://{self.host}:8265"))
"""

from dagster_ray.pipes._job_run import RunSettings
from dagster_ray.pipes._step_driver.resource import ClusterDriverResource
from dagster_ray.pipes._submitted_job import Place

__all__ = ["ClusterDriverResource", "Place", "RunSettings"]
