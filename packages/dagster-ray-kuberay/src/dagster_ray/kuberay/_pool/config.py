"""Configuration of a pool of warm clusters."""

# Dagster's config classes are typed in part only.
# pyright: reportUnknownMemberType=false

from typing import Self

from pydantic import Field, field_validator, model_validator

from dagster_ray.core import StrictConfig
from dagster_ray.core.variables import is_env_var
from dagster_ray.kuberay._pool.cron import is_cron, is_timezone
from dagster_ray.kuberay._pool.members import Sizes
from dagster_ray.kuberay._pool.schedule import MOST_CHARACTERS, MOST_ENTRIES, MOST_MEMBERS, Entry, Schedule
from dagster_ray.kuberay._spec.errors import InvalidSpecError


class PoolSize(StrictConfig):
    """How many clusters a pool keeps from certain times on, as an entry of `ClusterPool.schedule`."""

    cron: str = Field(
        max_length=MOST_CHARACTERS,
        description=(
            "When the size begins: a cron string of five fields, or a word such as @daily, as in a schedule of Dagster."
        ),
    )
    size: int = Field(
        ge=0,
        le=MOST_MEMBERS,
        description=(
            "How many clusters the pool keeps from then on, claimed and free ones together, also if no step uses them. "
            "0: only those that steps have made, until they have been free for idle_seconds."
        ),
    )

    @field_validator("cron")
    @classmethod
    def _cron_is_due_at_some_time(cls, value: str) -> str:
        if not is_env_var(value) and not is_cron(value):
            reason = f"is {value!r}, which is never due, or not a cron string of Dagster"
            raise InvalidSpecError("cron", reason, "use five fields, such as `0 8 * * 1-5`")
        return value


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
    size: int | None = Field(
        default=None,
        ge=0,
        le=MOST_MEMBERS,
        description=(
            "How many clusters the pool keeps, claimed and free ones together, as long as steps use it. 0: only those "
            "that steps have made, until they have been free for idle_seconds. Unset: 1, or what schedule says."
        ),
    )
    schedule: list[PoolSize] | None = Field(
        default=None,
        max_length=MOST_ENTRIES,
        description=(
            "Sizes that begin at certain times, in place of size. The one that began last is in force. Unset: none."
        ),
    )
    timezone: str = Field(
        default="UTC",
        min_length=1,
        max_length=MOST_CHARACTERS,
        description="The time zone of schedule, by its IANA name such as Europe/Berlin.",
    )
    max_size: int | None = Field(
        default=None,
        ge=1,
        le=MOST_MEMBERS,
        description=(
            "How many clusters there may be at a time, those that are being deleted included. A step that finds none "
            "free makes one up to here, and waits otherwise. Unset: size, or the largest of schedule, and at least 1."
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
        le=10**9,
        description=(
            "Age in seconds after which a cluster is not claimed any more and is replaced when it is free. Unset: none."
        ),
    )

    def sizes(self) -> Sizes:
        """Return how many clusters the pool has, and how long each lives."""
        schedule = [Entry(one.cron, one.size) for one in self.schedule or ()]
        size = 1 if self.size is None else self.size
        return Sizes(
            size=Schedule(tuple(schedule), self.timezone) if schedule else size,
            max_size=max([1, *([one.size for one in schedule] or [size])]) if self.max_size is None else self.max_size,
            idle_seconds=self.idle_seconds,
            recycle_after_uses=self.recycle_after_uses,
            recycle_after_seconds=self.recycle_after_seconds,
        )

    @field_validator("timezone")
    @classmethod
    def _timezone_is_known(cls, value: str) -> str:
        is_of_machine = value in {"localtime", "posixrules"}  # another one where the sensor runs
        if not is_env_var(value) and value != "UTC" and (is_of_machine or not is_timezone(value)):
            raise InvalidSpecError("timezone", f"is {value!r}, which is no time zone", "use a name like Europe/Berlin")
        return value

    @model_validator(mode="after")
    def _schedule_stands_in_place_of_size(self) -> Self:
        if self.schedule is None:
            return self
        if not self.schedule:
            raise InvalidSpecError("schedule", "is empty", "give it a size, or leave it out")
        if self.size is not None:
            raise InvalidSpecError("size", "is given, and so is schedule", "keep one of the two")
        crons = [one.cron if is_env_var(one.cron) else " ".join(one.cron.split()) for one in self.schedule]
        for place, cron in enumerate(crons):
            if not is_env_var(cron) and cron in crons[:place]:
                reason = f"is {cron!r}, as in schedule[{crons.index(cron)}]"
                raise InvalidSpecError(f"schedule[{place}].cron", reason, "keep one of the two")
        return self

    @model_validator(mode="after")
    def _max_size_has_room_for_each_size(self) -> Self:
        scheduled = [(f"schedule[{place}].size", one.size) for place, one in enumerate(self.schedule or ())]
        for field, size in (("size", self.size), *scheduled):
            if self.max_size is None or size is None or any(map(is_env_var, (size, self.max_size))):
                continue
            if self.max_size < size:
                raise InvalidSpecError("max_size", f"is {self.max_size}, and {field} is {size}", f"use {size} or more")
        return self
