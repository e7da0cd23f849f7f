"""`dagster-ray logs`: what the head of a cluster has written."""

import click

from dagster_ray.core import Deadline
from dagster_ray.kuberay.command._checks import Refusal
from dagster_ray.kuberay.command._heads import named_head
from dagster_ray.kuberay.command._terminal import CALL_SECONDS, FINDING, FINE, Place, cluster_options, note, tell_error

_LIMIT_BYTES = 10_000_000


@click.command()
@click.argument("name")
@cluster_options
@click.option("--previous", is_flag=True, help="Of the container that ran before, after a crash.")
@click.option("--tail", default=500, show_default=True, help="The last lines.")
def logs(place: Place, name: str, previous: bool, tail: int) -> int:
    """Print the log of the head of a RayJob or RayCluster."""
    api = place.api()
    try:
        namespace = place.namespace or api.namespace
        found = named_head(api, namespace, name)
        if isinstance(found, Refusal):
            tell_error(found, as_json=place.as_json)
            return FINDING
        if found.pod is None:
            place.printed({"pod": None, "reason": found.sentence, "lines": []}, found.sentence)
            return FINDING
        text = api.pod_log(
            namespace,
            found.pod,
            Deadline(CALL_SECONDS),
            container=found.container,
            previous=previous,
            tail_lines=tail,
            limit_bytes=_LIMIT_BYTES,
        )
    finally:
        api.close()
    if not text and not place.as_json:
        note(f"Container {found.container} of pod {found.pod} has written nothing.")
        return FINE
    where = {"pod": found.pod, "container": found.container, "previous": previous}
    place.printed({**where, "lines": text.splitlines()}, text)
    return FINE
