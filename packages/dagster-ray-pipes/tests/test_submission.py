from typing import Any

import pytest

from dagster_ray.pipes._submission import NONCE, checked_job, request_of
from dagster_ray.pipes.errors import InvalidSubmissionError


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
    ],
)
def test_a_wrong_field_is_named(job: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidSubmissionError) as raised:
        checked_job(job)
    assert raised.value.field == field


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(InvalidSubmissionError, match="did you mean `entrypoint_num_cpus`"):
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
