"""Every error of every package: its texts, its page, its way between processes."""

import copy
import importlib
import inspect
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from error_samples import SAMPLES
from ray.exceptions import RayTaskError

from dagster_ray.core import DagsterRayError
from dagster_ray.kuberay import errors as kuberay
from dagster_ray.pipes import errors as pipes

PAGES = Path(__file__).parents[1] / "docs/errors"


def _kinds_of(error: type[DagsterRayError]) -> Iterator[type[DagsterRayError]]:
    for kind in error.__subclasses__():
        yield kind
        yield from _kinds_of(kind)


ALL_KINDS = [kind for kind in _kinds_of(DagsterRayError) if kind.__module__.startswith("dagster_ray.")]
KINDS = {kind.code: kind for kind in ALL_KINDS}


def public_name(kind: type[DagsterRayError]) -> str:
    """Return where users import an error from, which is what a traceback names."""
    assert getattr(importlib.import_module(kind.__module__), kind.__name__) is kind
    return f"{kind.__module__}.{kind.__name__}"


def test_a_code_belongs_to_one_error() -> None:
    assert sorted(kind.code for kind in ALL_KINDS) == sorted(KINDS)


def test_every_error_has_a_page_and_every_page_an_error() -> None:
    pages = {path.stem for path in PAGES.glob("*.md")} - {"index"}
    assert pages == set(KINDS) == set(SAMPLES)
    rows = re.findall(
        r"(?m)^\| \[([\w-]+)\]\((.+)\.md\) \| `(\w+)` \|", (PAGES / "index.md").read_text(encoding="utf-8")
    )
    assert sorted(rows) == sorted((code, code, kind.__name__) for code, kind in KINDS.items())
    classes = re.findall(r"(?m)^\| \[([\w-]+)\].* \| ([^|]+) \|$", (PAGES / "index.md").read_text(encoding="utf-8"))
    assert dict(classes) == {code: declared_class(kind) for code, kind in KINDS.items()}


def declared_class(kind: type[DagsterRayError]) -> str:
    """Return the failure class as the pages have it: the class's own, or a property that looks at the fields."""
    declared: Any = kind.failure_class
    return f"`{declared}`" if isinstance(declared, str) else "depends on the cause"


def test_every_error_declares_its_failure_class() -> None:
    own = {
        kind: {one for one in kind.__mro__ if issubclass(one, DagsterRayError)} - {DagsterRayError}
        for kind in ALL_KINDS
    }
    silent = [kind for kind, classes in own.items() if not any("failure_class" in vars(one) for one in classes)]
    assert silent == []
    classes = {SAMPLES[code].failure_class for code in KINDS}
    assert classes == {"user", "infrastructure", "configuration"}


@pytest.mark.parametrize("code", sorted(KINDS))
def test_an_error_page_has_its_code_type_and_text(code: str) -> None:
    text = (PAGES / f"{code}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {code}\n\n`{public_name(KINDS[code])}`\n")
    assert f"\n```text\n{SAMPLES[code]}\n```\n" in text
    assert f"\n[Failure class](../failures.md): {declared_class(KINDS[code])}.\n" in text


@pytest.mark.parametrize("code", sorted(KINDS))
def test_an_error_is_a_sentence_and_an_instruction(code: str) -> None:
    error = SAMPLES[code]
    assert type(error) is KINDS[code]
    assert re.fullmatch(r"(?s)\S.*[.\n]", error.problem)
    assert re.fullmatch(r"[a-z`].*[^.]\.", error.remedy)
    assert str(error) == f"{error.problem} To fix: {error.remedy} [dagster-ray: {code}]"
    for name in inspect.signature(type(error)).parameters:
        assert f"{{{name}" not in str(error)


@pytest.mark.parametrize("code", sorted(KINDS))
def test_an_error_is_the_same_in_another_process(code: str) -> None:
    error = SAMPLES[code]
    for same in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(same) is type(error)
        assert list(vars(same)) == list(inspect.signature(type(error)).parameters)
        assert vars(same) == vars(error)
        assert str(same) == str(error)


@pytest.mark.parametrize("code", sorted(KINDS))
def test_an_error_of_a_ray_task_keeps_its_fields_and_texts(code: str) -> None:
    error = SAMPLES[code]
    raised = RayTaskError("f", "Traceback", error).as_instanceof_cause()
    assert isinstance(raised, type(error))
    assert (raised.code, raised.problem, raised.remedy) == (code, error.problem, error.remedy)
    for name, value in vars(error).items():
        assert getattr(raised, name) == value


CALL = ("get", "rayjobs.ray.io", "ray", "a")


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        pytest.param(
            kuberay.RayJobEndedError("RayJob a", "Failed", "PreRunningDeadlineExceeded", ""),
            "raise `timeout`",
            id="a start that was too slow",
        ),
        pytest.param(
            kuberay.RayJobEndedError("RayJob a", "Failed", "DeadlineExceeded", ""),
            "raise `activeDeadlineSeconds`",
            id="a RayJob that ran out of time",
        ),
        pytest.param(kuberay.RayJobEndedError("RayJob a", "Failed", "", ""), "look at", id="an end without a reason"),
        pytest.param(kuberay.TokenRequiredError("RayJob a", "401"), "set `auth_options", id="a token that is missing"),
        pytest.param(
            kuberay.TokenRequiredError("RayJob a", "the Secret s has no token", "write it into this Secret"),
            "write it into this Secret.",
            id="a Secret without a token",
        ),
        pytest.param(kuberay.ExecPluginError("aws", "was not found"), "install it", id="a plug-in that is missing"),
        pytest.param(
            kuberay.ExecPluginError("aws", "has not ended after 60 s"),
            "run it with the arguments of the kubeconfig and without a terminal",
            id="a plug-in that waits",
        ),
        pytest.param(kuberay.NotFoundError(*CALL, 404, "x"), "check the name", id="an object that is missing"),
        pytest.param(
            kuberay.NotFoundError(*CALL, 404, 'namespaces "ray" not found'),
            "correct the namespace, or run `kubectl create namespace ray`.",
            id="a namespace that is missing",
        ),
        pytest.param(
            kuberay.InvalidObjectError(*CALL, 400, "x", unknown_fields=("spec.foo",)),
            "correct spec.foo.",
            id="a field that the server does not know",
        ),
        pytest.param(
            kuberay.InvalidObjectError(*CALL, 400, "x"), "act on the server's message.", id="an object without causes"
        ),
        pytest.param(
            pipes.JobServerUnavailableError("http://a", "GET /", 1800.0, "x", "server_timeout"),
            "find out why the server stopped answering; raise `server_timeout`",
            id="a server that went away",
        ),
        pytest.param(
            pipes.JobServerUnavailableError("http://a", "GET /", 30.0, "x", advice="Look at its pod."),
            "look at its pod.",
            id="a server of which more is known",
        ),
        pytest.param(
            pipes.RayJobFailedError("a", "STOPPED", "", None, ()),
            "find out who stopped it",
            id="a job that was stopped",
        ),
        pytest.param(
            pipes.RayJobFailedError(
                "a", "FAILED", "Failed to download runtime_env file package gcs://_ray_pkg_1.zip from", None, ()
            ),
            "run the step again, which uploads the package again",
            id="a job whose package Ray has dropped",
        ),
        pytest.param(
            pipes.JobLostError("a", "http://a", "x", "find out who deleted it"),
            "find out who deleted it.",
            id="a job whose RayJob was deleted",
        ),
        pytest.param(
            pipes.PipesMessagesMissingError("a", False, "x"),
            "use `with open_dagster_pipes():` around the job's work, or relax `require_messages`",
            id="a job without a Pipes session",
        ),
        pytest.param(
            pipes.PipesMessagesMissingError("a", True, "x", "find out why"),
            "find out why.",
            id="a job whose last output could not be read",
        ),
    ],
)
def test_a_remedy_fits_the_cause(error: DagsterRayError, remedy: str) -> None:
    assert error.remedy.startswith(remedy)
