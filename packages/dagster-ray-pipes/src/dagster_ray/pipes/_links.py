"""Links to Ray's dashboard, as Dagster shows them.

A link to an address of this machine is dead once the step has ended, and may later open what another step runs. It is
shown while it is good, and never kept with an asset.
"""

import ipaddress
from typing import Any
from urllib.parse import urlsplit

import dagster as dg

_KEY = "dagster_ray/dashboard"


def is_of_this_machine(url: str) -> bool:
    """Return whether a URL leads to the machine that opens it: localhost, or a loopback address."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # it is a name
        return False


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
