"""Ray clusters that already run, as a backend for dagster-ray. Importing it does not import ray."""

from ray_address_backend._ray_address import InvalidAddressError, RayAddress
from ray_address_backend._with_jobs import RayAddressWithJobs

__all__ = ["InvalidAddressError", "RayAddress", "RayAddressWithJobs"]
