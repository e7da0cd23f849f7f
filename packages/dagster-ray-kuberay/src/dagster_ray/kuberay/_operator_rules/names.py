"""What names, labels and their values may look like, in the words of Kubernetes' API server and of KubeRay. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping

CLUSTER_LABEL = "ray.io/cluster"
"""KubeRay's label of a RayCluster's pods and Services, and the one key that it reads of a `clusterSelector`: its value
is the RayCluster's name (rayjob_controller.go)."""
NAME_LIMITS: Mapping[str, int] = {"RayJob": 47, "RayCluster": 53}
"""Most characters of a name: the operator makes the names of pods and Services from it."""
KEY_ADVICE = "use up to 63 letters, digits, `-`, `_` and `.`, optionally after a DNS name and `/`"
NAME_ADVICE = "use lower-case letters, digits and `-`, with a letter first and no `-` at the end"

SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    f"and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{SUBDOMAIN}')"
)
_NAME_PART = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_NAME_PART_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    f"character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_NAME_PART}')"
)
_QUALIFIED_TEXT = (
    "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    f"alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_NAME_PART}')"
    " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
)
_LABEL_VALUE = f"({_NAME_PART})?"
_LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    f"'{_LABEL_VALUE}')"
)
_LABEL = "[a-z]([-a-z0-9]*[a-z0-9])?"
_DNS_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    f"and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '{_LABEL}')"
)


def subdomain_faults(name: str) -> Iterator[str]:
    """Why a name is not a DNS-1123 subdomain."""
    if len(name) > 253:
        yield "must be no more than 253 characters"
    if re.fullmatch(SUBDOMAIN, name) is None:
        yield _SUBDOMAIN_TEXT


def qualified_name_faults(key: str) -> Iterator[str]:
    """Why a text cannot be the key of a label."""
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix:
        yield _QUALIFIED_TEXT
        return
    if slash and not prefix:
        yield "prefix part must be non-empty"
    elif slash:
        yield from (f"prefix part {text}" for text in subdomain_faults(prefix))
    if not name:
        yield "name part must be non-empty"
    elif len(name) > 63:
        yield "name part must be no more than 63 characters"
    if re.fullmatch(_NAME_PART, name) is None:
        yield _NAME_PART_TEXT


def wrong_key(keys: Iterable[str], *, is_annotation: bool = False) -> str | None:
    """Return the first key that Kubernetes refuses as that of a label or annotation; None if it takes all.

    Of an annotation's key it compares the letters in lower case (k8s.io/apimachinery, ValidateAnnotations).
    """
    return next((key for key in keys if any(qualified_name_faults(key.lower() if is_annotation else key))), None)


def label_value_faults(value: str) -> Iterator[str]:
    """Why a text cannot be the value of a label."""
    if len(value) > 63:
        yield "must be no more than 63 characters"
    if re.fullmatch(_LABEL_VALUE, value) is None:
        yield _LABEL_VALUE_TEXT


def dns_1035_faults(name: str) -> Iterator[str]:
    """Why a name is not a DNS-1035 label."""
    if len(name) > 63:
        yield "must be no more than 63 characters"
    if re.fullmatch(_LABEL, name) is None:
        yield _DNS_1035_TEXT
