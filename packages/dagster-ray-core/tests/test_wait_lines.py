"""When a wait writes a line: a schedule without a clock."""

from dagster_ray.core import WaitLines


def written(topics: dict[int, str], until_seconds: int) -> dict[int, str | None]:
    """Return the lines of a wait that is asked each second, by their second; `topics` begin at their second."""
    lines, topic, found = WaitLines(), "", dict[int, str | None]()
    for second in range(until_seconds + 1):
        topic = topics.get(second, topic)
        if (line := lines.due(topic, float(second))) is not None:
            found[second] = line
    return found


def test_a_wait_without_news_writes_often_at_first_and_then_seldom() -> None:
    seconds = [0, 30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 900, 1500]
    assert list(written({0: "in a queue"}, 2000)) == seconds


def test_a_move_is_written_at_once_and_the_next_line_counts_from_it() -> None:
    assert written({0: "a", 10: "b", 25: "a"}, 60) == {0: "moved", 10: "moved", 25: "moved", 55: "still"}


def test_a_move_after_a_long_time_is_written_at_once_too() -> None:
    assert written({0: "a", 1000: "b"}, 1700) | {} == {
        **dict.fromkeys(range(30, 301, 30), "still"),
        0: "moved",
        900: "still",
        1000: "moved",
        1600: "still",
    }


def test_who_sleeps_knows_when_the_next_line_is_due() -> None:
    lines = WaitLines()
    assert lines.seconds_to_next(5.0) == 0.0, "the first line"
    lines.due("a", 5.0)
    assert lines.seconds_to_next(15.0) == 20.0
    assert lines.seconds_to_next(100.0) == 0.0
