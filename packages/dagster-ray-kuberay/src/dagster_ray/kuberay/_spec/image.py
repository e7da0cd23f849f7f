"""Which image a cluster runs, and what its name tells before it is pulled. Pure."""

import re
from collections.abc import Mapping
from typing import NamedTuple

IMAGE_TAG = "dagster/image"

# The grammar of distribution/reference (reference.go), without the limits of each part.
_REFERENCE = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9+.-]*:[0-9a-fA-F]{32,})?"
)
_PUBLIC = re.compile(r"(?:docker\.io/)?rayproject/ray(?:-ml|-llm)?:(\d+\.\d+\.\d+)(?:-py(\d)(\d+))?(?:[-.].*)?")


class ChosenImage(NamedTuple):
    """An image, and where it was found, in words for a log."""

    image: str
    source: str


def public_image(ray_version: str, python_version: str) -> str:
    """Return the public Ray image of a Ray and a Python version, for x86-64 and without CUDA.

    Tags are `<Ray version>-py<major><minor>` (Ray docker/ray/README.md); builds between releases share `nightly`.

    Args:
        ray_version: Like `2.60.0`.
        python_version: Like `3.11` or `3.11.7`.
    """
    release = ray_version if re.fullmatch(r"\d+\.\d+\.\d+", ray_version) else "nightly"
    return f"rayproject/ray:{release}-py{''.join(python_version.split('.')[:2])}"


def choose_image(  # noqa: PLR0917 - one candidate after the other
    explicit: str | None,
    run_tags: Mapping[str, str],
    code_origin_image: str | None,
    environ_image: str | None,
    ray_version: str,
    python_version: str,
) -> ChosenImage:
    """Return the image for containers that name none, and where it comes from.

    A Dagster deployment on Kubernetes runs steps in an image of their code location, which holds the code that
    tasks need; the public image of Ray is the last resort.

    Args:
        explicit: The resource's `image`.
        run_tags: The run's tags; `dagster/image` is looked at.
        code_origin_image: The container image of the code location.
        environ_image: `DAGSTER_CURRENT_IMAGE`.
        ray_version: The version of Ray that the public image is to have.
        python_version: The version of Python that it is to have.
    """
    found = (
        (explicit, "the image of the resource"),
        (run_tags.get(IMAGE_TAG), f"the run's tag {IMAGE_TAG}"),
        (code_origin_image, "the image of the code location"),
        (environ_image, "DAGSTER_CURRENT_IMAGE"),
    )
    for image, source in found:
        if image:
            return ChosenImage(image, source)
    return ChosenImage(public_image(ray_version, python_version), "the public image for the local Ray and Python")


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
