"""What a manifest needs beside the user's configuration. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderInput:
    """Facts of one step that go into the manifest.

    Args:
        name: The object's name, fixed before it is sent.
        namespace: The object's namespace.
        labels: Identity, on the object and on every pod. They win over the user's.
        annotations: Full values of labels that had to be shortened; they win as well.
        image: The image of containers that name none.
        ray_version: `rayVersion`, unless the user gives it.
        env_vars: Environment of the Ray containers. Variables of the user's containers win.
        queue: Kueue's local queue. None: no queue.
        priority: Kueue's workload priority class.
        pre_running_deadline_seconds: `preRunningDeadlineSeconds`, unless the user gives it. KubeRay has it from 1.6.
        owner_reference: A reference to the object with which this one is to be deleted.
        environ: Where `{"env": "NAME"}` finds its value.
    """

    name: str
    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    image: str
    ray_version: str | None = None
    env_vars: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    queue: str | None = None
    priority: str | None = None
    pre_running_deadline_seconds: int | None = None
    owner_reference: Mapping[str, Any] | None = None
    environ: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
