"""Which rights an account lacks, by what the API server says of its own rules. Pure."""

from collections.abc import Iterable

from dagster_ray.kuberay._kubernetes.fields import Manifest, mappings, texts
from dagster_ray.kuberay._preflight.rights import Right

# The API server asks for one of its verbs; which one depends on its version.
_ONE_VERB_IS_ENOUGH = {"pods/portforward"}


def missing_rights(status: Manifest, rights: Iterable[Right]) -> tuple[Right, ...]:
    """Return the rights that no rule grants; none if the server does not know all rules.

    Args:
        status: `status` of a SelfSubjectRulesReview. It is incomplete where an authorizer cannot list its rules.
        rights: What is needed. A right that the work can do without does not count.
    """
    if status.get("incomplete") or "resourceRules" not in status:
        return ()
    rules = mappings(status.get("resourceRules"))
    needed = [right for right in rights if not right.without]
    granted = {right for right in needed if any(_grants(rule, right) for rule in rules)}
    served = {(right.group, right.resource) for right in granted if right.resource in _ONE_VERB_IS_ENOUGH}
    return tuple(right for right in needed if right not in granted and (right.group, right.resource) not in served)


def _grants(rule: Manifest, right: Right) -> bool:
    """Return whether a rule grants a right, perhaps only on objects of some names: doubt means that it does."""
    resource, _, part = right.resource.partition("/")
    names = {right.resource, "*", *((f"{resource}/*", f"*/{part}") if part else ())}
    return (
        bool({right.verb, "*"} & set(texts(rule.get("verbs"))))
        and bool({right.group, "*"} & set(texts(rule.get("apiGroups"))))
        and bool(names & set(texts(rule.get("resources"))))
    )
