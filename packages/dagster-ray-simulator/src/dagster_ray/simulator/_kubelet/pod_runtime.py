"""What the API server asks of whatever runs the pods."""

from typing_extensions import Protocol


class PodRuntime(Protocol):
    """Where pods run."""

    def address(self, namespace: str, pod: str, port: int) -> tuple[str, int] | None:
        """Return where a port of a pod listens on this machine now; None if nothing listens."""
        ...

    def log(self, namespace: str, pod: str, container: str | None = None, *, previous: bool = False) -> str:
        """Return the log of a container, or of its previous run."""
        ...
