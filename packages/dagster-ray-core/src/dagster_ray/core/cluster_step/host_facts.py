"""What a step's process knows of Dagster's instance, and the worker's own, empty instance does not.

Without it the worker would compute other data versions than Dagster, and refuse keys of dynamic partitions.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.execution.context.data_version_cache import InputAssetVersionInfo

if TYPE_CHECKING:
    from dagster._core.execution.context.system import StepExecutionContext


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Plain data, ready for JSON.

    Attributes:
        records: By asset key (`AssetKey.to_string`): the last event of an upstream asset; None: it has none.
        dynamic_partitions: By name of a definition: its keys.
        python_log_level: The level of `python_logs`; None: unset.
        managed_loggers: The Python loggers that Dagster captures.
    """

    records: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict[str, "Mapping[str, Any] | None"])
    dynamic_partitions: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    python_log_level: str | None = None
    managed_loggers: Sequence[str] = field(default_factory=list[str])

    @property
    def instance_settings(self) -> dict[str, Any]:
        """The settings of the worker's instance."""
        logs: dict[str, Any] = {"managed_python_loggers": list(self.managed_loggers)}
        if self.python_log_level is not None:
            logs["python_log_level"] = self.python_log_level
        return {"python_logs": logs}

    def records_by_key(self) -> dict[dg.AssetKey, InputAssetVersionInfo | None]:
        """Return the records as Dagster's data version cache keeps them."""
        return {_key(text): None if value is None else _decoded(value) for text, value in self.records.items()}


def _key(text: str) -> dg.AssetKey:
    key = dg.AssetKey.from_db_string(text)
    assert key is not None  # noqa: S101 - it was written by `to_string`
    return key


def _decoded(value: Mapping[str, Any]) -> InputAssetVersionInfo:
    version = value["data_version"]
    return InputAssetVersionInfo(
        storage_id=value["storage_id"],
        event_type=dg.DagsterEventType(value["event_type"]),
        data_version=None if version is None else dg.DataVersion(version),
        run_id=value["run_id"],
        timestamp=value["timestamp"],
    )


def _encoded(record: InputAssetVersionInfo) -> dict[str, Any]:
    return {
        "storage_id": record.storage_id,
        "event_type": record.event_type.value,
        "data_version": None if record.data_version is None else record.data_version.value,
        "run_id": record.run_id,
        "timestamp": record.timestamp,
    }


def checked_assets(context: "StepExecutionContext") -> list[dg.AssetKey]:
    """Return the assets that the step's checks are about, in the order of its outputs."""
    layer, found = context.job_def.asset_layer, list[dg.AssetKey]()
    for output in context.step.step_outputs:
        check = layer.get_asset_check_key_for_node_output(context.node_handle, output.name)
        if check is not None and check.asset_key not in found:
            found.append(check.asset_key)
    return found


def host_facts(context: "StepExecutionContext") -> HostFacts:
    """Ask Dagster's instance for what the worker needs of it."""
    if context.is_sda_step:
        context.fetch_external_input_asset_version_info()
    for key in checked_assets(context):
        context.maybe_fetch_and_get_input_asset_version_info(key)
    instance = context.instance
    records = context.input_asset_records or {}
    names = dict.fromkeys(_dynamic_names(_partitions_of_step(context)))
    return HostFacts(
        records={key.to_string(): None if record is None else _encoded(record) for key, record in records.items()},
        dynamic_partitions={name: list(instance.get_dynamic_partitions(name)) for name in names},
        python_log_level=instance.python_log_level,
        managed_loggers=list(instance.managed_python_loggers),
    )


def _partitions_of_step(context: "StepExecutionContext") -> Iterator[dg.PartitionsDefinition[Any]]:
    """Yield the partitions of the run, of the step's assets and of the assets that these depend on."""
    layer = context.job_def.asset_layer
    outputs = list(context.get_output_asset_keys())
    parents = [key for output in outputs if layer.has(output) for key in layer.get(output).parent_keys]
    for key in [*outputs, *parents, *checked_assets(context)]:
        if layer.has(key) and (found := layer.get(key).partitions_def) is not None:
            yield found
    if context.job_def.partitions_def is not None:
        yield context.job_def.partitions_def


def _dynamic_names(definitions: Iterable[dg.PartitionsDefinition[Any]]) -> Iterator[str]:
    for definition in definitions:
        if isinstance(definition, dg.DynamicPartitionsDefinition) and definition.name is not None:
            yield definition.name
        elif isinstance(definition, dg.MultiPartitionsDefinition):
            yield from _dynamic_names(each.partitions_def for each in definition.partitions_defs)


def seed(context: "StepExecutionContext", facts: HostFacts) -> None:
    """Give a step in the worker what its instance lacks: records of upstream assets, keys of dynamic partitions.

    Only of assets that this very step has materialized does the worker's instance know more.
    """
    for name, keys in facts.dynamic_partitions.items():
        if keys:
            context.instance.add_dynamic_partitions(name, list(keys))
    cache: Any = getattr(context, "_data_version_cache")  # noqa: B009 - there is no public way to say this
    known, fetch = facts.records_by_key(), cache._fetch_input_asset_version_info  # noqa: SLF001

    def answered(keys: Sequence[dg.AssetKey]) -> None:
        above = [key for key in keys if key in known and not context.has_data_version(key)]
        fetch([key for key in keys if key not in above])
        cache.input_asset_version_info.update({key: known[key] for key in above})

    cache._fetch_input_asset_version_info = answered  # noqa: SLF001
