"""A simulator of Kubernetes with the KubeRay operator, for tests and for trying things out.

    with Simulator("1.7.0") as simulator:
        resource = KubeRayInteractiveJob(kubeconfig_file=str(simulator.kubeconfig))

`python -m dagster_ray.simulator` serves one until it is interrupted.
"""

from dagster_ray.simulator._api.access import Access, Account, Rule
from dagster_ray.simulator._api.faults import Fault, Faults
from dagster_ray.simulator._api.schema import Admission, admit
from dagster_ray.simulator._kubelet.fake_node import FakeRayNode
from dagster_ray.simulator._kubelet.kubelet import KubeletOptions
from dagster_ray.simulator._kubelet.nodes import Node, NodeOrder
from dagster_ray.simulator._kubelet.pod_life import PodTimes
from dagster_ray.simulator._operator.loop import OperatorOptions
from dagster_ray.simulator._operator.running import Limits
from dagster_ray.simulator._simulator import Simulator

__all__ = [
    "Access",
    "Account",
    "Admission",
    "FakeRayNode",
    "Fault",
    "Faults",
    "KubeletOptions",
    "Limits",
    "Node",
    "NodeOrder",
    "OperatorOptions",
    "PodTimes",
    "Rule",
    "Simulator",
    "admit",
]


def __dir__() -> list[str]:
    return sorted(__all__)
