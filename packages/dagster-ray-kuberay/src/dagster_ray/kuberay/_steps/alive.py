"""The annotation by which a step shows that it lives, on an object that it has for itself."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dagster_ray.kuberay._kubernetes.errors import ServerTimeUnknownError
from dagster_ray.kuberay._kubernetes.times import time_text
from dagster_ray.kuberay._labels import ALIVE_ANNOTATION

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

_LONG_AGO = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Alive:
    """A step was alive at a time of the API server.

    Attributes:
        at: The time. By default long ago: before the first sign.
    """

    at: datetime = _LONG_AGO

    @property
    def key(self) -> str:
        """The name of its annotation."""
        return ALIVE_ANNOTATION

    def text(self) -> str:
        """Return the annotation's value."""
        return time_text(self.at)

    def renewed(self, now: datetime) -> "Alive":
        """Return what another sign says; a clock that went back does not make it older."""
        return Alive(max(now, self.at))


def alive_annotations(api: "KubernetesApi") -> dict[str, str]:
    """Return the annotation for a request that is sent now; none if the API server has not told its time."""
    try:
        sign = Alive(api.server_time())
    except ServerTimeUnknownError:
        return {}
    return {sign.key: sign.text()}
