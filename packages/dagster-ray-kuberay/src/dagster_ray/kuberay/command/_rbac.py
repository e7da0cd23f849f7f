"""`dagster-ray rbac`: the Role that features need, and nothing more."""

import json

import click
import yaml

from dagster_ray.kuberay._preflight import rights
from dagster_ray.kuberay.command._tables import table
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
@click.option("--list", "lists", is_flag=True, help="Show the features and what each needs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
def rbac(features: tuple[str, ...], name: str, namespace: str | None, lists: bool, as_json: bool) -> None:
    """Print the Role that the chosen features need, and nothing more.

    No cluster is asked. Example: dagster-ray rbac --feature interactive,diagnosis | kubectl apply -n ray -f -
    """
    names = [part.strip() for given in features for part in given.split(",") if part.strip()]
    if not names and not lists:
        raise click.UsageError(f"name at least one --feature of {', '.join(rights.NAMES)}")
    if unknown := sorted(set(names) - set(rights.NAMES)):
        raise click.BadParameter(
            f"{', '.join(unknown)} does not exist; there are {', '.join(rights.NAMES)}", param_hint="--feature"
        )
    place = Place(None, None, namespace, as_json)
    answered(_list if lists else _print, place, names or list(rights.NAMES), name)


def _print(place: Place, names: list[str], name: str) -> int:
    manifest = rights.role(name, place.namespace, rights.features_of(names))
    if place.as_json:
        say(json.dumps(manifest, indent=2))
    else:
        say(yaml.safe_dump(manifest, sort_keys=False).rstrip())
    return FINE


def _list(place: Place, names: list[str], name: str) -> int:
    del name
    rows = rights.table(rights.features_of(names))
    header = ("feature", "for", "group", "resource", "verbs", "without")
    place.printed([dict(zip(header, row, strict=True)) for row in rows], table(header, rows))
    return FINE
