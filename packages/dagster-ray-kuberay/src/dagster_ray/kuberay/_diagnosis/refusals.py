"""Why the API server did not take an object. Pure.

The same texts come as an answer to us, and to the operator, which puts them into events and the condition
ReplicaFailure. Sources, Kubernetes 1.36: plugin/pkg/admission/resourcequota/controller.go, plugin/pkg/admission/
limitranger/admission.go, pod-security-admission/admission, apiserver/pkg/admission/plugin/webhook (errors),
apiserver/pkg/endpoints/handlers/responsewriters/errors.go (forbidden), plugin/pkg/admission/serviceaccount.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

from dagster_ray.kuberay._diagnosis.situations import Code
from dagster_ray.kuberay._kubernetes.fields import quantity


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a refusal means."""

    code: Code
    fatal: bool
    sentence: str
    remedy: str | None = None
    """What to do; None for what is always done in this situation."""


_Reader: TypeAlias = Callable[["re.Match[str]"], Refusal]

_QUOTA = re.compile(r"exceeded quota(?:: ([^,\s]+)(?:, requested: (\S+), used: (\S+), limited: (\S+))?)?")
_MUST_SPECIFY = re.compile(r"failed quota: ([^:\s]+): must specify ([^\n]+)")
_FORBIDDEN = re.compile(
    r'User "([^"]*)" cannot (\S+) resource "([^"]*)" in API group "([^"]*)"'
    r'(?: in the namespace "([^"]*)"| at the cluster scope)?'
)
_LIMIT_RANGE = re.compile(r"(?:maximum|minimum) \S+ usage per \w+ is|max limit to request ratio per \w+ is")
_POD_SECURITY = re.compile(r'violates PodSecurity "([^"]+)"(?:: )?(.*)', re.DOTALL)
_WEBHOOK_DOWN = re.compile(r'failed calling webhook "([^"]+)"')
_WEBHOOK = re.compile(r'admission webhook "([^"]+)" denied the request:? ?(.*)', re.DOTALL)
_POLICY = re.compile(r"ValidatingAdmissionPolicy '([^']+)'.*? denied request:? ?(.*)", re.DOTALL)
_ACCOUNT = re.compile(r'error looking up service account \S+: serviceaccount "([^"]+)" not found')
_ENDING = re.compile(r"unable to create new content in namespace (\S+) because it is being terminated")
_PRIORITY = re.compile(r"no PriorityClass with name (\S+) was found")
_INVALID = re.compile(r'"[^"]*" is invalid: ')


def read_refusal(message: str) -> Refusal | None:
    """Return what the API server's text means; None if it is none of those that are known."""
    for pattern, reader in _READERS:
        if (found := pattern.search(message)) is not None:
            return reader(found)
    return None


def _quota(found: "re.Match[str]") -> Refusal:
    """Tell apart a quota that is used up from one that is too small for what was asked."""
    name, requested, used, limited = (group or "" for group in found.groups())
    asked, taken, most = _amounts(requested), _amounts(used), _amounts(limited)
    parts = [
        f"{resource}: {text} asked for, {taken.get(resource, '0')} of {most[resource]} used"
        for resource, text in asked.items()
        if resource in most
    ]
    if not parts:
        return Refusal("quota", False, found.string)
    too_small = any(quantity(text) > quantity(most[key]) > Decimal(-1) for key, text in asked.items() if key in most)
    sentence = f"quota {name} has no room ({'; '.join(parts)})"
    return Refusal("quota-too-small" if too_small else "quota", too_small, sentence)


def _amounts(text: str) -> dict[str, str]:
    return {key: value for part in text.split(",") for key, is_, value in [part.partition("=")] if is_}


def _must_specify(found: "re.Match[str]") -> Refusal:
    return Refusal("quota-needs-requests", True, f"quota {found[1]} wants each container to say {found[2].strip()}")


def _forbidden(found: "re.Match[str]") -> Refusal:
    user, verb, resource, group, namespace = (part or "" for part in found.groups())
    full = f"{resource}.{group}" if group else resource
    where = f"in namespace {namespace}" if namespace else "in the whole cluster"
    kind = "Role" if namespace else "ClusterRole"
    remedy = (
        f"Bind a {kind} to {user} with apiGroups: ['{group}'], resources: ['{resource}'], verbs: ['{verb}'] ({where})."
    )
    return Refusal("rbac", True, f"{user} may not {verb} {full} {where}", remedy)


def _all(code: Code, *, fatal: bool) -> _Reader:
    return lambda found: Refusal(code, fatal, found.string)


def _pod_security(found: "re.Match[str]") -> Refusal:
    return Refusal("pod-security", True, f"the namespace's Pod Security level {found[1]} forbids it: {found[2]}")


def _denied(found: "re.Match[str]") -> Refusal:
    return Refusal("webhook-denied", True, f"admission policy {found[1]} refused it: {found[2].strip()}")


def _account(found: "re.Match[str]") -> Refusal:
    return Refusal("service-account-missing", False, f"service account {found[1]} does not exist")


def _ending(found: "re.Match[str]") -> Refusal:
    return Refusal("namespace-ending", True, f"namespace {found[1]} is being deleted")


# The first that fits decides: a webhook's text may quote any other.
_READERS: tuple[tuple["re.Pattern[str]", _Reader], ...] = (
    (_WEBHOOK_DOWN, _all("webhook-down", fatal=False)),
    (_WEBHOOK, _denied),
    (_POLICY, _denied),
    (_QUOTA, _quota),
    (_MUST_SPECIFY, _must_specify),
    (_POD_SECURITY, _pod_security),
    (_FORBIDDEN, _forbidden),
    (_LIMIT_RANGE, _all("limit-range", fatal=True)),
    (_ACCOUNT, _account),
    (_ENDING, _ending),
    (_PRIORITY, _all("object-invalid", fatal=True)),
    (_INVALID, _all("object-invalid", fatal=True)),
)
