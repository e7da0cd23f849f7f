"""The runtime environment of the worker's job: the step itself, and where its code comes from."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any, Literal, cast

from dagster._core.definitions.reconstruct import ReconstructableJob

import dagster_ray.core
from dagster_ray.core.cluster_step.pointers import OutsideError, relative_to_folder
from dagster_ray.core.cluster_step.reference import FILE_NAME, StepReference
from dagster_ray.pipes._driver_config import DriverConfig
from dagster_ray.pipes._driver_errors import StepNotMovableError

_FAMILY = ("core", "pipes", "kuberay", "local")


@dataclass(frozen=True, slots=True)
class DriverOptions:
    """How the worker of a step is submitted: the `driver_*` fields of a resource.

    Attributes:
        code: image: the code is where the code location has it. upload: the working folder is sent.
        pip: Requirements that Ray installs for the job. None: the step's own dagster if the code is uploaded.
        cpus: CPUs of the driver; None: none, and it runs on the head.
        gpus: GPUs of the driver.
        memory: Memory of the driver, in bytes.
        resources: Custom resources of the driver.
    """

    code: Literal["image", "upload"] = "image"
    pip: Sequence[str] | None = None
    cpus: float | None = None
    gpus: float | None = None
    memory: int | None = None
    resources: Mapping[str, float] = field(default_factory=dict[str, float])

    def config(self, runtime_env: Mapping[str, Any]) -> DriverConfig:
        """Return what the driver takes, with the runtime environment of its job."""
        return DriverConfig(
            num_cpus=self.cpus,
            num_gpus=self.gpus,
            memory=self.memory,
            resources=self.resources,
            runtime_env=runtime_env,
        )


def job_of_code(job: ReconstructableJob, options: DriverOptions, step: str) -> ReconstructableJob:
    """Return the job with the pointer that the worker can follow.

    Raises:
        StepNotMovableError: The code is to be uploaded, and is not in the working folder.
    """
    if options.code == "image":
        return job
    try:
        return relative_to_folder(job, Path.cwd())
    except OutsideError as error:
        advice = "start the code location in the folder that has its code, or put the code into the image"
        raise StepNotMovableError(f"The step {step}", str(error), advice) from None


def runtime_env_of(
    given: Mapping[str, Any], code: str | None, reference: StepReference, options: DriverOptions, scratch: Path
) -> dict[str, Any]:
    """Return the runtime environment, with local folders that are to be uploaded.

    Args:
        given: The resource's own.
        code: The folder of the image that has the step's modules, which remote tasks import, too.
        reference: The step; it goes into a package, since run configuration may hold secrets.
        options: How the worker is submitted.
        scratch: An empty folder for what is uploaded.
    """
    folder = scratch / folder_name(reference)
    folder.mkdir()
    (folder / FILE_NAME).write_bytes(reference.packed())
    modules: list[Any] = [*cast("Sequence[Any]", given.get("py_modules") or ()), folder]
    found = {**given, "py_modules": modules}
    if options.code == "image" and code is not None:
        found["env_vars"] = {"PYTHONPATH": code, **given.get("env_vars", {})}
    if options.code == "upload":
        found.setdefault("working_dir", str(Path.cwd()))
        modules += _own_source(scratch / "source")
    pip = options.pip
    if pip is None:
        pip = [f"dagster=={version('dagster')}"] if options.code == "upload" else []
    if pip:
        found["pip"] = _with_requirements(found.get("pip"), pip)
    return found


def folder_name(reference: StepReference) -> str:
    """Return the name of the package's folder, by which the worker finds it among others."""
    return f"step-{reference.submission_id}"


def _with_requirements(given: Any, more: Sequence[str]) -> Any:
    """Return `pip` of a runtime environment with more requirements; those that are given count first."""
    if given is None:
        return list(more)
    if isinstance(given, Mapping):
        options = cast("Mapping[str, Any]", given)
        return {**options, "packages": [*options.get("packages", ()), *more]}
    if isinstance(given, str):
        lines = [line.strip() for line in Path(given).read_text(encoding="utf-8").splitlines()]
        given = [line for line in lines if line and not line.startswith("#")]
    return [*given, *more]


def _own_source(scratch: Path) -> list[Path]:
    """Return folders that bring this process' dagster-ray to a cluster whose image has none."""
    space = scratch / "dagster_ray"
    space.mkdir(parents=True)
    found = [space]
    root = Path(cast("Any", dagster_ray.core.__file__)).parent
    shutil.copytree(root, space / "core", ignore=shutil.ignore_patterns("__pycache__"))
    for name in _FAMILY:
        try:
            metadata = distribution(f"dagster-ray-{name}").metadata
        except PackageNotFoundError:
            continue
        if name != "core":
            source = _folder_of(name)
            if source is None:
                continue
            shutil.copytree(source, space / name, ignore=shutil.ignore_patterns("__pycache__"))
        info = scratch / f"dagster_ray_{name}-{metadata['Version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {metadata['Name']}\nVersion: {metadata['Version']}\n"
        )
        found.append(info)
    return found


def _folder_of(name: str) -> Path | None:
    for entry in cast("Sequence[str]", dagster_ray.__path__):
        if (Path(entry) / name).is_dir():
            return Path(entry) / name
    return None
