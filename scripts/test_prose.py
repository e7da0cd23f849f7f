from pathlib import Path

import pytest
from prose import Text, problems_of, texts_of_page, texts_of_source

LONG = " ".join(["word"] * 36) + "."


def problems(words: str, *, whole_sentences: bool = True) -> list[str]:
    return list(problems_of(Text(Path("page.md"), 1, words, whole_sentences)))


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        pytest.param("It waits for ever.", '"for ever": forever, or rather: never ends, never deleted', id="a phrase"),
        pytest.param("The run was Cancelled.", '"Cancelled": US spelling, canceled', id="British spelling"),
        pytest.param("Beside what it costs.", '"Beside ": besides, or next to', id="beside without a thing"),
        pytest.param("It runs on node.", '"on node": lacks an article', id="a bare noun"),
        pytest.param(LONG, f"36 words in one sentence: {LONG[:60]}…", id="a long sentence"),
        pytest.param("A value is none of JSON.", '"is none of": is not one', id="none for not"),
    ],
)
def test_a_finding_names_what_to_write(words: str, problem: str) -> None:
    assert problems(words) == [problem]


@pytest.mark.parametrize(
    "words",
    [
        "The run's status is `CANCELLED`.",
        "A sidecar runs beside the head, and beside Ray.",
        "If there is none, None is returned: it is None.",
        "The pod on a node. Two kinds: the head and worker groups.",
        f"{'word ' * 30}. `code` begins the next one{' word' * 30}.",
        f"{'word ' * 20}; {'word ' * 20}",
        f"quick: {'word ' * 20}. full: {'word ' * 20}",
        "Read [what happens](a-very-long-link.md), misspelled or not.",
    ],
)
def test_good_english_passes(words: str) -> None:
    assert problems(words) == []


def test_a_cell_may_be_long() -> None:
    assert problems(LONG, whole_sentences=False) == []


def test_code_is_no_text(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("One\ntwo.\n\n```python\nfor ever\n```\n\n| a | b |\n")
    assert [(text.line, text.words) for text in texts_of_page(page)] == [(1, "One two."), (8, "a"), (8, "b")]


def test_texts_of_a_module_are_what_users_meet(tmp_path: Path) -> None:
    module = tmp_path / "_module.py"
    module.write_text(
        '"""A docstring for developers alone."""\n'
        "def private() -> None:\n"
        '    """Another one for developers alone."""\n'
        '    raise ValueError(f"{target} could not be " f"deleted in {seconds} s")\n'
        "class KubeRayCluster:\n"
        '    """A docstring that the reference shows."""\n'
        'KEY = "a short key"\n'
    )
    assert [(text.words, text.whole_sentences) for text in texts_of_source(module)] == [
        ("A docstring that the reference shows.", False),
        ("`x` could not be deleted in `x` s", True),
    ]
