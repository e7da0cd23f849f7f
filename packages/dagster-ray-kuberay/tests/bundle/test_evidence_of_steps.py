"""Steps that one process has run on one cluster: each that failed has its own bundle; the cluster is read once."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from fault_world import fields, simulated

from dagster_ray.core import RayResource
from dagster_ray.core.failures.causes import Failure, Judgement
from dagster_ray.core.failures.record import kept_of_run
from dagster_ray.kuberay import KubeRayInteractiveJob
from dagster_ray.kuberay._bundle import head_facts, keeping
from dagster_ray.kuberay._bundle.bundle import INDEX, Bundle, bundles_of
from dagster_ray.kuberay._bundle.collected import About, Collected
from dagster_ray.kuberay._bundle.storage import NotWrittenError, write
from dagster_ray.kuberay._head.dashboard import fetch
from dagster_ray.simulator import Simulator

NOW = "2026-01-01T12:00:00Z"
LINK = re.compile(r"\]\(([^)]*)\)")


@pytest.fixture
def simulator() -> Generator[Simulator]:
    with simulated() as world:
        yield world


@dataclass(frozen=True)
class Told:
    """What a run has left."""

    log: str
    places: dict[str | None, Path]
    """The index page that the log of the run names for each step."""
    reads: list[str]
    """What was asked of Kubernetes after the last step had begun."""

    def files(self, step: str) -> dict[str, str]:
        """Return the files of a step's bundle."""
        root = self.places[step].parent
        return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def two_failed(simulator: Simulator, folder: Path) -> Told:
    """Run three steps in this process, of which the first and the last one fail."""
    begun: list[int] = []

    @dg.asset
    def first(ray_cluster: RayResource) -> None:
        raise ValueError("odd number 3")

    @dg.asset
    def good(ray_cluster: RayResource) -> None: ...

    @dg.asset(deps=[good])
    def last(ray_cluster: RayResource) -> None:
        begun.append(len(simulator.requests))
        raise KeyError("no column")

    with dg.DagsterInstance.ephemeral() as instance:
        cluster = KubeRayInteractiveJob(**fields(simulator, evidence=str(folder / "kept")))
        resources = {"ray_cluster": cluster}
        result = dg.materialize([first, good, last], resources=resources, instance=instance, raise_on_error=False)
        places = {step: Path(kept.place) for step, kept in kept_of_run(instance, result.run_id)}
        log = "\n".join(str(entry) for entry in instance.all_logs(result.run_id))
    return Told(log, places, [request.path for request in simulator.requests[begun[0] :] if request.method == "GET"])


@pytest.mark.many_processes
def test_each_step_that_failed_has_a_bundle_with_its_own_error(simulator: Simulator, tmp_path: Path) -> None:
    told = two_failed(simulator, tmp_path)
    assert {*told.places} == {"first", "last"}
    assert len({*told.places.values()}) == 2
    for step, own, others in (("first", "odd number 3", "no column"), ("last", "no column", "odd number 3")):
        files = told.files(step)
        assert files[INDEX].startswith(f"# Why `{step}` failed")
        assert own in files["error.txt"]
        assert others not in files["error.txt"]
        assert own in files[INDEX].partition("## Files")[0]
        listed = files[INDEX].partition("## Other steps that failed on this cluster")[2]
        assert others in listed
        links = LINK.findall(files[INDEX])
        assert [link for link in links if not (told.places[step].parent / link).is_file()] == []
        assert {Path(link).name for link in links} >= {"rayjob.yaml", "pods.yaml", "versions.json", INDEX}


@pytest.mark.many_processes
def test_the_cluster_is_read_and_written_once(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So are the tasks and actors of steps that have one driver."""
    asked: list[str] = []

    def fetch_noted(url: str, path: str, *more: Any) -> tuple[int, bytes]:
        asked.append(path)
        return fetch(url, path, *more)

    monkeypatch.setattr(head_facts, "fetch", fetch_noted)
    told = two_failed(simulator, tmp_path)
    assert len(asked) == len({*asked}) == 3
    assert told.reads.count("/version") == 1
    logs = [path for path in told.reads if "/log?" in path]
    assert len(logs) == len({*logs}) == 1
    assert [step for step in ("first", "last") if "rayjob.yaml" in told.files(step)] == ["first"]


@pytest.mark.many_processes
def test_a_place_that_takes_one_bundle_only_costs_one_warning(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def once(place: str, folders: tuple[str, ...], *more: Any) -> str:
        if written:
            raise NotWrittenError("the disk is full")
        written.append(write(place, folders, *more))
        return written[0]

    monkeypatch.setattr(keeping, "write", once)
    told = two_failed(simulator, tmp_path)
    assert [str(path) for path in told.places.values()] == written
    assert told.log.count("the evidence of the failure (1 of 2 steps) could not be written to") == 1


def bundles(*keys: str, unread: dict[str, str] | None = None) -> list[Bundle]:
    about = About("run", "job", "RayCluster ray/a", "in the step", NOW, {})
    why = Judgement("user", "token=hunter2hunter2 " + "x" * 300)
    failures = [Failure(key, "ValueError: 3", why) for key in keys]
    return [*bundles_of([Collected(about=about, failure=one, unread=unread or {}) for one in failures])]


def test_steps_whose_names_look_alike_in_a_folder_have_one_each() -> None:
    found = bundles("square[a/b]", "square[a_b]", "square[a b]")
    assert [bundle.folders[1] for bundle in found] == ["square_a_b_", "square_a_b_-2", "square_a_b_-3"]


def test_an_index_names_some_of_many_steps_without_their_secrets() -> None:
    page = bundles(*(f"step_{n}" for n in range(60)))[0].files[INDEX]
    assert page.count("/index.md): ") == 50
    assert "- and 9 more" in page
    assert "hunter2" not in page
    assert max(len(line) for line in page.splitlines() if line.startswith("- [")) < 400
