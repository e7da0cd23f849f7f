"""A module that says it is pure imports nothing impure."""

from pathlib import Path

import pytest
from house_source import Module
from modules import problems

SAYS, SAYS_NOT = '"""What is decided. Pure."""\n', '"""What is done."""\n'
CASES = [
    pytest.param(SAYS + "import json\n", [], id="a pure module may import what computes only"),
    pytest.param(SAYS + "import time\n", ["says that it is pure, and imports time"], id="a clock is not pure"),
    pytest.param(
        SAYS + "def f():\n    from os import path\n", ["says that it is pure, and imports os"], id="nor inside"
    ),
    pytest.param(SAYS + "if TYPE_CHECKING:\n    import ray\n", [], id="what type checkers import does not run"),
    pytest.param(SAYS_NOT + "import time\n", [], id="other modules import what they want"),
    pytest.param(
        '"""Decides. Pure; and more."""\n',
        ["says `Pure.` at the end of the docstring's first line, or nowhere in it"],
        id="a word in another place would be overlooked",
    ),
]


@pytest.mark.parametrize(("text", "found"), CASES)
def test_a_module_keeps_its_word(text: str, found: list[str]) -> None:
    assert list(problems(Module("a", Path("a.py"), text))) == [f"a.py: {problem}" for problem in found]
