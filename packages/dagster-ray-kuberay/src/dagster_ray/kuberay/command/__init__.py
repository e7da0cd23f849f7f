"""The `dagster-ray` command: look at what dagster-ray has on a cluster, and at what it needs there.

A file a verb, and one for those that look at a head. Decisions are in modules of their own.
`import dagster_ray.kuberay` does not load it.
Exit codes: 0 all is well, 1 something was found, 2 wrong usage, 3 the cluster could not be asked.
"""

from importlib.metadata import version

import click

from dagster_ray.kuberay.command._clusters import clusters
from dagster_ray.kuberay.command._doctor import doctor
from dagster_ray.kuberay.command._evidence import evidence
from dagster_ray.kuberay.command._gc import gc
from dagster_ray.kuberay.command._heads import dashboard, logs
from dagster_ray.kuberay.command._rbac import rbac
from dagster_ray.kuberay.command._render import render

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(version("dagster-ray-kuberay"), prog_name="dagster-ray")
def main() -> None:
    """Ray clusters of Dagster on Kubernetes: check, list, clean up, look inside.

    Exit codes: 0 all is well, 1 something was found, 2 wrong usage, 3 the cluster could not be asked.
    """


for _verb in (clusters, dashboard, doctor, evidence, gc, logs, rbac, render):
    main.add_command(_verb)
