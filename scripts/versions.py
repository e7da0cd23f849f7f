"""Check, or with an argument set, the one version that all packages of the workspace share.

`uv run scripts/versions.py 0.6.0` sets it. uv does not read the specifier of a workspace source, so nothing
but this script notices a pin that lags behind.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "pyproject.toml", *sorted(ROOT.glob("packages/*/pyproject.toml"))]
PINS = re.compile(r'(?m)(^version = "|"dagster-ray(?:-\w+)?(?:\[[\w,-]+\])?==)([^"]+)"')
UNPINNED = re.compile(r'"(dagster-ray-\w+(?:\[[\w,-]+\])?)"(?=\s*[,\]])')


def versions_of(text: str) -> list[str]:
    """Return every version that a pyproject states of this family; a sibling without a pin counts as one."""
    return [match[2] for match in PINS.finditer(text)] + [f"no pin on {name}" for name in UNPINNED.findall(text)]


def main(new: str | None) -> int:
    """Set `new` if it is given, then report every version found if they differ."""
    seen: dict[str, set[str]] = {}
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        if new is not None:
            text = PINS.sub(rf'\g<1>{new}"', text)
            file.write_text(text, encoding="utf-8")
        for version in versions_of(text):
            seen.setdefault(version, set()).add(str(file.relative_to(ROOT)))
    if len(seen) == 1:
        print(f"{len(FILES)} packages, all of version {next(iter(seen))}")
        return 0
    for version, files in sorted(seen.items()):
        print(f"{version}: {', '.join(sorted(files))}")
    print("To fix: uv run scripts/versions.py <version>")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else None))
