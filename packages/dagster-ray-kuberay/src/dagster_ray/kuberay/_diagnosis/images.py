"""Why an image is not there. Pure.

Reasons are kubelet's (pkg/kubelet/images/types.go); messages are those of containerd, CRI-O and the registries,
which kubelet passes on. A registry that cannot be reached may come back; one that says no will say it again.
"""

import re

from dagster_ray.kuberay._diagnosis.situations import Code

PULL_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
    | {"ImageInspectError", "SignatureValidationFailed"}
)
"""Reasons of a waiting container that are about its image."""

_QUOTED = re.compile(r'\\?"[^"]*"')  # holds the image's name, which may hold any of the words below
# The first that fits decides.
_TEXTS: tuple[tuple[Code, bool, tuple[str, ...]], ...] = (
    ("image-rate-limit", False, ("toomanyrequests", "too many requests", "rate limit")),
    ("disk-full", False, ("no space left on device",)),
    ("image-platform", True, ("no match for platform", "no matching manifest for", "does not match the specified")),
    (
        "image-unreachable",
        False,
        (
            *("dial tcp", "no such host", "connection refused", "connection reset", "i/o timeout", "tls handshake"),
            *("x509:", "no route to host", "network is unreachable", "server misbehaving", "deadline exceeded"),
            *("deadlineexceeded", "unexpected eof", "bad gateway", "service unavailable", "gateway timeout"),
            *("internal server error", "registry is unavailable"),
        ),
    ),
    (
        "image-unauthorized",
        True,
        (
            *("unauthorized", "denied", "forbidden", "authentication required", "authorization failed"),
            "no basic auth credentials",
        ),
    ),
    ("image-not-found", True, ("not found", "notfound", "manifest unknown", "name unknown")),
    ("image-name", True, ("invalid",)),
)


def image_trouble(reason: str, message: str) -> tuple[Code, bool]:
    """Return which trouble with an image a waiting container has, and whether waiting is of no use.

    Args:
        reason: One of `PULL_REASONS`.
        message: What kubelet writes beside it. While it backs off, kubelets before 1.31 do not repeat the cause.
    """
    if reason == "InvalidImageName":
        return "image-name", True
    if reason == "ErrImageNeverPull":
        return "image-never-pull", True
    words = _QUOTED.sub("", message.lower())
    for code, fatal, texts in _TEXTS:
        if any(text in words for text in texts):
            return code, fatal
    return ("image-unreachable" if reason == "RegistryUnavailable" else "image-pull"), False
