from typing import Any

import pytest

from dagster_ray.local._local_ray import sharing_key, split_options

SHAPE = {"num_cpus": 2}
HERE = {"python": "/venv/bin/python", "ray": "2.60.0"}


def test_what_shapes_the_cluster_is_told_from_what_describes_the_driver() -> None:
    options: dict[str, Any] = {
        "num_cpus": 2,
        "include_dashboard": False,
        "namespace": "n",
        "runtime_env": {},
        "log_to_driver": True,
    }
    cluster, driver = split_options(options)
    assert cluster == {"num_cpus": 2, "include_dashboard": False}
    assert driver == {"namespace": "n", "runtime_env": {}, "log_to_driver": True}


def test_equal_options_meet_whatever_their_order() -> None:
    assert sharing_key({"a": 1, "b": 2}, HERE) == sharing_key({"b": 2, "a": 1}, HERE)


@pytest.mark.parametrize(
    ("options", "surroundings"),
    [
        pytest.param({"num_cpus": 4}, HERE, id="another shape"),
        pytest.param(SHAPE, {**HERE, "ray": "2.59.0"}, id="another Ray"),
        pytest.param(SHAPE, {**HERE, "python": "/other/bin/python"}, id="another Python"),
    ],
)
def test_what_does_not_fit_does_not_meet(options: dict[str, Any], surroundings: dict[str, Any]) -> None:
    assert sharing_key(options, surroundings) != sharing_key(SHAPE, HERE)
