"""Every plain field of every class of the family takes an environment variable; a test that knows no class by name."""

# Dagster's config classes are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false

import dataclasses
import functools
import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, cast, get_args, get_origin, get_type_hints

import dagster as dg
import pytest
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from dagster_ray.core import BaseRayResource, Lifecycle
from dagster_ray.core.errors import InvalidFieldError
from dagster_ray.kuberay import (
    KubeRayCluster,
    KubeRayInteractiveJob,
    PipesKubeRayJobClient,
    PoolSize,
    Price,
    build_cleanup_sensor,
)
from dagster_ray.kuberay.configs import ClusterSharing
from dagster_ray.local import LocalRay
from dagster_ray.pipes import PipesRayJobClient, RayJobClient
from dagster_ray.pipes.clients import ClientOptions

RESOURCES: tuple[type[BaseRayResource], ...] = (LocalRay, KubeRayInteractiveJob, KubeRayCluster)
FREE = (dict[str, Any], list[dict[str, Any]])
TEXT_MAP = dict[str, str]
# Amounts by the names of resources, requirements of pip, prices and schedules are written out.
WRITTEN_OUT = (dict[str, float], list[str], list[Price], list[PoolSize])
# What a field takes beside its type. Everything else takes 1000, "true", or the first of its words.
SAMPLES: Mapping[str, tuple[str, Any]] = {
    "renew_seconds": ("100", 100.0),
    "timezone": ("Europe/Berlin", "Europe/Berlin"),
    "head_host": ("{service}.example", "{service}.example"),
    "address": ("http://head:8265", "http://head:8265"),
    "managedBy": ("kueue.x-k8s.io/multikueue", "kueue.x-k8s.io/multikueue"),
}
# A file is read by the step that has the variable, and the steps here read none.
ELSEWHERE = {"spec_file"}


class Place(NamedTuple):
    """A plain field below a resource."""

    path: tuple[str, ...]
    text: str
    value: Any


def kinds_of(annotation: Any) -> list[Any]:
    """Return what an annotation allows beside None."""
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return [option for option in options if option is not NoneType]


def sample(name: str, annotation: Any) -> tuple[str, Any]:
    """Return the text of a variable, and the value that the field has by it."""
    (kind,) = kinds_of(annotation)
    if name in SAMPLES:
        return SAMPLES[name]
    if get_origin(kind) is Literal:
        word = get_args(kind)[-1]
        return word, word
    samples: dict[Any, tuple[str, Any]] = {
        bool: ("true", True), float: ("1000.5", 1000.5), int: ("1000", 1000), str: ("word", "word")
    }  # fmt: skip
    return samples[kind]


def plain_fields(model: type[dg.Config], path: tuple[str, ...] = ()) -> Iterator[Place]:
    """Yield every plain field of a class and of the classes below it; a kind of field that is new here fails."""
    fields: Mapping[str, FieldInfo] = model.model_fields
    # Not `get_type_hints`: private attributes may name classes that only a step loads.
    hints = {
        name: kind
        for parent in reversed(model.__mro__)
        for name, kind in vars(parent).get("__annotations__", {}).items()
    }
    for name, field in fields.items():
        annotation = hints[name]
        (kind, *others) = kinds_of(annotation)
        assert not others, f"{model.__name__}.{name} is of several types"
        here = (*path, name)
        if isinstance(kind, type) and issubclass(kind, dg.Config):
            yield from plain_fields(kind, here)
        elif kind not in (*FREE, *WRITTEN_OUT, TEXT_MAP) and name not in ELSEWHERE:
            yield Place(here, *sample(field.alias or name, annotation))


def nested(path: tuple[str, ...], value: object) -> dict[str, Any]:
    """Return the keyword arguments in which a value stands at a path."""
    return functools.reduce(lambda inner, name: {name: inner}, reversed(path), cast("Any", value))


@functools.cache
def seen(kind: type[BaseRayResource]) -> type[BaseRayResource]:
    """Return the resource as a step sees it, without a cluster."""

    def yield_for_execution(self: BaseRayResource, context: dg.InitResourceContext) -> Any:
        return _AsItIs(self)

    return type(kind.__name__, (kind,), {"yield_for_execution": yield_for_execution, "__doc__": kind.__doc__})


class _AsItIs:
    def __init__(self, resource: BaseRayResource) -> None:
        self.resource = resource

    def __enter__(self) -> BaseRayResource:
        return self.resource

    def __exit__(self, *_: object) -> None:
        pass


def in_step(resource: BaseRayResource, config: Mapping[str, Any] | None = None) -> BaseRayResource:
    """Return what a step gets."""
    given = None if config is None else {"ray": {"config": dict(config)}}
    with dg.build_resources({"ray": resource}, resource_config=given) as resources:
        return resources.ray


def at(resource: object, path: tuple[str, ...]) -> Any:
    return functools.reduce(getattr, path, resource)


FIELDS = [(kind, place) for kind in RESOURCES for place in plain_fields(kind)]
NUMBERS = [(kind, place) for kind, place in FIELDS if isinstance(place.value, int | float) and place.value is not True]


def parameters(fields: Sequence[tuple[type[BaseRayResource], Place]]) -> Any:
    return [pytest.param(kind, place, id=f"{kind.__name__}.{'.'.join(place.path)}") for kind, place in fields]


@pytest.mark.parametrize("written", ["EnvVar", "as in run config"])
@pytest.mark.parametrize(("kind", "place"), parameters(FIELDS))
def test_every_plain_field_takes_a_variable(
    kind: type[BaseRayResource], place: Place, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = dg.EnvVar("A_VARIABLE") if written == "EnvVar" else {"env": "A_VARIABLE"}
    monkeypatch.delenv("A_VARIABLE", raising=False)
    # The code location loads without the variable.
    resource = seen(kind)(**nested(place.path, reference))
    monkeypatch.setenv("A_VARIABLE", place.text)
    assert at(in_step(resource), place.path) == place.value
    assert type(at(in_step(resource), place.path)) is type(place.value)


@pytest.mark.parametrize(("kind", "place"), parameters(NUMBERS))
def test_every_number_takes_one_from_a_variable_that_is_a_whole_number(
    kind: type[BaseRayResource], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`EnvVar.int` is an int of value 0 for pydantic, which bounds would refuse."""
    resource = seen(kind)(**nested(place.path, dg.EnvVar.int("A_VARIABLE")))
    number = int(float(place.text))
    monkeypatch.setenv("A_VARIABLE", str(number))
    assert at(in_step(resource), place.path) == number


RUN_CONFIG = [
    pytest.param(LocalRay, ("timeout",), "7.5", 7.5, id="a number"),
    pytest.param(LocalRay, ("num_cpus",), "7", 7, id="a whole number"),
    pytest.param(LocalRay, ("lifecycle", "cleanup"), "never", "never", id="a choice"),
    pytest.param(KubeRayCluster, ("cluster_sharing", "ttl_seconds"), "60", 60.0, id="below another class"),
    pytest.param(KubeRayCluster, ("access",), "direct", "direct", id="a choice of the backend"),
]


@pytest.mark.parametrize(("kind", "path", "text", "value"), RUN_CONFIG)
def test_so_it_does_in_run_config(
    kind: type[BaseRayResource], path: tuple[str, ...], text: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_VARIABLE", text)
    assert at(in_step(seen(kind)(), nested(path, {"env": "A_VARIABLE"})), path) == value


BOUNDS = [
    pytest.param(LocalRay, ("memory",), "0", id="memory"),
    pytest.param(LocalRay, ("timeout",), "-1", id="timeout"),
    pytest.param(KubeRayInteractiveJob, ("queue_timeout",), "0", id="queue_timeout"),
    pytest.param(KubeRayCluster, ("cluster_sharing", "ttl_seconds"), "9", id="ttl_seconds"),
    pytest.param(KubeRayCluster, ("cluster_sharing", "renew_seconds"), "599", id="renew_seconds"),
]


@pytest.mark.parametrize(("kind", "path", "text"), BOUNDS)
def test_bounds_hold_for_the_value_of_the_variable(
    kind: type[BaseRayResource], path: tuple[str, ...], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = seen(kind)(**nested(path, dg.EnvVar.int("A_VARIABLE")))
    monkeypatch.setenv("A_VARIABLE", text)
    with pytest.raises(dg.DagsterResourceFunctionError) as caught:
        in_step(resource)
    (refused,) = (error for error in _causes(caught.value) if isinstance(error, ValidationError))
    assert path[-1] in str(refused)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    ("path", "text", "wanted"),
    [
        pytest.param(("timeout",), "soon", "must be a number", id="a number"),
        pytest.param(
            ("lifecycle", "cleanup"), "canary-4711", "must be one of: always, on_exception, never", id="a choice"
        ),
    ],
)
def test_a_variable_that_the_field_cannot_take_is_named_without_its_value(
    path: tuple[str, ...], text: str, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_VARIABLE", text)
    with pytest.raises(dg.DagsterInvalidConfigError) as caught:
        in_step(seen(LocalRay)(**nested(path, dg.EnvVar("A_VARIABLE"))))
    told = " ".join(str(error) for error in _causes(caught.value))
    assert f"A_VARIABLE {wanted}" in told
    assert text not in told


@pytest.mark.parametrize("kind", RESOURCES)
def test_free_dictionaries_take_variables_at_any_depth(
    kind: type[BaseRayResource], monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = seen(kind)(
        runtime_env={"env_vars": {"KEY": dg.EnvVar("SECRET"), "env": "prod", "B": {"env": "SECRET"}}, "pip": ["x"]},
        ray_init_options={"namespace": dg.EnvVar("SECRET"), "object_store_memory": dg.EnvVar.int("BYTES")},
    )
    monkeypatch.setenv("SECRET", "canary-4711")
    monkeypatch.setenv("BYTES", "1000")
    options = in_step(resource).init_options()
    assert options["runtime_env"] == {
        "env_vars": {"KEY": "canary-4711", "env": "prod", "B": "canary-4711"},
        "pip": ["x"],
    }
    assert (options["namespace"], options["object_store_memory"]) == ("canary-4711", 1000)


@pytest.mark.parametrize("kind", RESOURCES)
@pytest.mark.parametrize("value", [8, 1.1, None, True])
def test_a_number_or_none_among_env_vars_fails_when_the_code_location_loads(
    kind: type[BaseRayResource], value: object
) -> None:
    with pytest.raises(ValidationError, match=r"`runtime_env\.env_vars\.WORKERS` is"):
        kind(runtime_env={"env_vars": {"WORKERS": value}})


def test_maps_of_text_take_variables_as_values_only(monkeypatch: pytest.MonkeyPatch) -> None:
    sharing = ClusterSharing(match_labels={"env": "prod", "team": dg.EnvVar("TEAM")})
    resource = seen(KubeRayCluster)(env_vars={"env": "prod", "T": {"env": "TEAM"}}, cluster_sharing=sharing)
    monkeypatch.setenv("TEAM", "ml")
    found = in_step(resource)
    assert at(found, ("env_vars",))["env"] == "prod"  # the backend's own tests read T
    assert at(found, ("cluster_sharing", "match_labels")) == {"env": "prod", "team": "ml"}


def test_a_lifecycle_of_the_base_class_keeps_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_VARIABLE", "never")
    resource = seen(KubeRayInteractiveJob)(lifecycle=Lifecycle(cleanup=cast("Any", dg.EnvVar("A_VARIABLE"))))
    assert at(in_step(resource), ("lifecycle", "cleanup")) == "never"


def test_the_error_of_a_bad_environment_is_ours() -> None:
    with pytest.raises(ValidationError) as caught:
        LocalRay(runtime_env={"env_vars": {"N": 5}})
    (found,) = caught.value.errors()
    assert isinstance(found.get("ctx", {}).get("error"), InvalidFieldError)


# Pipes

CLIENTS = (RayJobClient, PipesRayJobClient, PipesKubeRayJobClient)
NEEDED: Mapping[type, Mapping[str, Any]] = {RayJobClient: {"address": "http://head:8265"}, PipesKubeRayJobClient: {}}
# What is no plain value: objects, and maps of text, which have tests of their own.
NOT_PLAIN = {
    "client",
    "context_injector",
    "cookies",
    "env_vars",
    "headers",
    "lifecycle",
    "prices",
    "template",
    "return",
}


def client_parameters() -> Iterator[Any]:
    """Yield every plain parameter of every client; a kind of parameter that is new here fails."""
    for kind in CLIENTS:
        for name, annotation in get_type_hints(kind.__init__).items():
            if name not in NOT_PLAIN:
                known = str if bool in kinds_of(annotation) and str in kinds_of(annotation) else annotation
                yield pytest.param(kind, Place((name,), *sample(name, known)), id=f"{kind.__name__}.{name}")


def known_by(client: Any, name: str) -> Any:
    """Return what a client does its work with, once the variables are there."""
    if name == "address" and isinstance(client, PipesRayJobClient):
        return client._client.address
    if isinstance(client, RayJobClient):
        return client.timeout if name == "timeout" else getattr(client.connection, name)
    return client._options.with_values(os.environ).given()[name]


@pytest.mark.parametrize("written", ["EnvVar", "as in run config"])
@pytest.mark.parametrize(("kind", "place"), list(client_parameters()))
def test_every_plain_parameter_of_a_client_takes_a_variable(
    kind: type, place: Place, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = place.path
    reference = dg.EnvVar("A_VARIABLE") if written == "EnvVar" else {"env": "A_VARIABLE"}
    monkeypatch.delenv("A_VARIABLE", raising=False)
    needed = NEEDED.get(kind, {} if name == "address" else {"address": "http://head:8265"})
    client = kind(**{**needed, name: reference})
    monkeypatch.setenv("A_VARIABLE", place.text)
    found = known_by(client, name)
    assert (found, type(found)) == (place.value, type(place.value))


@pytest.mark.parametrize(("text", "value"), [("false", False), ("true", True), ("/etc/ca.pem", "/etc/ca.pem")])
def test_whether_certificates_are_verified_is_a_switch_or_a_path(
    text: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VERIFY", text)
    assert RayJobClient("http://head:8265", verify=dg.EnvVar("VERIFY")).connection.verify == value


def test_the_free_parameters_of_clients_take_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    client = PipesKubeRayJobClient(
        env_vars={"env": "prod", "TEAM": dg.EnvVar("TEAM")},
        lifecycle=Lifecycle(cleanup=cast("Any", dg.EnvVar("CLEANUP"))),
    )
    monkeypatch.setenv("TEAM", "ml")
    monkeypatch.setenv("CLEANUP", "never")
    settings = client._options.settings().rayjob
    assert (settings.env_vars, settings.cleanup) == ({"env": "prod", "TEAM": "ml"}, "never")


def test_clients_have_their_options_with_the_same_defaults_in_every_place() -> None:
    """A signature cannot be shared, so the options of all Pipes clients are written three times."""
    places = (PipesRayJobClient.__init__, PipesRayJobClient.on_cluster, PipesKubeRayJobClient.__init__)
    every = [
        {p.name: (p.annotation, p.default) for p in inspect.signature(place).parameters.values()} for place in places
    ]
    shared = set.intersection(*map(set, every)) - {"self"}
    # On KubeRay, the lifecycle has the number of retries.
    assert len(shared) == len([one for one in dataclasses.fields(ClientOptions) if one.name != "retry_infrastructure"])
    assert all(place[name] == every[0][name] for place in every for name in shared)


def test_every_argument_of_the_cleanup_sensor_takes_a_variable_unless_dagster_shows_it() -> None:
    parameters = inspect.signature(build_cleanup_sensor).parameters.values()
    without = {each.name for each in parameters if dg.EnvVar not in kinds_of(each.annotation)}
    assert without == {"name", "default_status", "description", "tags"}
