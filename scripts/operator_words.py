"""Collect what KubeRay's operator says of invalid objects: `python scripts/operator_words.py KUBERAY_REPOSITORY`.

Takes a git repository of KubeRay, and of each release's newest patch the texts in validation.go that concern RayJobs
and RayClusters, by their line. The tests compare the table of rules with them. The same repository gives the same
bytes.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "packages/dagster-ray-kuberay/tests/operator_rules/operator_words.json"
SOURCE = "ray-operator/controllers/ray/utils/validation.go"
PATCHES = ("1.3.2", "1.4.2", "1.5.2", "1.6.2", "1.7.0")
_OTHERS = re.compile(r"RayService|RayCronJob|ValidateClusterUpgradeOptions|InitializingTimeout|CollectorOptions")
_PART = r'"(?:[^"\\]|\\.)*"'
_TEXT = re.compile(rf"{_PART}(?:\s*\+\s*{_PART})*")


def words(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of each error that a Go file makes, but for those of other kinds."""
    function, lines = "", source.splitlines()
    for number, line in enumerate(lines, start=1):
        if line.startswith("func "):
            function = line
        if "fmt.Errorf(" not in line or _OTHERS.search(function):
            continue
        text, following = line.partition("fmt.Errorf(")[2], number
        if not text.strip():
            text, following = lines[number], number + 1
        while text.rstrip().endswith("+"):  # a text over several lines
            text, following = text + lines[following], following + 1
        if found := _TEXT.match(text.strip()):
            yield number, "".join(part[1:-1] for part in re.findall(_PART, found[0]))


def main(repository: str) -> None:
    """Write the texts of all releases."""
    found: dict[str, dict[int, str]] = {}
    for patch in PATCHES:
        show = ["git", "-C", repository, "show", f"v{patch}:{SOURCE}"]
        found[patch] = dict(words(subprocess.run(show, check=True, capture_output=True, text=True).stdout))
    OUTPUT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
