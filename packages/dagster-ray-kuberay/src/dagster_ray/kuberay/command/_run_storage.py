"""The Dagster instance of the environment, if there is one: without it nothing is known of runs."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dagster_ray.kuberay.command._terminal import note

if TYPE_CHECKING:
    import dagster as dg


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
