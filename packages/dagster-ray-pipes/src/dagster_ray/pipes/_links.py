"""Links to Ray's dashboard, as Dagster shows them.

A link to an address of this machine is dead once the step has ended, and may later open what another step runs. It is
shown while it is good, and never kept with an asset.
"""

from typing import Any

import dagster as dg

from dagster_ray.core import is_of_this_machine

_KEY = "dagster_ray/dashboard"


def dashboard_link(url: str | None, *, in_event: bool) -> dict[str, dg.MetadataValue[Any]]:
    """Return metadata with a link to Ray's dashboard, if there is one to show.

    Args:
        url: The link; None: there is no dashboard.
        in_event: Whether it is shown in an event of the step. Otherwise it is kept with an asset.
    """
    if url is None:
        return {}
    if not is_of_this_machine(url):
        return {_KEY: dg.MetadataValue.url(url)}
    return {_KEY: dg.MetadataValue.text(f"{url} (while the step runs)")} if in_event else {}
