"""A RayCluster that exists, chosen by the `clusterSelector` of a RayJob. Pure."""

from dagster_ray.kuberay._kubernetes.fields import Manifest, mapping
from dagster_ray.kuberay._operator_rules.names import CLUSTER_LABEL
from dagster_ray.kuberay._spec.errors import InvalidSpecError

SELECTOR = "clusterSelector"


def selected_cluster(spec: Manifest) -> str | None:
    """Return the name of the RayCluster that a specification chooses; None if it describes one.

    Raises:
        InvalidSpecError: The selector is not a RayCluster's name.
    """
    selector: object = spec.get(SELECTOR)
    if selector is None or selector == {}:
        return None
    given = mapping(selector)
    name = given.get(CLUSTER_LABEL)
    if not isinstance(name, str) or not name or len(given) > 1:
        reason = f"is {selector!r}, and KubeRay selects a cluster by its name only"
        raise InvalidSpecError(f"spec.{SELECTOR}", reason, f"give {{'{CLUSTER_LABEL}': '<name of the RayCluster>'}}")
    return name
