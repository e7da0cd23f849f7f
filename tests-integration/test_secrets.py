"""A Secret reaches jobs and tasks of a real Ray cluster, and its value is nowhere else: a search for a canary.

The value is one that a Secret of the user holds, or one of the Pipes context, which a Secret of ours hands over.
"""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import base64
import hashlib
import json
import os
import re
import sys
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_ray.kuberay import PipesKubeRayJobClient, SecretRef
from dagster_ray.kuberay.groups import head_group
from dagster_ray.simulator import Simulator

# Dagster's own Pipes code warns about itself with the context of an asset.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CANARY = "c4nary-" + hashlib.sha256(str(os.getpid()).encode()).hexdigest()[:24]
MARK = hashlib.sha256(CANARY.encode()).hexdigest()
TOKEN = SecretRef("hub", "token")
SPEC: dict[str, Any] = {
    "rayClusterSpec": {"headGroupSpec": head_group(cpus=1, memory="2Gi", num_cpus=1), "workerGroupSpecs": []}
}
# All kinds of objects that the simulator serves, but Secrets.
PLURALS = (
    *("rayjobs", "rayclusters", "pods", "services", "events", "configmaps", "jobs", "nodes", "namespaces", "leases"),
    *("endpointslices", "networkpolicies", "persistentvolumeclaims", "roles", "rolebindings", "serviceaccounts"),
    *("customresourcedefinitions", "workloads"),
)
# What Ray's dashboard shows: the job API, and the state API with all details.
PATHS = (
    "/api/jobs/",
    *(f"/api/v0/{what}?detail=1" for what in ("tasks", "actors", "workers", "nodes", "runtime_envs")),
)
# The Pipes context is packed: JSON, compressed, in base64.
PACKED = re.compile(r"[A-Za-z0-9+/]{64,}={0,2}")
JOB = """
import hashlib, os, ray

def hashes():
    return [hashlib.sha256(os.environ[name].encode()).hexdigest() for name in ("A", "B")]

ray.init()
print("the job found", *hashes())
print("a task found", *ray.get(ray.remote(hashes).remote()))
"""


def unpacked(text: str) -> str:
    """Return a text, and what the packed parts of it say."""
    found = [text]
    for part in PACKED.findall(text):
        with suppress(ValueError, zlib.error):
            found.append(zlib.decompress(base64.b64decode(part)).decode())
    return "\n".join(found)


def shown_by(dashboard: str) -> Iterator[tuple[str, str]]:
    """Yield what a dashboard shows, by path."""
    for path in PATHS:
        with urllib.request.urlopen(f"{dashboard}{path}", timeout=30) as answer:
            yield path, answer.read().decode()


def files_of_heads() -> Iterator[tuple[str, str]]:
    """Yield the log files of the simulator's heads."""
    for path in Path("/tmp").glob("kr-*/**/logs/**/*"):
        try:
            if path.is_file():
                yield str(path), path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # of a head that ends meanwhile


def objects_of(simulator: Simulator) -> Iterator[tuple[str, str]]:
    """Yield every object but Secrets."""
    for plural in PLURALS:
        yield plural, json.dumps(simulator.store.list(plural))


def test_a_secret_reaches_a_job_and_its_tasks_and_is_nowhere_else(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    (tmp_path / "job.py").write_text(JOB)
    runtime_env = {"env_vars": {"B": TOKEN, "STAGE": "dev"}}
    job = {"entrypoint": f"{sys.executable} {tmp_path / 'job.py'}", "runtime_env": runtime_env}
    seen: list[tuple[str, str]] = []

    @dg.asset
    def computed(context: dg.AssetExecutionContext, ray_pipes_client: PipesKubeRayJobClient) -> Any:
        done = ray_pipes_client.run(context=context, ray_job=job)
        (cluster,) = simulator.store.list("rayclusters")
        seen.extend(shown_by(f"http://{cluster['status']['head']['podIP']}:8265"))
        seen.extend(files_of_heads())
        return done.get_materialize_result()

    with Simulator() as simulator, dg.DagsterInstance.ephemeral() as instance:
        data = {"token": base64.b64encode(CANARY.encode()).decode()}
        simulator.store.create("secrets", {"metadata": {"name": "hub", "namespace": "default"}, "data": data})
        client = PipesKubeRayJobClient({"spec": SPEC}, kubeconfig_file=str(simulator.kubeconfig), env_vars={"A": TOKEN})
        result = dg.materialize([computed], resources={"ray_pipes_client": client}, instance=instance)
        seen.append(("event log", "\n".join(map(str, instance.all_logs(result.run_id)))))
        seen.extend(objects_of(simulator))
    printed = capfd.readouterr()
    seen += [("stdout", printed.out), ("stderr", printed.err)]
    assert f"the job found {MARK} {MARK}" in printed.out
    assert f"a task found {MARK} {MARK}" in printed.out
    assert len([place for place, _ in seen if place.endswith(".log")]) > 5
    assert [place for place, text in seen if CANARY in text or data["token"] in text] == []
    assert "STAGE" in dict(seen)["/api/jobs/"]  # so that it would show the others as well


JOB_WITH_CONTEXT = """
import hashlib
from dagster_pipes import open_dagster_pipes

with open_dagster_pipes() as context:
    print("the job found", hashlib.sha256(context.get_extra("password").encode()).hexdigest())
    context.report_asset_materialization(metadata={"stage": context.get_extra("stage")})
"""


@pytest.mark.weekly
def test_a_context_that_a_secret_hands_over_reaches_the_job_and_is_nowhere_else(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    (tmp_path / "job.py").write_text(JOB_WITH_CONTEXT)
    job = {"entrypoint": f"{sys.executable} {tmp_path / 'job.py'}"}
    seen: list[tuple[str, str]] = []
    handed: list[str] = []

    @dg.asset
    def computed(context: dg.AssetExecutionContext, ray_pipes_client: PipesKubeRayJobClient) -> Any:
        extras = {"password": CANARY, "stage": "dev"}
        done = ray_pipes_client.run(context=context, ray_job=job, extras=extras)
        (cluster,) = simulator.store.list("rayclusters")
        seen.extend(shown_by(f"http://{cluster['status']['head']['podIP']}:8265"))
        seen.extend(files_of_heads())
        seen.extend(objects_of(simulator))
        handed.extend(map(json.dumps, simulator.store.list("secrets")))
        return done.get_materialize_result()

    with Simulator() as simulator, dg.DagsterInstance.ephemeral() as instance:
        # What a job leaves is searched while the Secret is there, which goes with the RayJob.
        template = {"spec": {**SPEC, "shutdownAfterJobFinishes": False}}
        client = PipesKubeRayJobClient(template, kubeconfig_file=str(simulator.kubeconfig), secret_context=True)
        result = dg.materialize([computed], resources={"ray_pipes_client": client}, instance=instance)
        seen.append(("event log", "\n".join(map(str, instance.all_logs(result.run_id)))))
        seen.extend(objects_of(simulator))
    printed = capfd.readouterr()
    seen += [("stdout", printed.out), ("stderr", printed.err)]
    (made,) = result.asset_materializations_for_node("computed")
    assert made.metadata["stage"].value == "dev"
    assert f"the job found {MARK}" in printed.out
    assert len([place for place, _ in seen if place.endswith(".log")]) > 5
    assert [place for place, text in seen if CANARY in unpacked(text)] == []
    (secret,) = handed
    ((_, data),) = json.loads(secret)["data"].items()
    packed = base64.b64decode(data).decode()
    assert CANARY in unpacked(packed)  # so that the search would find it elsewhere as well
    assert [place for place, text in seen if packed in text or data in text] == []
