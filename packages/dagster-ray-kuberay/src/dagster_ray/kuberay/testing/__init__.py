"""A simulator of Kubernetes with the KubeRay operator, for tests and for trying things out.

    with Simulator("1.7.0") as simulator:
        resource = KubeRayInteractiveJob(kubeconfig_file=str(simulator.kubeconfig))

`python -m dagster_ray.kuberay.testing` serves one until it is interrupted. Needs the extra `testing`.
"""

from dagster_ray.kuberay.testing._api.access import Access, Account, Rule
from dagster_ray.kuberay.testing._api.faults import Fault, Faults
from dagster_ray.kuberay.testing._kubelet.kubelet import KubeletOptions
from dagster_ray.kuberay.testing._kubelet.pod_life import PodTimes
from dagster_ray.kuberay.testing._operator.loop import OperatorOptions
from dagster_ray.kuberay.testing._simulator import Simulator

__all__ = [
    "Access",
    "Account",
    "Fault",
    "Faults",
    "KubeletOptions",
    "OperatorOptions",
    "PodTimes",
    "Rule",
    "Simulator",
]
