import random

import pytest

from dagster_ray.pipes._cursor import LineCursor, TextCursor

SAMPLES = [
    b"",
    b"one\ntwo\nthree",
    b"\n\n\n",
    "żółw\n🐢 and \u2028 in a line\nend".encode(),
    b"bad \xff\xfe bytes\nnext\n",
    b"10%\r20%\r30%\rdone\n",
    b"x" * 200_000 + b"\n" + b"y" * 70_000,
]


def cuts(data: bytes, seed: int) -> list[bytes]:
    """Return the bytes in pieces of random length."""
    rng, at, pieces = random.Random(seed), 0, list[bytes]()
    while at < len(data):
        size = rng.choice([1, 2, 3, 7, 100, 5000, 66_000])
        pieces.append(data[at : at + size])
        at += size
    return pieces


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("data", SAMPLES, ids=range(len(SAMPLES)))
def test_lines_do_not_depend_on_the_cuts(data: bytes, seed: int) -> None:
    cursor, lines = LineCursor(), list[bytes]()
    for piece in cuts(data, seed):
        cursor, more = cursor.feed(piece)
        lines += more
        assert cursor.position - len(cursor.pending) == cursor.committed
    cursor, more = cursor.end()
    expected = data.split(b"\n")
    assert lines + more == (expected if expected[-1] else expected[:-1])
    assert cursor.position == len(data)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("data", SAMPLES, ids=range(len(SAMPLES)))
def test_text_is_whole_and_no_character_is_torn(data: bytes, seed: int) -> None:
    cursor, text = TextCursor(), ""
    for piece in cuts(data, seed):
        cursor, more = cursor.feed(piece)
        text += more
    _, more = cursor.end()
    assert text + more == data.decode("utf-8", "replace")


@pytest.mark.parametrize("seed", range(20))
def test_a_cursor_that_is_lost_begins_again_where_it_had_committed(seed: int) -> None:
    data = b"".join(f"line {number}\n".encode() for number in range(500))
    rng, lines, cursor = random.Random(seed), list[bytes](), LineCursor()
    while cursor.committed < len(data):
        size = rng.randint(1, 300)
        cursor, more = cursor.feed(data[cursor.position : cursor.position + size])
        lines += more
        if rng.random() < 0.2:
            cursor = LineCursor(cursor.committed)
    assert lines == data.split(b"\n")[:-1]


def test_a_progress_bar_shows_before_its_line_ends() -> None:
    cursor, text = TextCursor().feed(b"10%\r20%\r3")
    assert text == "10%\r20%\r"
    assert cursor.pending == b"3"
