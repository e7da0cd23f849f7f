"""The body of an asset as a job on a real Ray head: a native driver, without Ray Client."""

# pyright: reportUnknownMemberType=false

import pickle
from collections.abc import Generator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from ray_head import RayHead

from dagster_ray.pipes import RayJobClient
from ray_address_backend import RayAddressWithJobs

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*:Warning")


@pytest.fixture
def instance(tmp_path: Path) -> Generator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as found:
        yield found


def test_a_body_runs_in_the_cluster(
    ray_head: RayHead, instance: dg.DagsterInstance, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments: Any = (ray_head.gcs_address, ray_head.job_server, str(tmp_path))
    job = dg.build_reconstructable_job("cluster_job", "cluster_job", arguments, {}, str(Path(__file__).parent))
    in_process: Any = {"execution": {"config": {"in_process": {}}}}
    run = dg.execute_job(job, instance, run_config=in_process, raise_on_error=True)
    assert pickle.loads((tmp_path / "squares").read_bytes()) == [1, 4, 9]
    (event,) = instance.fetch_materializations(dg.AssetKey("squares"), limit=1).records
    materialization = event.asset_materialization
    assert materialization is not None
    seen = {name: value.value for name, value in materialization.metadata.items()}
    assert seen["job"] == seen["driver"]
    assert (seen["name"], seen["elsewhere"], seen["variable"]) == (f"Ray at {ray_head.gcs_address}", True, "set")
    assert str(seen["address"]).endswith(ray_head.gcs_address.partition(":")[2])
    lines = [entry.user_message for entry in instance.all_logs(run.run_id)]
    assert "Ray Client: False" in lines
    assert "printed by the body" in capfd.readouterr().out
    with RayJobClient(ray_head.job_server) as client:
        (found,) = [each for each in client.list() if each.metadata.get("dagster/step-key") == "squares"]
    assert (found.status, found.job_id) == ("SUCCEEDED", seen["job"])


def test_by_default_the_body_runs_in_the_step() -> None:
    resource = RayAddressWithJobs(ray_address="127.0.0.1:6379", job_server="http://127.0.0.1:8265")
    assert (resource.driver, resource.driver_in_cluster) == ("step", False)
