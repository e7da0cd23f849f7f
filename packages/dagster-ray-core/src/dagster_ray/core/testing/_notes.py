"""What a step saw, as plain data that outlives the step, its cluster and its process."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Notes:
    """Values that were read, and the errors of those that could not be.

    One broken member must not hide what the others do, so every reading is kept apart.
    """

    values: dict[str, Any] = field(default_factory=dict[str, Any])
    errors: dict[str, str] = field(default_factory=dict[str, str])

    def note(self, name: str, read: Callable[[], object]) -> bool:
        """Keep what `read` returns, or the error that it raises, under `name`; return whether it returned."""
        try:
            self.values[name] = read()
        except Exception as error:  # noqa: BLE001 - whatever a backend raises is the finding
            self.errors[name] = f"{type(error).__name__}: {error}"
            return False
        return True

    def get(self, name: str) -> Any:
        """Return the value of `name`; fail the test with the error if reading it had failed."""
        assert name not in self.errors, f"in the step, `{name}` failed with {self.errors[name]}"
        assert name in self.values, f"the step did not come as far as `{name}`. Errors before that: {self.errors}"
        return self.values[name]

    def save(self, file: Path) -> None:
        """Write the notes to `file`, which appears complete or not at all."""
        draft = file.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(self), default=str))
        draft.rename(file)


def read_notes(directory: Path) -> list[Notes]:
    """Return the notes that the attempts of a step have left in `directory`, in their order."""
    return [Notes(**json.loads(file.read_text())) for file in sorted(directory.glob("*.json"))]


def environment_changes(before: dict[str, str]) -> list[str]:
    """Return the names of the environment variables that were added, changed or removed since `before`."""
    now = dict(os.environ)
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
