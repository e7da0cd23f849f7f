"""`Price`: what an hour of a cluster's resources costs, as users write it."""

from pydantic import Field

from dagster_ray.core import StrictConfig
from dagster_ray.kuberay._hours.figures import Rate


class Price(StrictConfig):
    """What an hour costs on some nodes. All prices of a resource have the same unit, which is also that of the cost."""

    node_labels: dict[str, str] = Field(
        default_factory=dict,
        description="Labels of the nodes that have this price. Empty: all nodes. The first price that fits is used.",
    )
    node_hour: float = Field(
        default=0.0,
        ge=0,
        description=(
            "Price of an hour of a whole node. A pod pays the largest of its shares of the node's CPUs, memory and "
            "devices."
        ),
    )
    cpu_hour: float = Field(default=0.0, ge=0, description="Price of an hour of one of the CPUs that a pod reserves.")
    memory_gib_hour: float = Field(
        default=0.0, ge=0, description="Price of an hour of one GiB (2**30 bytes) of memory."
    )
    gpu_hour: float = Field(
        default=0.0, ge=0, description="Price of an hour of one of the devices that Ray calls GPUs."
    )
    resource_hours: dict[str, float] = Field(
        default_factory=dict,
        description="Prices of an hour of other resources by their name in Kubernetes, for example google.com/tpu.",
    )

    def rate(self) -> Rate:
        """Return the price as figures are computed with."""
        return Rate(
            node_labels=self.node_labels,
            node_hour=self.node_hour,
            cpu_hour=self.cpu_hour,
            memory_gib_hour=self.memory_gib_hour,
            gpu_hour=self.gpu_hour,
            resource_hours=self.resource_hours,
        )
