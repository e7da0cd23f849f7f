"""Every error says what is wrong and what to do, and survives the way between processes."""

import pickle
import re
from typing import Any, ClassVar

import pytest

from dagster_ray.core import errors
from dagster_ray.core.errors import DagsterRayError

EXAMPLES: list[tuple[DagsterRayError, str, str]] = [
    (
        errors.NotARayResourceError("asset `train`", "S3Resource", ("address", "context")),
        "asset `train` needs a RayResource but got S3Resource, which lacks: address, context.",
        "put a Ray backend under that resource key",
    ),
    (
        errors.UnknownFieldError("Lifecycle", "clean_up", "cleanup", ("cleanup", "create")),
        "Lifecycle has no field `clean_up`.",
        "write `cleanup`.",
    ),
    (errors.UnknownFieldError("L", "zzz", None, ("a", "b")), "L has no field `zzz`.", "use one of: a, b."),
    (
        errors.InvalidFieldError("runtime_env.env_vars.N", "is an int", "write text"),
        "`runtime_env.env_vars.N` is an int.",
        "write text.",
    ),
    (
        errors.MissingVariableError("TEAM", "metadata.labels.team"),
        "`metadata.labels.team` refers to the environment variable TEAM, which is not set.",
        "set TEAM in the environment of the Dagster step",
    ),
    (
        errors.InvalidVariableError("N", "num_cpus", "a whole number"),
        "`num_cpus` refers to the environment variable N, whose value is not a whole number.",
        "set N to a whole number.",
    ),
    (
        errors.BackendNotFoundError("local", (), "dagster-ray[local]>=0.5"),
        "No backend 'local' is installed (installed: none).",
        "pip install 'dagster-ray[local]>=0.5'.",
    ),
    (
        errors.BackendNotFoundError("slurm", ("kuberay", "local"), None),
        "(installed: kuberay, local)",
        "install the package that declares it in the entry point group dagster_ray.backends.",
    ),
    (
        errors.BackendBrokenError("slurm", "slurm_ray:Slurm", "slurm-ray", "ImportError: no", "reinstall slurm-ray"),
        "The backend 'slurm' (slurm_ray:Slurm) cannot be used: ImportError: no.",
        "reinstall slurm-ray.",
    ),
    (
        errors.RayNotInstalledError("RayJob ns/a", "ray[client]"),
        "RayJob ns/a needs ray in the environment of the Dagster step",
        "pip install 'ray[client]', in the version that the cluster runs.",
    ),
    (
        errors.NotCreatedError("RayJob ns/a", "wait"),
        "`wait` was called on RayJob ns/a before `create`.",
        "call `create(context)` first",
    ),
    (
        errors.NotConnectedError("RayJob ns/a", "context", "its phases did not run"),
        "`context` of RayJob ns/a was read, but no driver is connected: its phases did not run.",
        "call `create`, `wait` and `connect` in the step",
    ),
    (
        errors.NotReadyError("RayJob ns/a", 600.0, "Initializing"),
        "RayJob ns/a was not ready within 600 s (last seen: Initializing).",
        "raise `timeout`",
    ),
    (
        errors.ConnectFailedError("RayJob ns/a", "ray://h:1", 1, "RuntimeError: no"),
        "ray.init('ray://h:1') for RayJob ns/a was tried once and failed: RuntimeError: no",
        "check from where the step runs that ray://h:1 can be reached",
    ),
    (
        errors.DriverInUseError("RayJob ns/a", "10.0.0.1:6379"),
        "RayJob ns/a needs a Ray driver, but this process is already connected to the cluster at 10.0.0.1:6379",
        "run steps that need different clusters in separate processes",
    ),
    (
        errors.ConnectFailedError("RayJob ns/a", "ray://h:1", 3, "ConnectionError: no"),
        "was tried 3 times and failed",
        "check from where the step runs that ray://h:1 can be reached",
    ),
    (
        errors.ObjectMissingError("The asset up", ("a", "b", "c", "d"), "it was lost", "the step up", is_lost=True),
        "The asset up (partitions a, b, c and 1 more) is not in the object store: it was lost.",
        "run the step up again in the same run as the steps that read it, or give `RayIOManager` an `underlying` IO "
        "manager for what must last.",
    ),
    (
        errors.CleanupFailedError("RayJob ns/a", "TimeoutError: no"),
        "RayJob ns/a could not be cleaned up: TimeoutError: no",
        "delete it by hand",
    ),
]


def name_of(value: object) -> str | None:
    return type(value).__name__ if isinstance(value, DagsterRayError) else None


@pytest.mark.parametrize(("error", "problem", "remedy"), EXAMPLES, ids=name_of)
def test_an_error_says_what_is_wrong_and_what_to_do(error: DagsterRayError, problem: str, remedy: str) -> None:
    assert problem in error.problem
    assert remedy in error.remedy
    assert str(error) == f"{error.problem} To fix: {error.remedy} [dagster-ray: {error.code}]"


@pytest.mark.parametrize("error", [example[0] for example in EXAMPLES], ids=name_of)
def test_an_error_unpickles_with_equal_fields(error: DagsterRayError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)
    assert vars(copy)
    assert str(copy) == str(error)


def subclasses(cls: type[DagsterRayError]) -> set[type[DagsterRayError]]:
    return {cls, *(below for direct in cls.__subclasses__() for below in subclasses(direct))} - {DagsterRayError}


def test_every_error_of_this_package_has_an_example() -> None:
    ours = {cls for cls in subclasses(DagsterRayError) if cls.__module__ == errors.__name__}
    assert {type(example[0]) for example in EXAMPLES} == ours
    assert {cls.__name__ for cls in ours} | {"DagsterRayError"} == set(errors.__all__)


def test_every_error_is_in_the_tree_of_the_docstring() -> None:
    lines = [line.split() for line in (errors.__doc__ or "").splitlines()]
    assert {words[0] for words in lines if words and words[0].endswith("Error")} == set(errors.__all__)


def test_codes_are_unique() -> None:
    codes = [cls.code for cls in subclasses(DagsterRayError)]
    assert sorted(codes) == sorted(set(codes))


def test_a_misspelled_field_is_a_value_error_so_that_pydantic_reports_it() -> None:
    assert issubclass(errors.UnknownFieldError, ValueError)


class NoSlotError(DagsterRayError):
    """An error as a third party declares it, with everything that a text can refer to."""

    shared: ClassVar[dict[str, int]] = {}
    code = "no-slot"
    problem = "{queue!r} had no slot within {seconds:.1f} s ({reason}): {tried}.{ending}"
    remedy = "raise the limit of {queue}, at most {{max}}."

    queue: str
    seconds: float
    reason: str
    tried: tuple[str, ...] = ()

    @property
    def ending(self) -> str:
        return " It was the last one." if self.tried else ""


class NoFreeSlotError(NoSlotError, ValueError):
    code = "no-free-slot"
    remedy = "free {count} slots of {queue}."

    count: int = 1


@pytest.mark.parametrize(
    ("error", "problem", "remedy"),
    [
        pytest.param(
            NoSlotError("q", 2, "it is full.", ("a", "b")),
            "'q' had no slot within 2.0 s (it is full): a, b. It was the last one.",
            "raise the limit of q, at most {max}.",
            id="by position",
        ),
        pytest.param(
            NoFreeSlotError(reason="{x}", queue="q", seconds=0.25),
            "'q' had no slot within 0.2 s ({x}): none.",
            "free 1 slots of q.",
            id="by name, with defaults, inherited",
        ),
    ],
)
def test_a_declared_error_fills_its_values_in(error: DagsterRayError, problem: str, remedy: str) -> None:
    assert (error.problem, error.remedy) == (problem, remedy)
    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)


def test_the_texts_of_a_class_are_as_declared() -> None:
    assert NoFreeSlotError.problem == NoSlotError.problem
    assert NoFreeSlotError.remedy == "free {count} slots of {queue}."


@pytest.mark.parametrize(
    ("values", "named", "message"),
    [
        pytest.param(("q", 1.0), {}, "missing a required argument: 'reason'", id="too few"),
        pytest.param(("q", 1.0, "r", (), 5), {}, "too many positional arguments", id="too many"),
        pytest.param(("q", 1.0, "r"), {"why": ""}, "unexpected keyword argument 'why'", id="an unknown name"),
        pytest.param(("q", 1.0, "r"), {"queue": ""}, "multiple values for argument 'queue'", id="one twice"),
    ],
)
def test_an_error_needs_its_fields(values: tuple[Any, ...], named: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        NoSlotError(*values, **named)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        pytest.param({"code": "x", "problem": "x."}, "BadError has no text `remedy`", id="a text is missing"),
        pytest.param({"code": "x", "problem": 7, "remedy": "x."}, "BadError has no text `problem`", id="a number"),
        pytest.param(
            {"code": "x", "problem": "{who} is away.", "remedy": "x."},
            "`problem` of BadError names 'who', which is not a field of it",
            id="a misspelled field",
        ),
    ],
)
def test_a_mistake_in_a_declaration_fails_where_the_class_is_defined(declared: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        type("BadError", (DagsterRayError,), declared)


@pytest.mark.parametrize(
    ("sentence", "part"),
    [
        pytest.param("Set it.", "set it", id="a sentence"),
        pytest.param("", "", id="nothing"),
        pytest.param("set it", "set it", id="a clause"),
    ],
)
def test_a_sentence_becomes_part_of_another_one(sentence: str, part: str) -> None:
    assert errors.clause(sentence) == part
