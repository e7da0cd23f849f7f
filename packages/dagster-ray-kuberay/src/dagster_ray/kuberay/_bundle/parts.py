"""Reads facts part by part under one deadline: what cannot be read is named, and costs nothing but itself."""

import http.client
from collections.abc import Callable
from typing import TypeVar

from dagster_ray.core import DagsterRayError, Deadline
from dagster_ray.kuberay._kubernetes.errors import UnavailableError

_PART_SECONDS = 2.5

T = TypeVar("T")


class Parts:
    """Parts of one bundle, and why some of them are missing.

    Attributes:
        deadline: Ends all reads.
        unread: Why a part could not be read, by the part.
    """

    def __init__(self, deadline: Deadline, silent: dict[str, str] | None = None) -> None:
        """Take the deadline; nothing is read yet.

        Args:
            deadline: Ends all reads.
            silent: Why a server does not answer, by the server: nothing more is asked of it. None: each may answer.
        """
        self.deadline = deadline
        self.unread: dict[str, str] = {}
        self._silent = {} if silent is None else silent

    def of_another(self) -> "Parts":
        """Return the parts of another bundle, which are read from the same servers until the same time."""
        return Parts(self.deadline, self._silent)

    def read(self, name: str, read: Callable[[Deadline], T], otherwise: T, of: str = "Kubernetes") -> T:
        """Return one part; what is raised becomes the reason why it is missing.

        Args:
            name: What the part is called in the index.
            read: Reads it.
            otherwise: What is returned if it cannot be read.
            of: The server: the head, or Kubernetes.
        """
        why = "no time was left" if self.deadline.is_over() else self._silent.get(of)
        if why is not None:
            self.unread[name] = why
            return otherwise
        try:
            return read(Deadline(min(_PART_SECONDS, self.deadline.remaining_seconds())))
        except Exception as error:  # noqa: BLE001 - each part fails alone, whatever it raises
            said = error.problem if isinstance(error, DagsterRayError) else f"{type(error).__name__}: {error}"
            self.unread[name] = said
            if isinstance(error, (OSError, http.client.HTTPException, UnavailableError)):
                self._silent[of] = said
            return otherwise
