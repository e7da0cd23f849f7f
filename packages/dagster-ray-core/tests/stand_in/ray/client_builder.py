"""Makes a connection of Ray Client."""

from typing import Any


class JobConfig:
    def __init__(self) -> None:
        self.metadata: dict[str, str] = {}

    def set_metadata(self, key: str, value: str) -> None:
        self.metadata[key] = value


class ClientBuilder:
    def __init__(self, address: str) -> None:
        self.address = address
        self._job_config = JobConfig()

    def connect(self) -> Any:
        """Return what the server would get."""
        return self.address, self._job_config.metadata
