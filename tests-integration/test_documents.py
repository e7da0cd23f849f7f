"""Every code block of the documents is run or compared.

Kinds of blocks:

- Python runs; the blocks of a page share a namespace, in order. README's page starts its own Ray, as a reader
  would; all other pages run in one process that is connected to a Ray with two CPUs already.
- Text after Python is what it prints; `...` stands for anything. On an error's page it may be the error's text.
- A block with a title is a part of the file that the title names; text under the title of a folder lists files there.
- Shell lines are run, except `make`, whose verb must exist, `pip install` and `pip uninstall`, whose requirements must
  be ours, and those that need a Kubernetes cluster.
- On a page that `make quickstart` follows to the letter, shell lines run there, and a title names a file of the
  reader's project.
- TOML, YAML and JSON parse.

`python test_documents.py RESULTS PAGE...` runs the Python of some pages; the tests call it.
"""

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from filelock import FileLock
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
README = "README.md"
DAGSTERS = {"create-dagster", "dagster-webserver", "dagster-dg-cli"}
"""What documents install besides our own packages."""
# Pages whose subject is how Ray starts. The others share one.
OWN_RAY = frozenset({README, "docs/extend.md", "docs/local.md"})
# `make quickstart` runs these pages in an empty environment, and writes their files.
FOLLOWED = frozenset({"docs/quickstart.md"})
PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "packages/*/README.md", "examples/*/README.md", "docs/**/*.md")
    for path in ROOT.glob(pattern)
)
_FENCE = re.compile(r"(?P<indent> *)```(?P<language>\w*)(?P<attributes>.*)")
_TITLE = re.compile(r'title="([^"]+)"')
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
SECONDS = 300
# Lines of the shell that need a Kubernetes cluster (so does one with --target), and the one that serves on.
NEEDS_CLUSTER = frozenset({"kubectl", "export", "dagster-ray", "docker", "helm", "kind"})
SERVES = ["python", "-m", "dagster_ray.simulator"]


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a page."""

    page: str
    line: int
    """The line of its first fence."""
    language: str
    title: str | None
    text: str


def blocks_of(page: str) -> list[Block]:
    """Return the fenced blocks of a page in order."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    blocks: list[Block] = []
    opened: tuple[int, re.Match[str]] | None = None
    for number, line in enumerate(lines, start=1):
        fence = _FENCE.fullmatch(line)
        if fence is None:
            continue
        if opened is None:
            opened = number, fence
            continue
        first, start = opened
        title = _TITLE.search(start["attributes"])
        text = textwrap.dedent("\n".join(lines[first : number - 1])) + "\n"
        blocks.append(Block(page, first, start["language"], title[1] if title else None, text))
        opened = None
    assert opened is None, f"{page}: a fence is not closed"
    return blocks


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


# Python: this part runs in the process that the tests start


def runs_here(block: Block) -> bool:
    """Return whether a block is Python that runs in the process of its page."""
    return block.language == "python" and (block.title is None or block.page in FOLLOWED)


def run_page(page: str) -> dict[str, dict[str, str]]:
    """Run the Python of a page as one script; return for each block's line what it printed or how it failed."""
    module = ModuleType("__main__")  # what a task's function must belong to, so that it travels by value
    sys.modules["__main__"] = module
    results: dict[str, dict[str, str]] = {}
    for block in blocks_of(page):
        if not runs_here(block):
            continue
        printed = io.StringIO()
        code = compile("\n" * block.line + block.text, str(ROOT / page), "exec")
        try:
            with contextlib.redirect_stdout(printed):
                exec(code, module.__dict__)
        except Exception:  # noqa: BLE001 - becomes the failure of the block's test
            results[str(block.line)] = {"failed": traceback.format_exc()}
            return results
        results[str(block.line)] = {"printed": _COLOUR.sub("", printed.getvalue())}
    return results


def main(results: str, *pages: str) -> None:
    """Run the Python of pages."""
    if not OWN_RAY.intersection(pages):
        import ray

        ray.init(  # pyright: ignore[reportUnknownMemberType]
            address="local", num_cpus=2, include_dashboard=False
        )
    Path(results).write_text(json.dumps({page: run_page(page) for page in pages}), encoding="utf-8")


# Python: this part runs in the tests


@pytest.fixture(scope="session")
def common_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that the workers of pytest-xdist have in common."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


def results_of(page: str, folder: Path) -> Mapping[str, Mapping[str, str]]:
    """Return the results of a page's Python, running it if no worker has done so yet."""
    with_python = sorted({block.page for block in BLOCKS if block.language == "python"})
    own = page in OWN_RAY
    pages = [page] if own else [other for other in with_python if other not in OWN_RAY]
    results = folder / f"documents-{page.replace('/', '-') if own else 'others'}.json"
    with FileLock(results.with_suffix(".lock")):
        if not results.exists():
            (work := results.with_suffix(".work")).mkdir(exist_ok=True)
            done = subprocess.run(
                [sys.executable, __file__, str(results), *pages],
                env={**_without_dagster(), "RAY_AUTH_MODE": "disabled"},
                cwd=work, timeout=SECONDS, check=False, capture_output=True, text=True,
            )  # fmt: skip
            if done.returncode != 0:
                results.write_text(json.dumps({"crashed": {"0": {"failed": done.stderr[-4000:]}}}), encoding="utf-8")
        loaded: dict[str, dict[str, dict[str, str]]] = json.loads(results.read_text(encoding="utf-8"))
    return loaded.get(page) or loaded["crashed"]


def _without_dagster() -> dict[str, str]:
    """Return the environment without what would change which backend or instance a reader's script uses."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DAGSTER_")}


def printed_by(block: Block, folder: Path) -> str:
    """Return what a Python block prints; fail if it fails."""
    results = results_of(block.page, folder)
    if (result := results.get(str(block.line))) is None:  # an earlier block of the page failed
        result = next(other for other in results.values() if "failed" in other)
    assert "failed" not in result, result["failed"]
    return result["printed"]


def check_output(block: Block, folder: Path) -> None:
    """Compare a block of text with what the Python before it prints.

    The text of an error on its page is compared in `test_document_claims.py`, and what the `dagster-ray` command
    prints in `test_command_documents.py`.
    """
    if block.text.endswith(f"[dagster-ray: {Path(block.page).stem}]\n"):
        return
    before = BLOCKS[BLOCKS.index(block) - 1]
    if before.text.startswith("dagster-ray "):
        return
    assert (before.page, before.language) == (block.page, "python"), "text is the output of the Python before it"
    pattern = ".*".join(re.escape(part) for part in block.text.strip().split("..."))
    assert re.fullmatch(pattern, (printed := printed_by(before, folder)).strip(), re.DOTALL), printed


# Shell, files and data


def check_shell(block: Block) -> None:
    """Check `make` and `pip install` lines; run all others as one script at the root, unless `make quickstart` does."""
    verbs = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))
    others: list[str] = []
    for line in block.text.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["make"]:
            assert set(words[1:]) <= verbs, f"the Makefile lacks a verb of `{line}`"
        elif words[:2] == ["pip", "install"]:
            check_install(words[2:])
        elif words[:2] == ["pip", "uninstall"]:
            assert set(words[2:]) <= {"--yes", *PROJECTS}, f"`{line}` removes what is not ours"
        elif words and words[0] not in NEEDS_CLUSTER and words[:3] != SERVES and "--target" not in words:
            others.append(line)
    if others and block.page not in FOLLOWED:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = {**_without_dagster(), "PATH": path, "RAY_AUTH_MODE": "disabled"}
        script = "set -euo pipefail\n" + "\n".join(others)
        done = subprocess.run(
            ["bash", "-c", script], cwd=ROOT, env=env, timeout=SECONDS, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def check_install(words: list[str]) -> None:
    """Check what `pip install` is given: folders of the checkout, and packages that cannot be those of 0.4.8."""
    for word in words:
        if word.startswith((".", "--find-links", "--editable")) or word == "dist":
            assert word[0] == "-" or word == "dist" or (ROOT / word.split("[")[0] / "pyproject.toml").is_file(), word
            continue
        requirement = Requirement(word)
        if requirement.name in DAGSTERS:
            continue
        assert requirement.name in PROJECTS, f"`{requirement}` is not a package of ours"
        assert str(requirement.specifier) == ">=0.5", f"`{requirement}` would also get 0.4.8"
        assert requirement.extras <= set(extras_of(requirement.name)), f"`{requirement}` has an unknown extra"


def check_quote(block: Block, title: str) -> None:
    """Compare a block with the file that its title names, or its lines with the files of that folder."""
    named = ROOT / title
    if named.is_dir():
        for line in block.text.splitlines():
            assert (named / line.split()[0]).exists(), f"{title} has no {line.split()[0]}"
        return
    content = textwrap.dedent(named.read_text(encoding="utf-8"))
    quotes = (block.text.strip(), textwrap.indent(block.text, "    ").rstrip())  # a method stands in its class
    assert any(quote in content for quote in quotes), f"the block is no part of {title}"


def _project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


PROJECTS = {project["name"]: project for project in map(_project, [ROOT, *sorted(ROOT.glob("packages/*"))])}


def extras_of(distribution: str) -> list[str]:
    """Return the extras of one of our distributions."""
    return list(PROJECTS[distribution].get("optional-dependencies", {}))


PARSERS: dict[str, Callable[[str], object]] = {
    "toml": tomllib.loads,
    "yaml": lambda text: list(yaml.safe_load_all(text)),
    "json": json.loads,
}


@pytest.mark.parametrize("block", [pytest.param(b, id=f"{b.page}:{b.line} {b.language}") for b in BLOCKS])
def test_block(block: Block, common_folder: Path) -> None:
    if block.title is not None and block.page not in FOLLOWED:
        check_quote(block, block.title)
    elif block.language == "python":
        printed_by(block, common_folder)
    elif block.language == "text":
        check_output(block, common_folder)
    elif block.language == "bash":
        check_shell(block)
    else:
        assert block.language in PARSERS, f"nothing tests a block of {block.language or 'no language'}"
        PARSERS[block.language](block.text)


if __name__ == "__main__":
    main(*sys.argv[1:])
