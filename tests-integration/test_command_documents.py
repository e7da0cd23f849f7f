"""What the documents say of the `dagster-ray` command is so: each line is run, and prints what stands below it."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from cluster_targets import eventually
from test_document_claims import rows_of
from test_documents import BLOCKS, ROOT, Block

from dagster_ray.kuberay.command import main
from dagster_ray.simulator import KubeletOptions, PodTimes, Simulator

PERMISSIONS, COMMAND = "docs/kuberay-permissions.md", "docs/command.md"
NO_CLUSTER = {"rbac", "render"}
ENVIRON: dict[str, str | None] = {"DAGSTER_HOME": None, "API_TOKEN": "canary-4711", "DAGSTER_CURRENT_IMAGE": None}
LINES = [
    pytest.param(block, BLOCKS[number + 1], id=block.text.strip())
    for number, block in enumerate(BLOCKS)
    if block.page in {PERMISSIONS, COMMAND} and block.text.startswith("dagster-ray ")
]


def shared_cluster(name: str, *ends: int) -> dict[str, Any]:
    """Return a shared RayCluster with a lock for each number of seconds from now after which one ends."""
    annotations = {f"dagster/lock-{number}": lock(seconds) for number, seconds in enumerate(ends)}
    labels = {
        "app.kubernetes.io/managed-by": "dagster-ray",
        "dagster/cluster-sharing": "true",
        "dagster/run-id": "run-1",
        "dagster/step-key": "train",
    }
    container = {"name": "ray-head", "image": "rayproject/ray"}
    return {
        "metadata": {"name": name, "namespace": "default", "labels": labels, "annotations": annotations},
        "spec": {"headGroupSpec": {"rayStartParams": {}, "template": {"spec": {"containers": [container]}}}},
    }


def lock(seconds: int) -> str:
    """Return a lock that ends so many seconds from now."""
    applied = (datetime.now(UTC) + timedelta(seconds=seconds - 3600)).isoformat(timespec="seconds")
    times = {"applied_at": applied, "renewed_at": applied, "ttl_seconds": 3600}
    return json.dumps({"run_id": "run-1", "step_key": "train", **times})


@pytest.fixture(scope="module")
def kubernetes() -> Generator[Simulator]:
    """Return a simulated cluster with a shared RayCluster that is held and one that is not."""
    options = KubeletOptions(times=PodTimes(probe_grid_seconds=None))
    with Simulator(fake_heads=True, kubelet_options=options) as simulator:
        simulator.store.create("rayclusters", shared_cluster("search-5d41402a-1", 3000, -60))
        simulator.store.create("rayclusters", shared_cluster("search-7b52009b-1", -60))

        def ready() -> bool:
            found = simulator.store.list("rayclusters")
            return all(one.get("status", {}).get("state") == "ready" for one in found)

        eventually(ready, "the clusters are ready")
        yield simulator


def compare(expected: str, printed: str) -> None:
    """Compare a block with what was printed; `...` stands for anything, and columns may be wider."""
    lines = "\n".join(re.sub(r"  +", "  ", line) for line in expected.strip().splitlines())
    found = "\n".join(re.sub(r"  +", "  ", line) for line in printed.strip().splitlines())
    pattern = ".*".join(re.escape(part) for part in lines.split("..."))
    assert re.fullmatch(pattern, found, re.DOTALL), printed


def without_progress(err: str) -> str:
    """Return what stands on stderr beside what Dagster logs of the round trip."""
    return "\n".join(line for line in err.splitlines() if " - dagster - " not in line)


@pytest.mark.parametrize(("line", "below"), LINES)
def test_each_line_prints_what_stands_below_it(
    line: Block, below: Block, kubernetes: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = line.text.split()[1:]
    if words[0] not in NO_CLUSTER:
        words += ["--kubeconfig", str(kubernetes.kubeconfig)]
    if words[0] == "dashboard":
        compare(below.text, dashboard(words))
        return
    if words[0] == "render":
        code = BLOCKS[BLOCKS.index(line) - 1]
        (tmp_path / words[1]).write_text(code.text, encoding="utf-8")
        monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, words, env=ENVIRON)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert "canary-4711" not in done.output
    if below.language == "yaml":
        assert yaml.safe_load(done.stdout) == yaml.safe_load(below.text)
    elif words[0] == "render":
        compare(below.text, done.stdout)
    else:
        compare(below.text, f"{done.stdout.rstrip()}\n{without_progress(done.stderr)}")


def dashboard(words: list[str]) -> str:
    """Return what the verb prints until it is interrupted; it must end well then."""
    command = str(Path(sys.executable).parent / "dagster-ray")
    with subprocess.Popen([command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            printed = process.stdout.readline() + process.stderr.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()
    return printed


def test_the_table_of_permissions_is_that_of_the_command() -> None:
    printed = CliRunner().invoke(main, ["rbac", "--list", "--json"])
    expected = [[cell.replace("`", "") for cell in row.values()] for row in json.loads(printed.stdout)]
    found = [[cell.replace("`", "") for cell in row] for row in rows_of(PERMISSIONS, "feature")]
    assert found == expected


def test_the_page_has_a_section_for_each_verb() -> None:
    text = (ROOT / COMMAND).read_text(encoding="utf-8")
    assert sorted(re.findall(r"(?m)^## (\w+)$", text)) == sorted(main.commands)
    assert sorted(row[0].strip("`") for row in rows_of(COMMAND, "verb")) == sorted(main.commands)


def test_a_round_trip_runs_a_task_on_a_head_of_real_ray() -> None:
    command = [str(Path(sys.executable).parent / "dagster-ray"), "doctor", "--round-trip", "--json"]
    with Simulator() as kubernetes:
        environ = {**os.environ, "RAY_AUTH_MODE": "disabled"}
        words = [*command, "--kubeconfig", str(kubernetes.kubeconfig)]
        done = subprocess.run(words, check=False, capture_output=True, text=True, env=environ, timeout=400)
        assert done.returncode == 0, done.stdout + done.stderr
        assert kubernetes.store.list("rayjobs") == []
    (trip,) = [one for one in json.loads(done.stdout) if one["name"] == "round-trip"]
    assert "a task ran on it" in trip["sentence"]
