"""Why a cluster does not come up, whether waiting helps, and what to do. Pure.

Looks at what Kubernetes, KubeRay and Kueue wrote into objects and events. What they do
not know is no diagnosis: the step goes on waiting and shows the raw facts. Objects may have any shape.
"""

import re

from dagster_ray.kuberay._diagnosis.cluster_facts import Facts
from dagster_ray.kuberay._diagnosis.containers import container_findings, waiting_trouble
from dagster_ray.kuberay._diagnosis.nodes import node_findings
from dagster_ray.kuberay._diagnosis.operator import (
    creation_findings,
    deletion_findings,
    refusal_findings,
    silence_findings,
)
from dagster_ray.kuberay._diagnosis.queue import queue_findings
from dagster_ray.kuberay._diagnosis.reach import reach_findings
from dagster_ray.kuberay._diagnosis.refusals import read_refusal
from dagster_ray.kuberay._diagnosis.scheduling import scheduling_findings
from dagster_ray.kuberay._diagnosis.situations import PROOFS, Code, Diagnosis, finding
from dagster_ray.kuberay._diagnosis.storage import storage_findings
from dagster_ray.kuberay._status.cluster_state import Head

__all__ = ["Diagnosis", "explain", "explain_answer", "explain_head", "says_more"]

# From the most specific to the most general: of two findings of one rank, the first is told.
_FINDERS = (
    refusal_findings,
    deletion_findings,
    node_findings,
    container_findings,
    storage_findings,
    scheduling_findings,
    queue_findings,
    creation_findings,
    reach_findings,
    silence_findings,
)

_TOLD_OTHERWISE: set[Code] = {"rbac", "object-invalid"}

# What kubelet says of every pod that is not ready, before the container's own reason, which KubeRay from 1.5.1 on adds.
_UNREADY = re.compile(r"^containers with unready status: \[[^\]]*\]; (?=\S)")
_CONTAINER = re.compile(r"^([a-z0-9-]+): |restarting failed container=(\S+)")


def explain_head(head: Head | None, ray_container: str = "") -> Diagnosis | None:
    """Return what the condition HeadPodReady says, if it says why the head does not run.

    The operator copies the reason of the first container that waits, in the order of names, from 1.5.1 on; before, only
    pods have it. It says nothing of how often and for how long.

    Args:
        head: The head; None while it is not known.
        ray_container: The name of the container that runs Ray. The trouble of another one is not fatal. Empty where it
            is not known.
    """
    if head is None or (code := waiting_trouble(head.reason, head.message)) is None:
        return None
    said = _UNREADY.sub("", head.message)
    about = _CONTAINER.search(said)
    is_rays = about is None or not ray_container or ray_container in about.groups()
    return finding(code, head.reason, said, fatal=code in PROOFS and is_rays).diagnosis


def says_more(known: Diagnosis, said: Diagnosis) -> bool:
    """Return whether what pods have shown outweighs what the head's condition says now."""
    return known.code == said.code or (said.code == "image-pull" and known.code.startswith("image-"))


def explain_answer(status: int, message: str) -> Diagnosis | None:
    """Return why a quota, a policy or a webhook keeps an object out; None if the API server's answer has another cause.

    Missing rights and invalid fields are left to their own errors, which name them.

    Args:
        status: The HTTP status.
        message: The server's text, perhaps after the status.
    """
    refusal = read_refusal(message.removeprefix(f"{status} "))
    if refusal is None or refusal.code in _TOLD_OTHERWISE:
        return None
    return finding(refusal.code, str(status), refusal.sentence, remedy=refusal.remedy).diagnosis


def explain(facts: Facts) -> Diagnosis | None:
    """Return why the cluster is not there; None if nothing that is known keeps it away.

    Asked when nothing has moved for a while, or something has failed: an object that was made just now may look as
    if nobody cared for it. A finding that may be fatal comes before a patient one, the head before workers, and the
    specific before the general.
    """
    found = [one for finder in _FINDERS for one in finder(facts)]
    ranked = sorted(found, key=lambda one: (one.diagnosis.proof is None, one.of_workers))
    return ranked[0].diagnosis if ranked else None
