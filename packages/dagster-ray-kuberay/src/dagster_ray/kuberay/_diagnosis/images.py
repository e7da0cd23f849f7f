"""Why an image is not there. Pure.

Reasons are kubelet's (pkg/kubelet/images/types.go); messages are those of containerd, CRI-O, Docker and the registries,
which kubelet passes on. What counts is who has said what: a registry that does not have the name will say so again; one
that answers with a page or an error of its own, a transfer that broke off, and a node that lost track of its layers
are tried again by the kubelet.
"""

import re

from dagster_ray.kuberay._diagnosis.situations import Code

PULL_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
    | {"ImageInspectError", "SignatureValidationFailed"}
)
"""Reasons of a waiting container that are about its image."""

# Names of images, URLs and paths hold any of the words below. What remains of "i/o timeout" must stay.
_NAMES = re.compile(r'\\?"[^"]*"|[^\s"]+/[^\s"]{2,}')

# The first that fits decides. Which of them is ever fatal, and when, is in `PROOFS`.
_TEXTS: tuple[tuple[Code, "re.Pattern[str]"], ...] = (
    ("image-rate-limit", re.compile(r"toomanyrequests|too many requests|rate limit|\b429 [a-z]")),
    ("disk-full", re.compile(r"no space left on device|disk quota exceeded")),
    (
        "image-unreachable",
        re.compile(
            r"dial tcp|no such host|connection refused|connection reset|i/o timeout|tls handshake|x509:"
            r"|no route to host|network is unreachable|server misbehaving|deadline ?exceeded|time-?out"
            r"|registry is unavailable"
            # The registry, or whatever stands before it, has an error of its own, and often a page about it.
            r"|\b5\d\d [a-z]|status[^,;]{0,40}\b5\d\d\b|bad gateway|service unavailable|internal server error"
            r"|invalid character '<'|<html"
        ),
    ),
    (
        "image-pull",  # the transfer broke off, or two pulls got in each other's way on the node
        re.compile(
            r"\beof\b|short read|size validation|invalid tar header|invalid checksum|verification failed"
            r"|gzip:|zstd:|flate:|stream error|context canceled|broken pipe|failed to (?:extract|register) layer"
            r"|snapshot|httpreadseeker: failed open: (?:content|could not fetch content)|content digest|unknown blob"
            r"|blob unknown"
        ),
    ),
    (
        "image-platform",
        re.compile(r"no match for platform|no matching manifest for|does not match the specified"),
    ),
    (
        "image-unauthorized",
        re.compile(
            r"unauthorized|denied|forbidden|authentication required|authorization failed|no basic auth credentials"
            r"|\b40[13] [a-z]|status[^,;]{0,40}\b40[13]\b"
        ),
    ),
    (
        "image-not-found",
        re.compile(
            r"manifest unknown|name unknown|manifest_unknown|name_unknown|failed to resolve reference\b.*not found"
            r"|code = notfound\b|(?:manifest|repository|artifact|image|tag)\b.*\bnot (?:be )?found|is not known to the"
            r" registry"
        ),
    ),
    ("image-name", re.compile(r"invalid reference format|couldn't parse image name")),
)


def image_trouble(reason: str, message: str) -> Code:
    """Return which trouble with an image a waiting container has.

    Args:
        reason: One of `PULL_REASONS`.
        message: What kubelet writes beside it. While it backs off, kubelets before 1.31 do not repeat the cause.
    """
    if reason == "InvalidImageName":
        return "image-name"
    if reason == "ErrImageNeverPull":
        return "image-never-pull"
    words = _NAMES.sub(" ", message).lower()
    for code, pattern in _TEXTS:
        if pattern.search(words):
            return code
    return "image-unreachable" if reason == "RegistryUnavailable" else "image-pull"
