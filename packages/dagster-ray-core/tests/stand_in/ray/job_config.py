"""What a driver tells of itself and gives to its workers."""

from collections.abc import Mapping
from typing import Any


class JobConfig:
    """As far as dagster-ray sets it."""

    def __init__(self) -> None:
        self.runtime_env: Mapping[str, Any] = {}
        self._py_driver_sys_path: list[str] = []
        self._cached_pb: object = None
