"""The tutorial's asset, unchanged, by Ray Client and by `driver="cluster"` on one cluster: runs tell the same.

Partitions, dynamic outputs and selections: `test_driver_in_cluster` of dagster-ray-pipes, without Ray.
"""

# Dagster's events are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from cluster_targets import ClusterTarget
from driver_runs import execute, told

from dagster_ray.kuberay.groups import head_group

HERE = Path(__file__).parent
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore:.*:Warning"),
    pytest.mark.weekly,
]
SMALL = {"headGroupSpec": head_group(cpus=1, memory="2Gi", num_cpus=2), "workerGroupSpecs": []}


def version_of_tutorial(instance: dg.DagsterInstance) -> str:
    event = instance.get_latest_materialization_event(dg.AssetKey("sum_of_squares"))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["total"].value == 333833500
    return (event.asset_materialization.tags or {})["dagster/data_version"]


def renamed(text: str, names: Mapping[str, str]) -> str:
    for name, other in names.items():
        text = text.replace(name, other)
    return text


def test_a_run_tells_the_same_by_both_drivers(target: ClusterTarget, tmp_path: Path) -> None:
    """Events of a success, a retry, a check and a failure, with tags, data versions, metadata and errors."""
    (tmp_path / "home").mkdir()
    found: dict[str, list[str]] = {}
    kinds: set[str] = set()
    with dg.DagsterInstance.local_temp(str(tmp_path / "home")) as instance:
        for driver in ("step", "cluster"):
            sharing = {"enabled": True, "ttl_seconds": 600, "match_spec": False}
            fields = target.cluster_fields(spec=SMALL, cluster_sharing=sharing, driver=driver, timeout=300.0)
            arguments: Any = (fields, str(tmp_path / driver))
            job = dg.build_reconstructable_job("both_drivers_job", "both_drivers_job", arguments, {}, str(HERE))
            run = execute(instance, job)
            events = [event for event in told(instance, run.run_id) if event[0] != "LOG" or "body: " in event[2]]
            # The tutorial's asset has no code version, so its data version is made from the run's id.
            names = {str(tmp_path / driver): "FOLDER", version_of_tutorial(instance): "VERSION"}
            found[driver] = [renamed(str(event), names) for event in events]
            kinds |= {event[0] for event in events}
    assert "\n".join(found["cluster"]) == "\n".join(found["step"])
    assert {"ASSET_MATERIALIZATION", "ASSET_CHECK_EVALUATION", "STEP_RESTARTED", "STEP_FAILURE", "LOG"} <= kinds
    assert len(target.objects("rayclusters")) == 1
    target.delete_all()
