"""What an image's name tells before it is pulled: whether it can be one, and which Ray and Python are in it. Pure."""

import re
from typing import NamedTuple

# The grammar of distribution/reference (reference.go), without the limits of each part.
_REFERENCE = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9+.-]*:[0-9a-fA-F]{32,})?"
)
_PUBLIC = re.compile(r"(?:docker\.io/)?rayproject/ray(?:-ml|-llm)?:(\d+\.\d+\.\d+)(?:-py(\d)(\d+))?(?:[-.].*)?")


class ImageVersions(NamedTuple):
    """What the tag of a public Ray image says is in it."""

    ray: str
    python: str | None


def is_image_name(image: str) -> bool:
    """Return whether a container runtime would accept the name."""
    return _REFERENCE.fullmatch(image) is not None


def versions_of(image: str) -> ImageVersions | None:
    """Return the versions in a public Ray image; None for any other, of which the name tells nothing.

    Tags are `<Ray version>-py<major><minor>` and what follows (Ray docker/ray/README.md).
    """
    found = _PUBLIC.fullmatch(image.partition("@")[0])
    if found is None:
        return None
    ray, major, minor = found.groups()
    return ImageVersions(ray, f"{major}.{minor}" if major else None)
