"""`dagster-ray doctor`: whether this environment and this cluster are fit for dagster-ray."""

import importlib.metadata
import importlib.util
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from dagster_ray.core import Deadline
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay import _rights as rights
from dagster_ray.kuberay._kubernetes.kinds import NAMESPACES, PODS, RAYCLUSTERS, RAYJOBS
from dagster_ray.kuberay._labels import OPERATOR_SELECTOR
from dagster_ray.kuberay._operator_rules.crd_release import SCHEMA_PATH
from dagster_ray.kuberay._rights import Feature, Right
from dagster_ray.kuberay.command import _checks as checks
from dagster_ray.kuberay.command._checks import Check, Refusal, State
from dagster_ray.kuberay.command._terminal import (
    CALL_SECONDS,
    FINDING,
    FINE,
    NO_ANSWER,
    Colour,
    Place,
    cluster_options,
    coloured,
    progress,
)

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

FAMILY = (
    "dagster-ray",
    "dagster-ray-core",
    "dagster-ray-kuberay",
    "dagster-ray-local",
    "dagster-ray-pipes",
    "dagster-ray-simulator",
)
# Folders and files of dagster-ray 0.4.8 that the packages of today do not have.
_OLD = ("__init__.py", "_base", "configs.py", "io_manager.py", "resources.py")


def version_of(distribution: str) -> str | None:
    """Return the version of an installed distribution."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def family_versions() -> Mapping[str, str]:
    """Return the versions of the family's installed packages."""
    return {name: version for name in FAMILY if (version := version_of(name)) is not None}


def leftovers(folders: list[str] | None = None) -> list[str]:
    """Return what an older dagster-ray has left in the folders that Python imports from."""
    found: list[str] = []
    for folder in dict.fromkeys(sys.path if folders is None else folders):
        package = Path(folder) / "dagster_ray"
        found += [str(Path(package.name) / name) for name in _OLD if (package / name).exists()]
    return list(dict.fromkeys(found))


def has_ray_client() -> bool:
    """Return whether what Ray Client needs beside ray is installed."""
    return importlib.util.find_spec("grpc") is not None


T = TypeVar("T")
_COLOURS: Mapping[State, Colour] = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": "bright_black"}
_ASKED = ("account", "api-server")


@click.command()
@cluster_options
@click.option("--feature", "features", multiple=True, help="What is used. Default: interactive and what it needs here.")
@click.option("--round-trip", is_flag=True, help="Make a throw-away cluster, use it, and delete it in any case.")
@click.option("--without-ray", is_flag=True, help="The round trip ends when the head accepts drivers.")
@click.option("--image", help="The round trip's image. Default: as steps choose it.")
@click.option("--timeout", default=300.0, show_default=True, help="Seconds until the round trip's head is there.")
@click.option("--strict", is_flag=True, help="Warnings and skipped checks count as findings.")
def doctor(  # noqa: PLR0917 - options by position
    place: Place,
    features: tuple[str, ...],
    round_trip: bool,
    without_ray: bool,
    image: str | None,
    timeout: float,
    strict: bool,
) -> int:
    """Check environment, account, KubeRay, rights and network; with --round-trip, all of it in use.

    A check that cannot be made is skipped, with the reason. Exit code 1: a check failed. 3: no cluster could be asked.
    """
    names = [part.strip() for given in features for part in given.split(",") if part.strip()]
    if unknown := sorted(set(names) - set(rights.NAMES)):
        raise click.BadParameter(f"{', '.join(unknown)} does not exist", param_hint="--feature")
    found = list(_environment())
    trip = _round_trip(place, image, timeout, connects=not without_ray) if round_trip else None
    found += _cluster(place, names, trip)
    place.printed(checks.plain(found), "\n".join(_lines(found)))
    if any(one.state == "failed" and one.name in _ASKED for one in found):
        return NO_ANSWER
    bad = {"failed", "warning", "skipped"} if strict else {"failed"}
    return FINDING if any(one.state in bad for one in found) else FINE


def _environment() -> Iterator[Check]:
    major, minor, patch = platform.python_version_tuple()
    yield checks.python_check((int(major), int(minor), int("".join(filter(str.isdigit, patch)) or 0)))
    yield checks.packages_check(family_versions(), leftovers())
    yield checks.ray_check(version_of("ray"), has_client=has_ray_client())


def _round_trip(place: Place, image: str | None, timeout: float, *, connects: bool) -> Check:
    from dagster_ray.kuberay.command._round_trip import round_trip

    progress("Making a cluster for a round trip ...")
    return round_trip(place, image=image, timeout=timeout, connects=connects)


def _cluster(place: Place, names: Sequence[str], trip: Check | None) -> Iterator[Check]:
    progress("Asking the cluster ...")
    try:
        api = place.api()
    except DagsterRayError as error:
        yield checks.account_check(_refusal(error), "", "", in_cluster=False)
        yield Check("cluster", "skipped", "There is no cluster to ask.")
        return
    try:
        yield from _asked(api, place.namespace or api.namespace, names, trip)
    finally:
        api.close()


def _asked(api: "KubernetesApi", namespace: str, names: Sequence[str], trip: Check | None) -> Iterator[Check]:
    yield checks.account_check(None, api.server, namespace, in_cluster=api.in_cluster)
    version = _ask(lambda: api.read("/version", Deadline(CALL_SECONDS)))
    yield checks.server_check(version)
    if isinstance(version, Refusal):
        yield Check("cluster", "skipped", "The API server gave no answer, so nothing else was asked.")
        return
    yield checks.crds_check(_ask(lambda: api.read(SCHEMA_PATH, Deadline(CALL_SECONDS))))
    if trip is not None and trip.state == "ok":
        yield Check("operator", "ok", "An operator has served the round trip.")
    else:
        yield _operator(api, namespace)
    yield _namespace(api, namespace)
    used = names or ["interactive", "diagnosis", *([] if api.in_cluster else ["port-forward"])]
    features = rights.features_of(used)
    remedy = checks.grant_command(features, namespace)
    for feature in features:
        allowed = _ask(lambda f=feature: _allowed(api, f, namespace))
        yield checks.rights_check(feature, allowed, namespace, version, remedy)
    yield checks.path_check(in_cluster=api.in_cluster, round_trip=trip)
    yield trip or Check("round-trip", "skipped", "It was not requested.", "run `dagster-ray doctor --round-trip`")


def _namespace(api: "KubernetesApi", namespace: str) -> Check:
    """Read the namespace; without that right, let the API server try a RayJob in it without keeping it."""
    found = _ask(lambda: api.read(NAMESPACES.path(None, namespace), Deadline(CALL_SECONDS)))
    if isinstance(found, Refusal) and found.code == "kubernetes-forbidden":
        body = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "dagster-ray-doctor"}}
        found = _ask(lambda: api.create(RAYJOBS, namespace, body, Deadline(CALL_SECONDS), dry_run=True))
    return checks.namespace_check(namespace, found)


def _operator(api: "KubernetesApi", namespace: str) -> Check:
    pods = _ask(lambda: api.list(PODS, None, Deadline(CALL_SECONDS), label_selector=OPERATOR_SELECTOR).items)
    objects = _ask(
        lambda: [
            one for kind in (RAYJOBS, RAYCLUSTERS) for one in api.list(kind, namespace, Deadline(CALL_SECONDS)).items
        ]
    )
    now = _ask(api.server_time)
    return checks.operator_check(pods, objects, datetime.now(UTC) if isinstance(now, Refusal) else now)


def _allowed(api: "KubernetesApi", feature: Feature, namespace: str) -> Mapping[Right, bool]:
    deadline = Deadline(CALL_SECONDS)
    return {
        one: api.may(one.verb, one.group, one.resource, "" if one.whole_cluster else namespace, deadline)
        for one in feature.rights
    }


def _ask(question: Callable[[], T]) -> T | Refusal:
    try:
        return question()
    except DagsterRayError as error:
        return _refusal(error)


def _refusal(error: DagsterRayError) -> Refusal:
    return Refusal(error.code, error.problem, error.remedy)


def _lines(found: Sequence[Check]) -> Iterator[str]:
    width = max(len(one.name) for one in found)
    told: set[str] = set()
    for one in found:
        yield f"{coloured(one.state.ljust(7), _COLOURS[one.state])}  {one.name.ljust(width)}  {one.sentence}"
        if one.remedy and one.state != "ok" and one.remedy not in told:
            told.add(one.remedy)
            yield f"{' ' * (width + 11)}To fix: {one.remedy}"
    counts = {state: sum(one.state == state for one in found) for state in _COLOURS}
    yield ", ".join(f"{count} {state}" for state, count in counts.items() if count) + "."
