"""What every verb of the command has in common: where the cluster is, how results are printed, how it ends."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import functools
import json
import os
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeAlias, TypeVar

import click

from dagster_ray.core.errors import DagsterRayError

if TYPE_CHECKING:
    import dagster as dg

    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
    from dagster_ray.kuberay.command._checks import Refusal


FINE, FINDING, NO_ANSWER = 0, 1, 3
"""Exit codes: all is well; something was found; the cluster could not be asked. 2 is click's own: wrong usage."""

# What tells that the cluster did not answer, or not to this account.
_NO_ANSWER = {
    "kubeconfig",
    "kubernetes-unauthorized",
    "kubernetes-forbidden",
    "kubernetes-unavailable",
    "kind-not-installed",
    "server-time-unknown",
}
CALL_SECONDS = 15.0

Colour: TypeAlias = Literal["red", "green", "yellow", "bright_black"]
P = ParamSpec("P")
R = TypeVar("R")
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Place:
    """Which cluster is meant, and how the answer is printed.

    Attributes:
        kubeconfig: The kubeconfig. None: the pod's service account, or kubectl's default.
        context: The kubeconfig's context.
        namespace: The namespace. None: the account's own.
        as_json: Whether machines read the answer.
    """

    kubeconfig: str | None
    context: str | None
    namespace: str | None
    as_json: bool

    def api(self) -> "KubernetesApi":
        """Return the cluster.

        Raises:
            KubeconfigError: There is none, or it cannot be read.
        """
        from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

        return KubernetesApi.load(self.kubeconfig, self.context)

    def printed(self, value: Mapping[str, Any] | Sequence[Any], text: str) -> None:
        """Print a result: as JSON for machines, as text for people."""
        say(json.dumps(value, indent=2) if self.as_json else text)


def cluster_options(verb: FunctionT) -> FunctionT:
    """Add the options that name a cluster; the verb gets them as one `Place`."""

    @functools.wraps(verb)
    def placed(kubeconfig: str | None, context: str | None, namespace: str | None, as_json: bool, **more: Any) -> Any:
        return answered(verb, Place(kubeconfig, context, namespace, as_json), **more)

    options = (
        click.option(
            "--kubeconfig", type=click.Path(), help="A kubeconfig. Default: as kubectl, or the pod's account."
        ),
        click.option("--context", help="The kubeconfig's context. Default: the current one."),
        click.option("--namespace", "-n", help="The namespace. Default: the account's own."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines."),
    )
    decorated: Any = placed
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def answered(verb: Callable[Concatenate[Place, P], int], place: Place, *args: P.args, **kwargs: P.kwargs) -> None:
    """Run a verb and exit with what it returns; an error of the family is told without a traceback."""
    try:
        code = verb(place, *args, **kwargs)
    except DagsterRayError as error:
        tell_error(error, as_json=place.as_json)
        code = NO_ANSWER if error.code in _NO_ANSWER else FINDING
    raise click.exceptions.Exit(code)


def tell_error(error: "DagsterRayError | Refusal", *, as_json: bool) -> None:
    """Print what is wrong, what to do, and the code."""
    if as_json:
        say(json.dumps({"error": _as_data(error)}, indent=2))
        return
    note(f"{coloured('Error', 'red', to_stderr=True)}: {error.problem}")
    note(f"To fix: {error.remedy} [dagster-ray: {error.code}]")


def tell_refused(heading: str, found: "Sequence[Refusal]", *, as_json: bool) -> None:
    """Print each error of a configuration, as `tell_error` does; `error` of the JSON is the first of `errors`."""
    if as_json:
        errors = [_as_data(one) for one in found]
        say(json.dumps({"error": errors[0], "errors": errors}, indent=2))
        return
    note(heading)
    for one in found:
        tell_error(one, as_json=False)


def _as_data(error: "DagsterRayError | Refusal") -> Mapping[str, str]:
    return {"code": error.code, "problem": error.problem, "remedy": error.remedy}


def say(text: str) -> None:
    """Print a result."""
    click.echo(text)


def note(text: str) -> None:
    """Print something beside the result."""
    click.echo(text, err=True)


def progress(text: str) -> None:
    """Tell people on a terminal what goes on."""
    if sys.stderr.isatty():
        click.echo(coloured(text, "bright_black", to_stderr=True), err=True)


def coloured(text: str, colour: Colour, *, to_stderr: bool = False) -> str:
    """Return text in a colour, on a terminal and unless NO_COLOR is set (no-color.org)."""
    stream = sys.stderr if to_stderr else sys.stdout
    wanted = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return click.style(text, fg=colour) if wanted else text


@contextmanager
def dagster_instance() -> Generator["dg.DagsterInstance | None"]:
    """Yield the instance that DAGSTER_HOME names; None without one, or if it cannot be opened."""
    import dagster as dg

    if not os.environ.get("DAGSTER_HOME"):
        yield None
        return
    try:
        instance = dg.DagsterInstance.get()
    except Exception as error:  # noqa: BLE001 - any storage can sit behind it, and locks are judged without it
        note(f"The Dagster instance of DAGSTER_HOME cannot be opened ({type(error).__name__}); runs are not known.")
        yield None
        return
    with instance:
        yield instance
