"""Backends by name, out of distributions that are really installed: a folder with their metadata on `sys.path`."""

import hashlib
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from dagster_ray.core import installed_backends, load_backend
from dagster_ray.core.errors import BackendBrokenError, BackendNotFoundError

Install = Callable[..., None]

BACKEND = """
    from dagster_ray.core import BaseRayResource

    class Slurm(BaseRayResource):
        pass
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a distribution `slurm-ray` that declares the backend `slurm`."""

    def into_path(entry_point: str, module: str, source: str = "") -> None:
        metadata = tmp_path / "slurm_ray-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: slurm-ray\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[dagster_ray.backends]\nslurm = {entry_point}\n")
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])

    return into_path


def test_a_backend_of_a_third_party_is_found(install: Install) -> None:
    install("slurm_ray_good:Slurm", "slurm_ray_good", BACKEND)
    backend: object = load_backend("slurm")
    assert backend is sys.modules["slurm_ray_good"].Slurm
    assert "slurm" in installed_backends()


def test_listing_the_backends_imports_none(install: Install) -> None:
    install("slurm_ray_trap:Slurm", "slurm_ray_trap", "raise AssertionError('it was imported')")
    assert "slurm" in installed_backends()


@pytest.mark.parametrize(
    ("entry_point", "source", "reason", "remedy"),
    [
        pytest.param(
            "{module}:Slurm",
            "import a_library_that_is_missing",
            "ModuleNotFoundError: No module named 'a_library_that_is_missing'",
            "reinstall slurm-ray with its dependencies.",
            id="a library that is missing",
        ),
        pytest.param(
            "{module}:Gone",
            BACKEND,
            "AttributeError: ",
            "correct the entry point in slurm-ray.",
            id="a name that the module does not have",
        ),
        pytest.param(
            "{module}:Slurm",
            "Slurm = 7",
            "it is not a class",
            "let the entry point in slurm-ray name a class.",
            id="something that is not a class",
        ),
        pytest.param(
            "{module}:Slurm",
            "class Slurm:\n    address = display_name = job_id = context = lifecycle = dashboard_url = None",
            "it lacks cleanup, connect, create, wait",
            "add these members to the class in slurm-ray.",
            id="a class without the phases",
        ),
    ],
)
def test_a_broken_backend_says_why_and_whose_it_is(
    install: Install, entry_point: str, source: str, reason: str, remedy: str
) -> None:
    module = "slurm_ray_" + hashlib.sha256(f"{entry_point}{source}".encode()).hexdigest()
    install(entry_point.format(module=module), module, source)
    with pytest.raises(BackendBrokenError) as caught:
        load_backend("slurm")
    assert caught.value.reason.startswith(reason)
    assert caught.value.distribution == "slurm-ray"
    assert caught.value.remedy == remedy


def test_an_unknown_backend_says_which_ones_are_installed(install: Install) -> None:
    install("slurm_ray_other:Slurm", "slurm_ray_other", BACKEND)
    with pytest.raises(BackendNotFoundError) as caught:
        load_backend("slurmm")
    assert caught.value.install is None
    assert "slurm" in caught.value.installed
    assert "entry point group dagster_ray.backends" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "requirement"),
    [
        pytest.param("kuberay", "dagster-ray[kuberay]>=0.5", id="this project's backend for Kubernetes"),
        pytest.param("local", "dagster-ray[local]>=0.5", id="this project's backend for one machine"),
    ],
)
def test_a_backend_of_this_project_that_is_not_installed_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, name: str, requirement: str
) -> None:
    monkeypatch.setattr("sys.path", [])  # a Python in which no distribution is installed
    with pytest.raises(BackendNotFoundError) as caught:
        load_backend(name)
    assert (caught.value.install, caught.value.installed) == (requirement, ())
    assert f"pip install '{requirement}'" in str(caught.value)
