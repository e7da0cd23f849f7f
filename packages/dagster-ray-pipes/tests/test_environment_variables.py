"""Clients and jobs take environment variables, which are read where a job is submitted."""

# pyright: reportPrivateUsage=false

import os
from typing import Any

import dagster as dg
import pytest

from dagster_ray.core.errors import InvalidFieldError, InvalidVariableError, MissingVariableError
from dagster_ray.pipes import PipesRayJobClient, RayJobClient
from dagster_ray.pipes._submission import checked_job


@pytest.mark.parametrize("address", [dg.EnvVar("RAY_URL"), {"env": "RAY_URL"}])
def test_an_address_from_a_variable_is_read_when_it_is_needed(address: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = RayJobClient(address, token=dg.EnvVar("TOKEN"), headers={"X-Team": dg.EnvVar("TEAM"), "env": "prod"})
    PipesRayJobClient(address=address)
    assert repr(client) == "RayJobClient('RAY_URL')"
    client.close()
    with pytest.raises(MissingVariableError, match="`address` refers to the environment variable RAY_URL"):
        client.version()
    for name, text in {"RAY_URL": "http://head:8265/", "TOKEN": "canary-4711", "TEAM": "ml"}.items():
        monkeypatch.setenv(name, text)
    assert (client.address, client.connection.token) == ("http://head:8265", "canary-4711")
    assert client.connection.headers == {"X-Team": "ml", "env": "prod"}
    assert "canary" not in repr(client)


def test_an_address_that_is_none_still_fails_at_once() -> None:
    with pytest.raises(InvalidFieldError, match="address"):
        RayJobClient("head:8265")


def test_a_job_gets_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "canary-4711")
    monkeypatch.setenv("CPUS", "1.5")
    job = checked_job(
        {
            "entrypoint": "python train.py",
            "runtime_env": {"env_vars": {"WANDB_API_KEY": dg.EnvVar("KEY"), "env": "prod"}, "pip": [{"env": "KEY"}]},
            "metadata": {"env": "prod", "owner": {"env": "KEY"}},
            "entrypoint_num_cpus": dg.EnvVar("CPUS"),
            "entrypoint_resources": {"env": 1},
        }
    )
    assert job["runtime_env"] == {"env_vars": {"WANDB_API_KEY": "canary-4711", "env": "prod"}, "pip": ["canary-4711"]}
    assert (job["metadata"], job["entrypoint_num_cpus"]) == ({"env": "prod", "owner": "canary-4711"}, 1.5)
    assert job["entrypoint_resources"] == {"env": 1}


@pytest.mark.parametrize("value", [8, 1.1, None, True])
def test_a_number_or_none_among_env_vars_is_refused_before_anything_is_sent(value: object) -> None:
    with pytest.raises(InvalidFieldError, match=r"env_vars\.WORKERS` is .* is text\. To fix: write text, in quotes"):
        checked_job({"entrypoint": "a", "runtime_env": {"env_vars": {"WORKERS": value}}})


def test_a_number_of_the_job_that_is_none_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPUS", "canary-4711")
    with pytest.raises(
        InvalidVariableError, match=r"`entrypoint_num_cpus` .* CPUS, whose value is not a number"
    ) as caught:
        checked_job({"entrypoint": "a", "entrypoint_num_cpus": {"env": "CPUS"}})
    assert "canary" not in str(caught.value)


def test_options_are_of_their_types(monkeypatch: pytest.MonkeyPatch) -> None:
    given: Any = {
        "forward_logs": {"env": "LOGS"},
        "termination_timeout": dg.EnvVar.int("SECONDS"),
        "require_messages": dg.EnvVar("REQUIRE"),
    }
    client = PipesRayJobClient("http://head:8265", **given)
    for name, text in {"LOGS": "false", "SECONDS": "7", "REQUIRE": "always"}.items():
        monkeypatch.setenv(name, text)
    settings = client._options.with_values(os.environ).run_settings()
    assert (settings.forward_logs, settings.termination_seconds, settings.require_messages) == (False, 7.0, "always")
