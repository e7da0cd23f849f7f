"""`dagster-ray rbac`: the Role that features need, and nothing more; and what binds it to a service account."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import click
import yaml

from dagster_ray.kuberay import _rights as rights
from dagster_ray.kuberay.command._cluster_rows import table
from dagster_ray.kuberay.command._terminal import FINE, Place, answered, say


@click.command()
@click.option(
    "--feature",
    "features",
    multiple=True,
    help="What is used; several times, or separated by commas. `--list` shows all.",
)
@click.option("--name", default="dagster-ray", show_default=True, help="The Role's name.")
@click.option("--namespace", "-n", help="The Role's namespace. Default: none, so that `kubectl -n` decides.")
@click.option(
    "--service-account",
    help="Also print the binding to this service account: NAME in --namespace, or NAMESPACE:NAME.",
)
@click.option("--list", "lists", is_flag=True, help="Show the features and what each needs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
def rbac(  # noqa: PLR0917 - options by position
    features: tuple[str, ...],
    name: str,
    namespace: str | None,
    service_account: str | None,
    lists: bool,
    as_json: bool,
) -> None:
    """Print the Role that the chosen features need, and nothing more. What they can do without is marked.

    A feature that looks beyond one namespace needs a ClusterRole, which is printed with it. No cluster is asked.
    Example: dagster-ray rbac --feature interactive,diagnosis | kubectl apply -n ray -f -
    """
    names = [part.strip() for given in features for part in given.split(",") if part.strip()]
    if not names and not lists:
        raise click.UsageError(f"name at least one --feature of {', '.join(rights.NAMES)}")
    if unknown := sorted(set(names) - set(rights.NAMES)):
        raise click.BadParameter(
            f"{', '.join(unknown)} does not exist; there are {', '.join(rights.NAMES)}", param_hint="--feature"
        )
    if service_account is not None and (namespace is None or not service_account.rpartition(":")[2]):
        # Kubernetes refuses a binding to a service account without a namespace; `kubectl -n` does not fill it in.
        raise click.UsageError("--service-account needs the account's name, and --namespace")
    place = Place(None, None, namespace, as_json)
    verb = _list if lists else partial(_print, name=name, account=service_account)
    answered(verb, place, names or list(rights.NAMES))


def _print(place: Place, names: list[str], *, name: str, account: str | None) -> int:
    roles = rights.roles(name, place.namespace, rights.features_of(names))
    bindings: list[Mapping[str, Any]] = []
    if account is not None and place.namespace is not None:
        bindings = [rights.binding(role, place.namespace, account) for role, _ in roles]
    manifests = [*(role for role, _ in roles), *bindings]
    if not place.as_json:
        documents = [*(_marked(role, effects) for role, effects in roles), *map(_yaml, bindings)]
        say("\n---\n".join(documents))
    elif len(manifests) == 1:
        say(json.dumps(manifests[0], indent=2))
    else:
        say(json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}, indent=2))
    return FINE


def _marked(role: Mapping[str, Any], effects: Sequence[str]) -> str:
    """Return a Role as YAML, in which each rule that the work can do without says what happens then."""
    lines = [_yaml({key: value for key, value in role.items() if key != "rules"}), "rules:"]
    for rule, without in zip(role["rules"], effects, strict=True):
        lines += [*([f"# Optional. Without it, {without}."] if without else []), _yaml([rule])]
    return "\n".join(lines)


def _yaml(value: object) -> str:
    return yaml.safe_dump(value, sort_keys=False).rstrip()


def _list(place: Place, names: list[str]) -> int:
    rows = rights.table(rights.features_of(names))
    header = ("feature", "for", "group", "resource", "verbs", "without")
    place.printed([dict(zip(header, row, strict=True)) for row in rows], table(header, rows))
    return FINE
