"""With an address, READMEs and metadata of every package are fit for a package index."""

import tomllib
from pathlib import Path

import pytest
from home import absolute, urls_of, with_urls
from versions import FILES, ROOT
from wheels import relative_links

HOME = "https://example.org/owner/name"


@pytest.mark.parametrize("file", [pytest.param(file, id=file.parent.name) for file in FILES])
def test_every_package_can_move_in(file: Path) -> None:
    before = file.read_text("utf-8")
    moved = with_urls(before, urls_of(HOME, None))
    assert tomllib.loads(moved)["project"].pop("urls")["Source"] == HOME
    assert with_urls(moved, urls_of(HOME, None)) == moved
    expected = tomllib.loads(before)
    found = tomllib.loads(moved)
    del found["project"]["urls"]
    expected["project"].pop("urls", None)
    assert found == expected


@pytest.mark.parametrize("file", [pytest.param(file, id=file.parent.name) for file in FILES])
def test_no_link_of_a_readme_stays_relative(file: Path) -> None:
    text = absolute(file.with_name("README.md").read_text("utf-8"), file.parent.relative_to(ROOT).as_posix(), HOME)
    assert not relative_links(text)


@pytest.mark.parametrize(
    ("markdown", "folder", "expected"),
    [
        pytest.param("[a](docs/a.md#b)", "", f"[a]({HOME}/blob/HEAD/docs/a.md#b)", id="a page and its part"),
        pytest.param("![a](docs/a.png)", "", f"![a]({HOME}/raw/HEAD/docs/a.png)", id="an image"),
        pytest.param("[a](../../docs/a.md)", "packages/one", f"[a]({HOME}/blob/HEAD/docs/a.md)", id="from a package"),
        pytest.param("[a](#b) [c](https://d)", "", "[a](#b) [c](https://d)", id="what is absolute already"),
    ],
)
def test_links_lead_to_the_home(markdown: str, folder: str, expected: str) -> None:
    assert absolute(markdown, folder, HOME) == expected
