"""Follow docs/quickstart.md to the letter in an empty folder: `python scripts/quickstart.py dist`.

Every command of the page runs, in order and in one shell; every file of the page is written where its title says.
The wheels come from `dist`, as the page advises while the family is on no index, and everything else in the versions
of the workspace. `~/.kube/config` is the simulator's: the part about a cluster runs against it as well.
"""

import importlib.metadata
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/quickstart.md"
SIMULATOR = "python -m dagster_ray.simulator"
KUBECONFIG_SECONDS = 180
UI_SECONDS = 300
EXPECTED = (("LocalRay", 385), ("RayJob", 385), ("RayJob", 385))
"""Where each `dg launch` of the page computes the asset, and what comes out."""
# After each `dg launch`: what was written down, in the words of the shell that has DAGSTER_HOME.
LOOK = """python - <<'END_OF_LOOK'
import dagster as dg
with dg.DagsterInstance.get() as instance:
    event = instance.get_latest_materialization_event(dg.AssetKey("sum_of_squares"))
metadata = event.asset_materialization.metadata
print("RESULT", metadata["cluster"].value.split()[0], metadata["total"].value, flush=True)
END_OF_LOOK"""
# A program that serves runs in the background until what the page expects of it is there.
SERVE = """{command} > {log} 2>&1 &
served=$!
for _ in $(seq {seconds}); do {test} && break; kill -0 $served; sleep 1; done
{test}"""


@dataclass(frozen=True, slots=True)
class Step:
    """What the page asks the reader to do: a file to write, or commands to run."""

    text: str
    path: str | None = None


def steps_of(page: str) -> Iterator[Step]:
    """Yield the files and the commands of a page in order. Pure."""
    lines = iter(page.splitlines())
    for line in lines:
        language, _, title = line.partition(" title=")
        if language not in {"```bash", "```python"}:
            continue
        text = "\n".join(iter(lines.__next__, "```"))
        yield Step(text, title.strip('"') or None)


def written(step: Step) -> str:
    """Return the shell's words for writing a file."""
    return f"cat > {shlex.quote(step.path or '')} <<'END_OF_FILE'\n{step.text}\nEND_OF_FILE"


def command(line: str) -> str:
    """Return what runs for a line of the page: the line itself, and what a reader does around it."""
    if line.startswith(SIMULATOR):
        kubeconfig = line.rsplit(maxsplit=1)[-1]
        served = SERVE.format(
            command=line, log="simulator.log", seconds=KUBECONFIG_SECONDS, test=f"test -s {kubeconfig}"
        )
        return f'{served}\nmkdir -p "$HOME/.kube"\ncp {kubeconfig} "$HOME/.kube/config"'
    if line == "dg dev":
        reached = "curl --silent --fail --output /dev/null http://127.0.0.1:3000/server_info"
        served = SERVE.format(command=line, log="dev.log", seconds=UI_SECONDS, test=reached)
        return f"{served}\nkill -INT -- -$served\nwait $served || true"  # Ctrl+C reaches the whole group
    if line.startswith("pip install "):
        return f"{line}\npip check"
    return f"{line}\n{LOOK}" if line.startswith("dg launch ") else line


def script_of(page: str) -> str:
    """Return the whole page as one script of the shell. Pure."""
    # Job control: each program in the background has a process group, and SIGINT is not ignored there.
    parts = ["set -euo pipefail -m", "trap 'for job in $(jobs -p); do kill -- -$job; done' EXIT"]
    for step in steps_of(page):
        parts.extend([written(step)] if step.path else map(command, step.text.splitlines()))
    return "\n".join(parts) + "\n"


def constraints() -> str:
    """Return the versions of Dagster and Ray that the workspace has, so that a day's release changes nothing."""
    dagster = importlib.metadata.version("dagster")
    names = ("dagster-dg-cli", "dagster-webserver", "ray")
    pins = [f"{name}=={importlib.metadata.version(name)}" for name in names]
    return "\n".join([f"create-dagster=={dagster}", f"dagster=={dagster}", *pins, ""])


def main(dist: str) -> None:
    """Follow the page, and compare what each launch wrote down with what the page promises."""
    with tempfile.TemporaryDirectory(prefix="quickstart-") as scratch:
        (pins := Path(scratch, "constraints.txt")).write_text(constraints(), encoding="utf-8")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER_", "KUBE"))}
        where = [sys.executable, "-m", "pip", "cache", "dir"]  # HOME is another one below, and Ray is large
        cache = subprocess.run(where, check=False, capture_output=True, text=True)
        environment = {
            **kept,
            "HOME": scratch,
            "PIP_CACHE_DIR": cache.stdout.strip() or str(Path(scratch, "cache")),
            "PIP_CONSTRAINT": str(pins),
            "PIP_FIND_LINKS": str(Path(dist).resolve()),
            "PIP_QUIET": "1",
            "RAY_AUTH_MODE": "disabled",
        }
        script = script_of(PAGE.read_text(encoding="utf-8"))
        done = subprocess.run(
            ["bash", "-c", script], cwd=scratch, env=environment, check=False, capture_output=True, text=True
        )
        results = tuple(
            (kind, int(total))
            for kind, total in (line.split()[1:] for line in done.stdout.splitlines() if line.startswith("RESULT "))
        )
        if done.returncode != 0 or results != EXPECTED:
            logs = [log.read_text(encoding="utf-8") for log in Path(scratch).glob("my-project/*.log")]
            sys.exit("\n".join([done.stdout, done.stderr, *logs, f"docs/quickstart.md: {results} are the results"]))
    for kind, total in results:
        print(f"docs/quickstart.md: {kind}: {total}")


if __name__ == "__main__":
    main(sys.argv[1])
