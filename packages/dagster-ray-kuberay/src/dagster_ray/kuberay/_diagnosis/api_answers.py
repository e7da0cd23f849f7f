"""What answers and warnings of the API server say of a cluster that was not even asked for. Pure.

Bodies as kube-apiserver 1.36 sends them: Status objects. For a path that it does not know it sends the text
"404 page not found", which callers pass as `{"code": 404, "message": "404 page not found"}`.
"""

import re
from collections.abc import Iterator

from dagster_ray.kuberay._diagnosis.facts import Facts
from dagster_ray.kuberay._diagnosis.refusals import read_refusal
from dagster_ray.kuberay._diagnosis.situations import Finding, finding
from dagster_ray.kuberay._kubernetes.fields import Manifest, text, whole

_UNKNOWN_FIELD = re.compile(r'unknown field \\?"([^"\\]+)')
_NO_KIND = ("404 page not found", "could not find the requested resource", "no matches for kind")
_NO_NAMESPACE = re.compile(r'namespaces "([^"]+)" not found')


def answer_findings(facts: Facts) -> Iterator[Finding]:
    """Yield what the API server refused."""
    for answer in facts.answers:
        yield from _answer(answer)


def warning_findings(facts: Facts) -> Iterator[Finding]:
    """Yield what the API server left out: it prunes fields that its CRD does not know, and warns."""
    fields = [field for warning in facts.warnings for field in _UNKNOWN_FIELD.findall(warning)]
    if fields:
        sentence = f"the API server's KubeRay does not know {', '.join(fields)}, and leaves it out"
        yield finding("unknown-field", "UnknownField", sentence)


def _answer(answer: Manifest) -> Iterator[Finding]:
    code, message = whole(answer, "code"), text(answer, "message")
    reason = text(answer, "reason") or str(code)
    if (fields := _UNKNOWN_FIELD.findall(message)) and code in {400, 422}:
        sentence = f"the API server's KubeRay does not know {', '.join(fields)}"
        yield finding("unknown-field", reason, sentence, fatal=True)
    elif code == 401:
        yield finding("credentials", reason, "the API server does not take the credentials", fatal=True)
    elif code == 404 and any(words in message for words in _NO_KIND):
        yield finding("crd-missing", reason, f"the cluster does not know KubeRay's kinds: {message}", fatal=True)
    elif code == 404 and (missing := _NO_NAMESPACE.search(message)) is not None:
        yield finding("namespace-missing", reason, f"namespace {missing[1]} does not exist", fatal=True)
    elif (refusal := read_refusal(message)) is not None:
        yield finding(refusal.code, reason, refusal.sentence, fatal=refusal.fatal, remedy=refusal.remedy)
    elif code == 422:
        yield finding("object-invalid", reason, message, fatal=True)
