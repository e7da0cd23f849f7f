"""What the conformance tests of both resources ask of the API. `KUBECONFIG NAMESPACE/NAME` names an object."""

from collections.abc import Generator
from contextlib import contextmanager

from dagster_ray.core import Deadline
from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
from dagster_ray.kuberay._kubernetes.errors import NotFoundError
from dagster_ray.kuberay._kubernetes.kinds import Kind

CALL_SECONDS = 20


@contextmanager
def opened(cluster: str) -> Generator[tuple[KubernetesApi, str, str]]:
    """Yield the API, the namespace and the name."""
    path, _, place = cluster.partition(" ")
    namespace, _, name = place.partition("/")
    api = KubernetesApi.load(path)
    try:
        yield api, namespace, name
    finally:
        api.close()


def exists(kind: Kind, cluster: str) -> bool:
    """Return whether an object is there and stays."""
    with opened(cluster) as (api, namespace, name):
        try:
            found = api.get(kind, namespace, name, Deadline(CALL_SECONDS))
        except NotFoundError:
            return False
    return "deletionTimestamp" not in found["metadata"]
