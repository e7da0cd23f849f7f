"""Steps of a real multiprocess run, and bare claims, on real shared clusters."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from dagster_ray.core import Deadline
from dagster_ray.local import SharedClusterError
from dagster_ray.local._shared_cluster import Claim, Place, claim_cluster

JOB = Path(__file__).with_name("steps_that_meet.py")
PATIENCE_SECONDS = 120.0
CHEAP = {"num_cpus": 1, "include_dashboard": False}


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dr-", dir="/tmp") as path:  # a socket's path is 107 bytes at most
        yield Path(path)


def holders(folder: Path) -> list[psutil.Process]:
    """The processes that hold clusters for this folder."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(word.startswith(f"{folder}/") and word.endswith(".sock") for word in process.info["cmdline"] or ())
    ]


def nothing_left(folder: Path) -> bool:
    """Whether all holders of the folder, and all that they started, end by themselves."""
    processes = [each for holder in holders(folder) for each in (holder, *holder.children(recursive=True))]
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE_SECONDS)
    return not alive


def run_meeting(folder: Path, **environment: str) -> Mapping[str, Any]:
    """Run the job and return what its steps wrote down, by the name of the file."""
    # Ray would put its own sockets below TMPDIR, which is too long for them.
    places = {"MEETING": str(folder), "TMPDIR": str(folder), "RAY_TMPDIR": "/tmp"}
    done = subprocess.run(
        [sys.executable, str(JOB), str(folder)],
        env={**os.environ, **places, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE_SECONDS,
    )
    assert (folder / "run").exists(), done.stderr
    names = ("run", "first", "second", "first.done", "second.done")
    return {name: json.loads((folder / name).read_text()) for name in names if (folder / name).exists()}


def test_steps_that_run_at_the_same_time_meet_on_one_cluster(folder: Path) -> None:
    """And with the last of them everything has ended."""
    said = run_meeting(folder)
    assert said["run"] == {"success": True, "failed": []}
    assert said["first"]["address"] == said["second"]["address"]
    assert said["first"]["pid"] != said["second"]["pid"]
    assert said["first.done"]["result"] == said["second.done"]["result"] == 14
    assert 'value: "second"' in said["second.done"]["jobs"]  # the dashboard names a driver after its step
    assert holders(folder) == []


@pytest.mark.many_processes
def test_the_step_that_started_the_cluster_may_be_killed_while_another_goes_on(folder: Path) -> None:
    said = run_meeting(folder, DIES="first")
    assert said["run"]["failed"] == ["first"]
    assert said["second.done"]["result"] == 14
    assert nothing_left(folder)


def claim(folder: Path, **options: Any) -> Claim:
    return claim_cluster(
        Place.of("k", folder),
        {**CHEAP, **options},
        temp_dir=str(folder / "ray"),
        keep_seconds=0,
        target="test",
        deadline=Deadline(PATIENCE_SECONDS),
    )


@pytest.mark.weekly
def test_a_cluster_whose_holder_was_killed_dies_with_it_and_the_next_step_starts_another(folder: Path) -> None:
    lost = claim(folder)
    holder = psutil.Process(lost.holder_pid)
    its_processes = holder.children(recursive=True)
    assert its_processes
    holder.kill()
    _, alive = psutil.wait_procs([holder, *its_processes], timeout=PATIENCE_SECONDS)
    assert not alive
    found = claim(folder)
    assert found.holder_pid != lost.holder_pid
    assert (folder / "ray" / "ray_current_cluster").read_text() == found.address
    found.release(Deadline(PATIENCE_SECONDS))
    lost.release(Deadline(1))
    assert nothing_left(folder)


def test_ray_that_does_not_start_is_an_error_with_rays_words(folder: Path) -> None:
    with pytest.raises(SharedClusterError, match="no_such_option"):
        claim(folder, no_such_option=1)
    assert nothing_left(folder)
