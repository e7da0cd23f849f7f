"""What is said of a configuration while a code location loads, once a process."""

import logging
from collections.abc import Iterable

_log = logging.getLogger("dagster_ray")
_said: set[str] = set()


def say_once(sentences: Iterable[str]) -> None:
    """Log each sentence as a warning, unless this process has done so: Dagster builds a configuration many times."""
    for sentence in sentences:
        if sentence not in _said:
            _said.add(sentence)
            _log.warning("%s", sentence)
