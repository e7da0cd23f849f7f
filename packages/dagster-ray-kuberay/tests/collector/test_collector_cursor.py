"""Where a collector goes on, what it says, and how it is configured."""

import math

import pytest
from collector_world import STEP, labels, obj

from dagster_ray.kuberay._collector.candidate import candidate_of
from dagster_ray.kuberay._collector.cursor import Cursor, Target, cursor_of, targets_of
from dagster_ray.kuberay._collector.report import Report
from dagster_ray.kuberay._collector.run_facts import Rules, StepRef
from dagster_ray.kuberay._collector.settings import Given, Settings, interval_seconds
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, RAYJOBS
from dagster_ray.kuberay.errors import InvalidSpecError

TARGETS = targets_of(["a", "b"], "own")


def test_a_cursor_reads_back_as_it_was_written() -> None:
    cursor = Cursor({"rayjobs/a": "token", "rayclusters/b": ""}, frozenset({"rayjobs/a"}), "run-7", ("old", "new"))
    assert cursor_of(cursor.text()) == cursor


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="empty"),
        pytest.param("not JSON", id="no JSON"),
        pytest.param("[]", id="no object"),
        pytest.param('{"version": 99, "places": {"rayjobs/a": "t"}}', id="of a later version"),
        pytest.param("[" * 100_000, id="too deep or too long"),
        pytest.param('{"version": 1}', id="without places"),
    ],
)
def test_a_cursor_that_cannot_be_read_begins_anew(text: str | None) -> None:
    assert cursor_of(text) == Cursor()


def marks(count: int) -> tuple[str, ...]:
    return tuple(StepRef(str(number), STEP).mark for number in range(count))


def test_a_cursor_remembers_the_newest_answers() -> None:
    found = cursor_of(Cursor(succeeded=marks(5000)).text())
    assert 500 < len(found.succeeded) <= 1000
    assert found.succeeded == marks(5000)[-len(found.succeeded) :]


@pytest.mark.parametrize("lists", [1, 30, 300, 3000])
def test_a_cursor_stays_under_32_kib_and_is_never_lost_as_a_whole(lists: int) -> None:
    places = {f"rayclusters/team-{number}": "t" * 900 for number in range(lists)}
    cursor = Cursor(places, frozenset(places), "r" * 100_000, marks(5000))
    text = cursor.text()
    assert len(text) < 32 * 1024
    found = cursor_of(text)
    assert found.asked == "r" * 64
    assert len(found.places) >= min(lists, 30)
    assert set(found.places.items()) <= set(places.items())
    assert found.places[f"rayclusters/team-{lists - 1}"]
    if lists == 1:
        assert (found.places, found.failed) == (places, frozenset(places))
        assert found.succeeded[-1] == marks(5000)[-1]


def test_runs_take_turns() -> None:
    runs = ["a", "b", "c", "d"]
    assert sorted(runs, key=Cursor(asked="b").turn) == ["c", "d", "a", "b"]
    assert sorted(runs, key=Cursor().turn) == runs


def test_unfinished_lists_come_first_and_failed_ones_last() -> None:
    cursor = Cursor({"rayjobs/b": "t", "rayjobs/a": "t"}, frozenset({"rayjobs/a", "rayclusters/a"}))
    assert [target.key for target in cursor.order(TARGETS)] == [
        "rayjobs/b",
        "rayclusters/b",
        "rayjobs/a",
        "rayclusters/a",
    ]


@pytest.mark.parametrize(
    ("namespaces", "expected"),
    [
        pytest.param([], ["own"], id="none given: the account's own"),
        pytest.param(["a", "b", "a"], ["a", "b"], id="each once"),
        pytest.param(["a", "*"], [None], id="everywhere is enough"),
    ],
)
def test_where_it_looks(namespaces: list[str], expected: list[str | None]) -> None:
    found = targets_of(namespaces, "own")
    assert found == tuple(Target(kind, name) for name in expected for kind in (RAYCLUSTERS, RAYJOBS))


PREFIX = "DAGSTER_RAY_CLEANUP_"
ENVIRON = {
    f"{PREFIX}NAMESPACES": " a, b ,",
    f"{PREFIX}KUBECONFIG_FILE": "/kube",
    f"{PREFIX}KUBE_CONTEXT": "other",
    f"{PREFIX}GRACE_SECONDS": "30",
    f"{PREFIX}UNLOCKED_SECONDS": "31",
    f"{PREFIX}RUN_GRACE_SECONDS": "32",
    f"{PREFIX}PIPES_GRACE_SECONDS": "33.5",
    f"{PREFIX}WAITING_SECONDS": "34",
    "DAGSTER_RAY_INSTANCE_ID": " ours ",
}


def test_everything_can_come_from_the_environment() -> None:
    expected = Settings(("a", "b"), "/kube", "other", Rules(30, 31, 32, 33.5, 34), "ours")
    assert Given().settings(ENVIRON) == expected
    assert Given().settings({}) == Settings()


def test_an_argument_wins() -> None:
    given = Given(["c"], "/mine", "mine", {"grace_seconds": 0.0, "waiting_seconds": None}, "mine")
    assert given.settings(ENVIRON) == Settings(("c",), "/mine", "mine", Rules(0, 31, 32, 33.5, 34), "mine")


def test_an_id_that_is_blank_is_refused() -> None:
    with pytest.raises(InvalidSpecError, match="instance_id"):
        Given(instance_id=" ").check()


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf"])
def test_a_number_that_is_none_names_its_variable(text: str) -> None:
    with pytest.raises(InvalidSpecError, match="DAGSTER_RAY_CLEANUP_GRACE_SECONDS"):
        Given().settings({f"{PREFIX}GRACE_SECONDS": text})
    with pytest.raises(InvalidSpecError, match="DAGSTER_RAY_CLEANUP_INTERVAL_SECONDS"):
        interval_seconds({f"{PREFIX}INTERVAL_SECONDS": text})
    for value in (-1.0, math.nan):
        with pytest.raises(InvalidSpecError, match="grace_seconds"):
            Given(seconds={"grace_seconds": value}).check()


def test_the_interval() -> None:
    assert [interval_seconds({}), interval_seconds({f"{PREFIX}INTERVAL_SECONDS": "299.5"})] == [60, 300]


def test_a_report_names_what_was_deleted_and_counts_what_was_kept() -> None:
    report = Report()
    for number in range(12):
        report.note_deleted(candidate_of(RAYCLUSTERS, obj(f"c{number}", labels())), "it is old")
    for number in range(5):
        report.note_kept(candidate_of(RAYJOBS, obj(f"j{number}", labels())), "its run is in progress")
    report.note_failure("list rayjobs\nin b")
    report.note_failure("list rayjobs in b")
    assert report.seen == 17
    lines = report.text().splitlines()
    assert lines[0] == "Looked at 17: deleted 12, kept 5, gone 0."
    assert lines[1].startswith("Deleted: RayCluster default/c0 (it is old), ")
    assert lines[1].endswith("RayCluster default/c9 (it is old) and 2 more.")
    assert lines[2:] == [
        "Kept 5, its run is in progress: RayJob default/j0, RayJob default/j1, RayJob default/j2 and 2 more.",
        "Failed: list rayjobs in b",
    ]


def test_a_report_is_short_whatever_happens() -> None:
    report = Report()
    for number in range(500):
        report.note_failure(f"{number} " + "x" * 1000)
        report.note_kept(candidate_of(RAYJOBS, obj("j" * 60, labels())), f"reason {number}")
    assert len(report.text()) <= 4000
