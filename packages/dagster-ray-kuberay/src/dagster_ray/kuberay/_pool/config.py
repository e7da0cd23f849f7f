"""Configuration of a pool of warm clusters."""

# Dagster's config classes are typed in part only.
# pyright: reportUnknownMemberType=false

from typing import Self

from pydantic import Field, model_validator

from dagster_ray.core import StrictConfig
from dagster_ray.core.variables import is_env_var
from dagster_ray.kuberay._pool.members import MOST_MEMBERS, Sizes
from dagster_ray.kuberay._spec.errors import InvalidSpecError


class ClusterPool(StrictConfig):
    """Keep RayClusters warm, and let each step have one of them for itself.

    A step claims a free cluster and gives it back after a success that leaves neither actors nor jobs. After anything
    else the cluster is deleted. The cleanup sensor keeps the pool at its size while steps use it.
    """

    name: str | None = Field(
        default=None,
        min_length=1,
        description=(
            "What the pool is called. Resources with the same name and the same specification, in one code location, "
            "use one pool. Unset: the resource key."
        ),
    )
    size: int = Field(
        default=1,
        ge=0,
        le=MOST_MEMBERS,
        description=(
            "How many clusters the pool keeps, claimed and free ones together, as long as steps use it. 0: only those "
            "that steps have made, until they have been free for idle_seconds."
        ),
    )
    max_size: int | None = Field(
        default=None,
        ge=1,
        le=MOST_MEMBERS,
        description=(
            "How many clusters there may be at a time, those that are being deleted included. A step that finds none "
            "free makes one up to here, and waits otherwise. Unset: size, and at least 1."
        ),
    )
    idle_seconds: float = Field(
        default=1800.0,
        ge=0,
        le=30 * 86400,
        description=(
            "Seconds without any step after which the cleanup sensor deletes all clusters of the pool, and seconds "
            "after which it deletes a free one beyond size."
        ),
    )
    recycle_after_uses: int | None = Field(
        default=None, ge=1, description="How many steps one cluster serves before it is replaced. Unset: any number."
    )
    recycle_after_seconds: float | None = Field(
        default=None,
        gt=0,
        description=(
            "Age in seconds after which a cluster is not claimed any more and is replaced when it is free. Unset: none."
        ),
    )

    def sizes(self) -> Sizes:
        """Return how many clusters the pool has, and how long each lives."""
        return Sizes(
            size=self.size,
            max_size=max(1, self.size) if self.max_size is None else self.max_size,
            idle_seconds=self.idle_seconds,
            recycle_after_uses=self.recycle_after_uses,
            recycle_after_seconds=self.recycle_after_seconds,
        )

    @model_validator(mode="after")
    def _max_size_has_room_for_size(self) -> Self:
        if self.max_size is None or any(map(is_env_var, (self.size, self.max_size))):
            return self
        if self.max_size < self.size:
            raise InvalidSpecError("max_size", f"is {self.max_size}, and size is {self.size}", "use size or more")
        return self
