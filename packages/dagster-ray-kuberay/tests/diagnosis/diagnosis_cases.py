"""One situation or more for each code, in the words that Kubernetes, KubeRay and Kueue use."""

from diagnosis_cluster_cases import OPERATOR, QUEUES, REACH, REFUSALS
from diagnosis_objects import Case
from diagnosis_pod_cases import CONTAINERS, IMAGES, NODES, SCHEDULING, VOLUMES

CASES: dict[str, Case] = {
    f"{area}: {name}": case
    for area, table in {
        "image": IMAGES,
        "container": CONTAINERS,
        "volume": VOLUMES,
        "scheduling": SCHEDULING,
        "node": NODES,
        "refusal": REFUSALS,
        "operator": OPERATOR,
        "queue": QUEUES,
        "reach": REACH,
    }.items()
    for name, case in table.items()
}
