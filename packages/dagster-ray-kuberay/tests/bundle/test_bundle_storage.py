"""Where a bundle can be written, and what happens where it cannot."""

# fsspec is typed in part only.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import threading
import traceback
import uuid
from pathlib import Path
from typing import Any

import dagster as dg
import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from pydantic import ValidationError

from dagster_ray.core import Deadline, RayResource
from dagster_ray.kuberay import KubeRayInteractiveJob, PipesKubeRayJobClient
from dagster_ray.kuberay._bundle.storage import NotWrittenError, checked_place, read, require_file_system, write
from dagster_ray.kuberay.errors import InvalidSpecError

FILES = {"index.md": "- **Cause**: a\n", "logs/a.log": "b\n"}


@pytest.mark.parametrize(
    ("place", "words"),
    [
        pytest.param("", "is empty", id="nothing"),
        pytest.param("s3://me:secret@bucket/a", "contains credentials", id="credentials"),
        pytest.param("gopher://host/a", "'gopher', which fsspec does not know", id="a protocol that nobody knows"),
    ],
)
def test_a_place_that_cannot_work_is_refused_at_load(place: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        KubeRayInteractiveJob(evidence=place)
    with pytest.raises(InvalidSpecError, match=words) as refused:
        PipesKubeRayJobClient(evidence=place)
    assert "secret@" not in str(refused.value)


def test_the_refusal_of_a_place_with_credentials_does_not_show_them(monkeypatch: pytest.MonkeyPatch) -> None:
    place = "s3://me:topsecretvalue@bucket/a"
    with pytest.raises(ValidationError, match="contains credentials") as refused:
        KubeRayInteractiveJob(evidence=place)
    assert "topsecretvalue" not in str(refused.value)
    monkeypatch.setenv("EVIDENCE_PLACE", place)

    @dg.asset
    def train(ray_cluster: RayResource) -> None: ...

    cluster = KubeRayInteractiveJob(evidence=dg.EnvVar("EVIDENCE_PLACE"))
    with pytest.raises(dg.DagsterError, match="ray_cluster") as failed:
        dg.materialize([train], resources={"ray_cluster": cluster})
    said = "".join(traceback.format_exception(failed.value))
    assert "contains credentials" in said
    assert "topsecretvalue" not in said


def nothing_found(name: str) -> None:
    """Find no module."""


def test_a_library_that_is_missing_is_named_before_anything_is_created(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", nothing_found)
    assert checked_place("s3://bucket/a") == "s3://bucket/a"
    with pytest.raises(InvalidSpecError, match="install s3fs there"):
        require_file_system("s3://bucket/a")


@pytest.mark.parametrize("kind", ["a folder", "a URL"])
def test_a_bundle_is_written_below_its_place(kind: str, tmp_path: Path) -> None:
    place = str(tmp_path / "kept") if kind == "a folder" else f"memory://{uuid.uuid4().hex}"
    index = write(place, ("run", "step"), FILES, Deadline(30))
    assert index == f"{place}/run/step/index.md"
    assert read(index) == FILES["index.md"]
    assert read(index.replace("index.md", "logs/a.log")) == "b\n"


def test_a_relative_folder_is_linked_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert write("kept", ("run",), FILES, Deadline(30)) == str(tmp_path / "kept/run/index.md")


def test_a_file_system_that_hangs_is_given_up_at_the_deadline_and_writes_nothing_more() -> None:
    released, written = threading.Event(), list[str]()

    class Hanging(MemoryFileSystem):
        protocol = "hanging"
        cachable = False

        def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **more: Any) -> None:
            written.append(path)
            released.wait(60)

    fsspec.register_implementation("hanging", Hanging, clobber=True)
    with pytest.raises(NotWrittenError, match="no time was left for 2 of 2 files"):
        write("hanging://a", ("run",), FILES, Deadline(0.2))
    released.set()
    for thread in threading.enumerate():
        if thread.name == "dagster-ray-evidence":
            thread.join()
    assert len(written) == 1


def test_an_error_of_a_file_system_is_told_without_credentials() -> None:
    class Refusing(MemoryFileSystem):
        protocol = "refusing"

        def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **more: Any) -> None:
            raise PermissionError("PUT https://store/a?X-Amz-Signature=abcdef0123 denied")

    fsspec.register_implementation("refusing", Refusing, clobber=True)
    with pytest.raises(NotWrittenError, match="PermissionError: PUT https://store/a") as refused:
        write("refusing://a", ("run",), FILES, Deadline(30))
    assert "abcdef0123" not in str(refused.value)
