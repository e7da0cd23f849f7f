"""`RayIOManager`: what steps of a run pass to each other stays in the object store of their Ray cluster."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
import os
from typing import Any

import dagster as dg
from pydantic import Field, PrivateAttr, model_validator
from typing_extensions import override

from dagster_ray.core._config import refuse_unknown_fields
from dagster_ray.core._connection import connect, require_ray
from dagster_ray.core._deadline import Deadline
from dagster_ray.core._driver import Connection, present_driver, process_driver
from dagster_ray.core.errors import InvalidFieldError, ObjectMissingError
from dagster_ray.core.run_objects import KEEPER_KEY, keeper_name

_TARGET = "RayIOManager"
_CONNECT_SECONDS = 60.0


class RayIOManager(dg.ConfigurableIOManager):
    """Keeps outputs in the object store of the Ray cluster that the steps of a run share.

    A step must run on that cluster as a Ray job, or have a driver there. Objects of a run go with the run; give an
    `underlying` IO manager for what must last.
    """

    address: str | None = Field(
        default=None,
        description=(
            "The cluster, as `ray.init` accepts it. Unset: the one that the step is connected to, or whose job it is."
        ),
    )
    keep_seconds: float = Field(
        default=3600.0,
        gt=0,
        description=(
            "Seconds for which the objects of a run are kept while no step is connected that has used them: the time "
            "that a run may spend between two steps."
        ),
    )
    underlying: dg.ResourceDependency[dg.IOManager | None] = None  # pyright: ignore[reportAssignmentType]
    """An IO manager that also stores each output, for what must outlive the run. Unset: none."""

    _connection: Connection | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _has_only_known_fields(cls, data: object) -> object:
        return refuse_unknown_fields(cls, data)

    @override
    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Leave an output in the object store, and with the underlying IO manager, if there is one."""
        if self.underlying is not None:
            self.underlying.handle_output(context, obj)
        partitions = list(context.asset_partition_keys) if context.has_asset_partitions else [None]
        if len(partitions) != 1:
            reason = f"cannot keep one output of {len(partitions)} partitions"
            raise InvalidFieldError(_TARGET, reason, "run one partition in a run, or return nothing from this asset")
        self._connect()
        from dagster_ray.core._object_keeper import store

        store(context.run_id, _key_of(context, partitions[0]), obj, self.keep_seconds)
        context.add_output_metadata({KEEPER_KEY: dg.MetadataValue.text(keeper_name(context.run_id))})

    @override
    def load_input(self, context: dg.InputContext) -> Any:
        """Return what an earlier step of the run has left; of several partitions a dictionary, by partition.

        Raises:
            ObjectMissingError: It is not there, and there is no underlying IO manager.
        """
        partitions = list(context.asset_partition_keys) if context.has_asset_partitions else [None]
        keys = {partition: _key_of(context, partition) for partition in partitions}
        self._connect()
        from dagster_ray.core._object_keeper import load

        found, reason, is_lost = load(context.step_context.run_id, list(keys.values()))
        missing = [partition for partition, key in keys.items() if key not in found]
        if missing:
            if self.underlying is not None:
                return self.underlying.load_input(context)
            absent = tuple(filter(None, missing))
            raise ObjectMissingError(_name_of(context), absent, reason, _step_of(context), is_lost)
        if len(partitions) == 1:
            return found[keys[partitions[0]]]
        return {partition: found[key] for partition, key in keys.items()}

    @override
    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Leave the driver, if it was used."""
        connection, self._connection = self._connection, None
        if connection is not None:
            process_driver.leave(connection)

    def _connect(self) -> None:
        """Use the driver of this process, or become one.

        Raises:
            InvalidFieldError: Nothing says where the cluster is.
        """
        if self._connection is not None:
            return
        require_ray(_TARGET, "ray[default]")
        present = present_driver()
        address = self.address or (os.environ.get("RAY_ADDRESS") if present is None else present.address)
        if not address:
            reason = "is not set, this process is no Ray job, and it is not connected to Ray"
            advice = "run the step as a Ray job, by `ray_executor`, give it a Ray resource, or write the address"
            raise InvalidFieldError(f"{_TARGET}.address", reason, advice)
        self._connection = connect(_TARGET, address, {"log_to_driver": False}, Deadline(_CONNECT_SECONDS))


def _key_of(context: dg.InputContext | dg.OutputContext, partition: str | None) -> str:
    """Return what names an output within a run."""
    if context.has_asset_key:
        return json.dumps(["asset", *context.asset_key.path, partition])
    output = context.upstream_output if isinstance(context, dg.InputContext) else context
    return json.dumps(["op", *(() if output is None else output.get_identifier()[1:])])  # without the run


def _name_of(context: dg.InputContext) -> str:
    if context.has_asset_key:
        return f"The asset {context.asset_key.to_user_string()}"
    return f"The input `{context.name}`"


def _step_of(context: dg.InputContext) -> str:
    """Return what must run again."""
    if context.has_asset_key:
        return f"the step of the asset {context.asset_key.to_user_string()}"
    output = context.upstream_output
    return "the step before it" if output is None else f"the step {output.step_key}"
