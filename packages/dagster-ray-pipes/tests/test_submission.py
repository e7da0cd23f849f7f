from pathlib import Path
from typing import Any

import pytest

from dagster_ray.core.errors import InvalidFieldError
from dagster_ray.pipes._runtime_env import edits, unknown_keys, with_files_read
from dagster_ray.pipes._submission import NONCE, checked_job, request_of


@pytest.mark.parametrize(
    ("job", "field"),
    [
        ({}, "entrypoint"),
        ({"entrypoint": " "}, "entrypoint"),
        ({"entrypoint": "true", "entrypoint_cpus": 1}, "entrypoint_cpus"),
        ({"entrypoint": "true", "submission_id": "a/b"}, "submission_id"),
        ({"entrypoint": "true", "submission_id": ""}, "submission_id"),
        ({"entrypoint": "true", "submission_id": "../x"}, "submission_id"),
        ({"entrypoint": "true", "entrypoint_num_cpus": "2"}, "entrypoint_num_cpus"),
        ({"entrypoint": "true", "entrypoint_num_gpus": -1}, "entrypoint_num_gpus"),
        ({"entrypoint": "true", "metadata": {"a": 1}}, "metadata"),
        ({"entrypoint": "true", "metadata": {"job_submission_id": "x"}}, "metadata"),
        ({"entrypoint": "true", "runtime_env": "env.yaml"}, "runtime_env"),
        ({"entrypoint": "true", "runtime_env": {"pipp": ["numpy"]}}, "runtime_env.pipp"),
        ({"entrypoint": "true", "runtime_env": {"workingdir": "."}}, "runtime_env.workingdir"),
        ({"entrypoint": "true", "runtime_env": {"env_vars": {"A": 1}}}, "runtime_env.env_vars.A"),
        ({"entrypoint": "true", "runtime_env": {"env_vars": {1: "a"}}}, "runtime_env.env_vars"),
        ({"entrypoint": "true", "runtime_env": {"env_vars": ["A=1"]}}, "runtime_env.env_vars"),
    ],
)
def test_a_wrong_field_is_named(job: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidFieldError) as raised:
        checked_job(job)
    assert raised.value.field == field


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(InvalidFieldError, match="write `entrypoint_num_cpus`"):
        checked_job({"entrypoint": "true", "entrypoint_num_cpu": 1})


def test_the_request_has_the_id_the_nonce_and_whole_bytes() -> None:
    job = checked_job({"entrypoint": "true", "entrypoint_memory": 1e9, "metadata": {"a": "b"}, "runtime_env": None})
    body = request_of(job, "x1", {"pip": ["numpy"]}, "n")
    assert body == {
        "entrypoint": "true",
        "entrypoint_memory": 1_000_000_000,
        "metadata": {"a": "b", NONCE: "n"},
        "runtime_env": {"pip": ["numpy"]},
        "submission_id": "x1",
    }


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [("pip", "pip", 0), ("pipp", "pip", 1), ("ppi", "pip", 2), ("env_var", "env_vars", 1), ("", "uv", 2), ("a", "", 1)],
)
def test_edits_are_counted(one: str, other: str, count: int) -> None:
    assert edits(one, other) == edits(other, one) == count


def test_keys_of_rays_and_of_plugins_pass() -> None:
    runtime_env: dict[str, Any] = {
        "pip": [],
        "mpi": {},
        "nsight": "default",
        "_ray_release": "2.60.0",
        "my_company_plugin": {},
    }
    assert checked_job({"entrypoint": "true", "runtime_env": runtime_env})["runtime_env"] == runtime_env
    assert unknown_keys(runtime_env) == ["my_company_plugin"]


FILES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "pip": ("numpy\n# why\npandas==2\n", {"pip": "{file}"}, {"pip": ["numpy", "# why", "pandas==2"]}),
    "pip with options": (
        "numpy\n",
        {"pip": {"packages": "{file}", "pip_check": True}},
        {"pip": {"packages": ["numpy"], "pip_check": True}},
    ),
    "uv": ("numpy\n", {"uv": "{file}"}, {"uv": ["numpy"]}),
    "conda": ("dependencies: [numpy]\n", {"conda": "{file}"}, {"conda": {"dependencies": ["numpy"]}}),
    "conda by name": ("", {"conda": "research"}, {"conda": "research"}),
    "lists": ("", {"pip": ["numpy"], "uv": ["a"]}, {"pip": ["numpy"], "uv": ["a"]}),
}


def filled(value: Any, file: str) -> Any:
    if isinstance(value, dict):
        return {key: filled(item, file) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    return file if value == "{file}" else value


@pytest.mark.parametrize(("text", "given", "wanted"), FILES.values(), ids=FILES)
def test_a_file_is_read_where_the_job_is_submitted(
    tmp_path: Path, text: str, given: dict[str, Any], wanted: dict[str, Any]
) -> None:
    file = tmp_path / "env.yaml"
    file.write_text(text)
    assert with_files_read(filled(given, str(file))) == wanted


@pytest.mark.parametrize("key", ["pip", "uv", "conda"])
def test_a_file_that_is_missing_here_is_named(tmp_path: Path, key: str) -> None:
    with pytest.raises(InvalidFieldError, match=r"missing\.yaml, which cannot be read") as raised:
        with_files_read({key: str(tmp_path / "missing.yaml")})
    assert raised.value.field == f"runtime_env.{key}"
