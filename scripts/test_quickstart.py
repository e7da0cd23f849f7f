"""The quickstart is followed to the letter: its files are written, its lines run in order, what serves is awaited."""

import pytest
from quickstart import PAGE, Step, script_of, steps_of

FENCE = "```"
COMMANDS = f"Text.\n{FENCE}bash\ncd my-project\ndg dev\n{FENCE}\n"
FILE = f'{FENCE}python title="src/a.py"\nx = 1\n\n\ny = 2\n{FENCE}\n'
CASES = [
    pytest.param(COMMANDS, [Step("cd my-project\ndg dev")], id="commands"),
    pytest.param(FILE, [Step("x = 1\n\n\ny = 2", "src/a.py")], id="a file"),
    pytest.param(f"{FENCE}text\n385\n{FENCE}\n", [], id="what is printed is neither"),
    pytest.param(FILE + COMMANDS, [Step("x = 1\n\n\ny = 2", "src/a.py"), Step("cd my-project\ndg dev")], id="in order"),
]


@pytest.mark.parametrize(("page", "steps"), CASES)
def test_a_page_is_files_and_commands(page: str, steps: list[Step]) -> None:
    assert list(steps_of(page)) == steps


def test_every_line_of_the_page_is_in_the_script() -> None:
    page = PAGE.read_text(encoding="utf-8")
    script = script_of(page)
    steps = list(steps_of(page))
    assert {step.path for step in steps if step.path} == {
        "src/my_project/defs/squares.py",
        "src/my_project/defs/cluster.py",
    }
    for step in steps:
        for line in step.text.splitlines():
            assert line in script
    assert script.count("RESULT") == 3  # one look after each launch


def test_a_ui_is_reached_and_then_stopped() -> None:
    script = script_of(COMMANDS)
    assert "dg dev > dev.log 2>&1 &" in script
    assert script.index("server_info") < script.index("kill -INT")
