"""What the documents claim about the code is so: tables, errors, the map, the links."""

import importlib
import inspect
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from packaging.requirements import Requirement
from pydantic import PrivateAttr
from typing_extensions import override

from dagster_ray.core import (
    BaseRayResource,
    CleanupPolicy,
    DagsterContext,
    Deadline,
    Lifecycle,
    StepOutcome,
    run_phases,
)
from dagster_ray.core.testing import Capability
from dagster_ray.kuberay import ClusterSharing, KubeRayInteractiveJob, build_cleanup_sensor

ROOT = Path(__file__).parents[1]
README = "README.md"
PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "packages/*/README.md", "examples/*/README.md", "docs/**/*.md")
    for path in ROOT.glob(pattern)
)
# The hosts that documents may link to.
HOSTS = {"docs.dagster.io", "docs.ray.io"}


def _project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


PROJECTS = {project["name"]: project for project in map(_project, [ROOT, *sorted(ROOT.glob("packages/*"))])}


def extras_of(distribution: str) -> list[str]:
    """Return the extras of one of our distributions."""
    return list(PROJECTS[distribution].get("optional-dependencies", {}))


def rows_of(page: str, first_cell: str) -> list[list[str]]:
    """Return the cells of the table whose header begins with a cell."""
    lines = iter((ROOT / page).read_text(encoding="utf-8").splitlines())
    rows: list[list[str]] = []
    for line in lines:
        if line.startswith(f"| {first_cell} |"):
            next(lines)
            for row in lines:
                if not row.startswith("|"):
                    break
                rows.append([cell.strip() for cell in row.split("|")[1:-1]])
    assert rows, f"{page} has no table `{first_cell}`"
    return rows


def code_words(cell: str) -> list[str]:
    """Return the words of a cell that are set as code."""
    return re.findall(r"`([^`]+)`", cell)


def test_the_table_of_the_family_says_what_the_projects_say() -> None:
    found = {code_words(row[0])[0]: row for row in rows_of(README, "distribution")}
    assert set(found) == set(PROJECTS)
    for name, (_, module, _, needs, extras, _) in found.items():
        assert code_words(needs) == [Requirement(text).name for text in PROJECTS[name]["dependencies"]]
        assert sorted(code_words(extras)) == sorted(extras_of(name))
        for import_name in code_words(module):
            importlib.import_module(import_name)


def test_a_package_called_placeholder_has_no_names_of_its_own_and_only_that_one() -> None:
    for row in rows_of(README, "distribution"):
        for name in code_words(row[1]):
            module = importlib.import_module(name)
            makers = [getattr(getattr(module, public), "__module__", "") for public in getattr(module, "__all__", [])]
            assert (row[5] == "placeholder") is not any(maker.startswith(name) for maker in makers), name


PACKAGES = [path.parent for path in ROOT.glob("packages/*/src/dagster_ray/*/__init__.py")]
ROOMS = sorted({str(path.parent.relative_to(package.parent)) for package in PACKAGES for path in package.rglob("*.py")})


@pytest.mark.parametrize("room", ROOMS)
def test_architecture_has_a_paragraph_about_each_folder(room: str) -> None:
    assert f"**`{room}`**" in (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def test_ci_runs_the_test_command_that_the_readme_names() -> None:
    listed = subprocess.run([str(ROOT / ".ci/run"), "--list"], check=True, capture_output=True, text=True).stdout
    assert listed.splitlines() == ["make check", "make slim", "make build", "make docs", "make test"]
    assert (ROOT / README).read_text(encoding="utf-8").count("\n```bash\nmake test\n```\n") == 1


class NotedCluster(BaseRayResource):
    """A cluster that exists only as notes of what was done to it."""

    _notes: list[str] = PrivateAttr(default_factory=list[str])

    @property
    @override
    def address(self) -> str:
        return "nowhere"

    @property
    @override
    def display_name(self) -> str:
        return "Noted cluster"

    @override
    def create_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        self._notes.append("create")

    @override
    def wait_for_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        self._notes.append("wait")

    @override
    def delete_cluster(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None:
        self._notes.append("deleted")

    def fate(self, outcome: StepOutcome) -> str:
        """Create the cluster, clean it up after an outcome and return what became of it."""
        context = dg.build_init_resource_context()
        self.create(context)
        self.cleanup(context, outcome)
        return "deleted" if "deleted" in self._notes else "kept"

    def phases(self) -> list[str]:
        """Return the phases that run before a step."""
        with run_phases(self, dg.build_init_resource_context()):
            return [*self._notes]


def test_the_table_of_outcomes_says_what_happens() -> None:
    rows = rows_of("docs/lifecycle.md", "outcome of the step")
    policies: list[CleanupPolicy] = ["always", "on_exception", "never"]
    assert [row[0] for row in rows] == [outcome.value for outcome in StepOutcome]
    for name, *cells in rows:
        made = [NotedCluster(lifecycle=Lifecycle(cleanup=policy)) for policy in policies]
        assert [cluster.fate(StepOutcome(name)) for cluster in made] == cells, name


def test_the_table_of_phases_says_what_happens() -> None:
    for *flags, before, left in rows_of("docs/lifecycle.md", "`create` | `wait`"):
        expected = [phase for phase in before.split(", ") if phase]
        assert expected + [phase for phase in left.split(", ") if phase] == ["create", "wait", "connect"]
        if "connect" in expected:  # this cluster takes no driver; the examples of the same page have one that does
            continue
        for others in (True, False):
            create, wait, connect = (others if flag == "any" else flag == "on" for flag in flags)
            lifecycle = Lifecycle(create=create, wait=wait, connect=connect)
            assert NotedCluster(lifecycle=lifecycle).phases() == expected


def test_the_table_of_capabilities_is_that_of_the_kit() -> None:
    rows = rows_of("docs/extend.md", "capability")
    assert rows == [[f"`{capability.name}`", capability.value] for capability in Capability]


def test_every_news_fragment_has_a_known_kind() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["towncrier"]
    kinds = "|".join(kind["directory"] for kind in config["type"])
    fragments = [path.name for path in (ROOT / config["directory"]).iterdir() if not path.name.startswith(".")]
    assert [name for name in fragments if not re.fullmatch(rf"(\d+|\+[\w-]+)\.({kinds})\.md", name)] == []
    assert config["start_string"] in (ROOT / config["filename"]).read_text(encoding="utf-8")


# Links


def prose_of(page: str) -> str:
    """Return a page without its fenced blocks and inline code."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.sub(r"`[^`\n]+`", "code", re.sub(r"(?ms)^ *```.*?^ *```$", "", text))


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that the site and code hosts give to the headings of a page."""
    headings = re.findall(r"(?m)^#+ (.+)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


def home() -> str:
    """Return how addresses of the repository's own files begin, once it has a home (`scripts/home.py`)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return f"{project['urls']['Source']}/" if "urls" in project else "(nowhere)"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for found in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        target = re.sub(f"^{re.escape(home())}(blob|raw)/HEAD/", f"{ROOT}/", found)
        if "://" in target:
            assert target.split("/")[2] in HOSTS, f"{page} links to {target}"
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.is_file(), f"{page} links to {target}"
        assert not anchor or anchor in anchors_of(file), f"{page} links to {target}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/")])
def test_cross_references_name_public_objects(page: str) -> None:
    for reference in re.findall(r"\]\[([\w.]+)\]", prose_of(page)):
        module, _, name = reference.rpartition(".")
        assert name in importlib.import_module(module).__all__, f"{page} refers to {reference}"


def test_the_table_of_the_cleanup_sensor_has_every_argument_and_variable() -> None:
    rows = rows_of("docs/kuberay-garbage-collection.md", "argument")
    named = [name for argument, _, _ in rows for name in code_words(argument)]
    assert sorted(named) == sorted(inspect.signature(build_cleanup_sensor).parameters)
    for argument, variable, _ in rows:
        word = code_words(argument)[0].removeprefix("minimum_")
        prefix = (
            "DAGSTER_RAY_" if word == "instance_id" else "DAGSTER_RAY_CLEANUP_"
        )  # steps read the instance's id as well
        assert code_words(variable)[:1] in ([f"{prefix}{word.upper()}"], []), argument


def test_the_page_on_migrating_sends_every_name_to_one_that_exists() -> None:
    rows = rows_of("docs/migrating.md", "0.4.8 | now |")
    assert len(rows) == 23
    for _, now, note in rows:
        assert now or note
        for path in code_words(now):
            module, _, name = path.rpartition(".")
            assert hasattr(importlib.import_module(module), name), path


def sources() -> str:
    """Return the code of all packages, without the simulator and the kit."""
    left_out = {"testing", "simulator"}
    files = [path for path in sorted(ROOT.glob("packages/*/src/**/*.py")) if left_out.isdisjoint(path.parts)]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def test_the_tables_of_labels_and_annotations_have_every_one_of_the_code() -> None:
    rows = rows_of("docs/names.md", "label") + rows_of("docs/names.md", "annotation")
    named = {word for label, *_ in rows for word in code_words(label)}
    made = set(re.findall(r'"(dagster/[a-z-]+[a-z])"', sources()))
    assert {label for label in named if label.startswith("dagster/")} == made - {"dagster/image"}, "but a run's tag"
    assert all(f'"{label}"' in sources() for label in named)


def test_the_table_of_variables_names_only_what_the_code_or_its_libraries_read() -> None:
    named = [word for variable, _ in rows_of("docs/names.md", "variable") for word in code_words(variable)]
    theirs = {"KUBECONFIG", "RAY_CLIENT_RECONNECT_GRACE_PERIOD", "RAY_ENABLE_UV_RUN_RUNTIME_ENV", "RAY_TLS_..."}
    unknown = [name for name in named if name not in theirs and name.removesuffix("...") not in sources()]
    assert unknown == []


@pytest.mark.parametrize(
    ("config", "name"),
    [(KubeRayInteractiveJob, "timeout"), (KubeRayInteractiveJob, "queue_timeout"), (ClusterSharing, "ttl_seconds")],
)
def test_the_table_of_timeouts_has_the_default_of_a_field(config: type[Any], name: str) -> None:
    rows = rows_of("docs/timeouts.md", "phase")[::-1]  # the table of the resources, which is the first, wins
    told = {code_words(row[1])[0]: row[2] for row in rows if code_words(row[1])}
    assert float(told[name]) == config.model_fields[name].default
