"""Ray clusters that already run, as a backend for dagster-ray. Importing it does not import ray."""

from ray_address_backend._ray_address import InvalidAddressError, RayAddress

__all__ = ["InvalidAddressError", "RayAddress"]
