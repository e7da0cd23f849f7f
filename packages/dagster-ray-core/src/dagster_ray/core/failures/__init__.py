"""Whose failure a step's error is, and what follows from it."""

from typing import Literal, TypeAlias

FailureClass: TypeAlias = Literal["user", "infrastructure", "configuration"]
"""Whose failure it is. user: the step's own code or its needs, such as memory. infrastructure: nodes, network, image
registry, API server, queue; another attempt may succeed. configuration: what somebody has written down, so that another
attempt fails in the same way."""

__all__ = ["FailureClass"]


def __dir__() -> list[str]:
    return sorted(__all__)
