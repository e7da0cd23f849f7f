"""The `dagster-ray` command as a test runs it: in this process, without a terminal."""

import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner

from dagster_ray.kuberay.command import main

# Before 8.2 click mixes what is printed to both streams, unless it is told not to; later it has no such option.
_APART: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}


@dataclass(frozen=True, slots=True)
class Printed:
    """What a verb has printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """The JSON on its output."""
        return json.loads(self.out)


def dagster_ray(*arguments: object, environ: dict[str, str | None] | None = None) -> Printed:
    """Run the command."""
    words: Sequence[str] = [str(one) for one in arguments]
    done = CliRunner(**_APART).invoke(main, words, env=environ)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Printed(done.exit_code, done.stdout, done.stderr)
