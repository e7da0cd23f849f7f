"""A page of the documentation that a script writes."""

import sys
from pathlib import Path


def write_or_check(page: Path, text: str) -> int:
    """Write the page, or with `--check` on the command line say whether it is up to date; return the exit code."""
    if "--check" in sys.argv[1:]:
        current = page.is_file() and page.read_text(encoding="utf-8") == text
        print("up to date" if current else f"run python scripts/{Path(sys.argv[0]).name}")
        return not current
    page.write_text(text, encoding="utf-8")
    return 0
