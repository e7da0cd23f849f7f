"""The check of the built site finds what is dead or comes from elsewhere, and nothing else."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts/site_links.py"
_spec = importlib.util.spec_from_file_location("site_links", SCRIPT)
assert _spec is not None
assert _spec.loader is not None
site_links = importlib.util.module_from_spec(_spec)
sys.modules["site_links"] = site_links
_spec.loader.exec_module(site_links)

FILES = {"index.html", "errors/index.html", "errors/not-ready/index.html", "assets/pages.css", "images/tick.png"}
ANCHORS = '<h1 id="top">Title</h1><a href="https://docs.ray.io/">Ray</a>'


def found(page: str, html: str) -> list[str]:
    """Return what is wrong with one page of a site whose other pages are in order."""
    pages = {name: site_links.read_page(ANCHORS) for name in FILES if name.endswith(".html")}
    pages[page] = site_links.read_page(ANCHORS + html)
    return list(site_links.problems(pages, FILES))


@pytest.mark.parametrize(
    ("page", "html"),
    [
        pytest.param("index.html", '<a href="errors/">', id="a folder's page"),
        pytest.param("index.html", '<a href="errors/not-ready/#top">', id="an anchor of another page"),
        pytest.param("index.html", '<a href="#top">', id="an anchor of the page itself"),
        pytest.param("errors/not-ready/index.html", '<a href="../..">', id="the first page, from two folders below"),
        pytest.param("errors/not-ready/index.html", '<a href="../">', id="the page above"),
        pytest.param("errors/index.html", '<a href=".">', id="the page itself"),
        pytest.param("errors/index.html", '<img src="../images/tick.png">', id="an image"),
        pytest.param("errors/index.html", '<link rel="stylesheet" href="../assets/pages.css">', id="a style sheet"),
        pytest.param("index.html", '<a href="https://docs.dagster.io/#x">', id="a link to another host"),
        pytest.param(
            "index.html", '<link rel="canonical" href="https://example.com/docs/">', id="where the page is served"
        ),
        pytest.param("index.html", '<a href="mailto:somebody@example.com">', id="an address for mail"),
    ],
)
def test_a_link_that_leads_somewhere_is_no_problem(page: str, html: str) -> None:
    assert found(page, html) == []


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        pytest.param('<a href="gone/">', "leads to gone/, which does not exist", id="a page that is not there"),
        pytest.param('<a href="../index.html">', "leads to ../index.html, which does not exist", id="out of the site"),
        pytest.param('<a href="errors/#gone">', "leads to errors/#gone, which has no such anchor", id="no anchor"),
        pytest.param('<img src="images/gone.png">', "leads to images/gone.png, which does not exist", id="no image"),
        pytest.param(
            '<script src="https://cdn.example.com/x.js">',
            "loads https://cdn.example.com/x.js from another host",
            id="a script from another host",
        ),
        pytest.param(
            '<link rel="stylesheet" href="//fonts.example.com/x.css">',
            "loads //fonts.example.com/x.css from another host",
            id="a style sheet from another host, without a scheme",
        ),
    ],
)
def test_a_dead_link_or_a_foreign_host_is_a_problem(html: str, problem: str) -> None:
    assert found("index.html", html) == [f"index.html {problem}"]


@pytest.mark.parametrize(
    ("css", "loads"),
    [
        pytest.param("a { background: url(x.png) }", ["x.png"], id="an image"),
        pytest.param(
            '@font-face { src: url("https://fonts.example.com/x") }', ["https://fonts.example.com/x"], id="a font"
        ),
        pytest.param("@import 'https://fonts.example.com/y';", ["https://fonts.example.com/y"], id="an import"),
        pytest.param("a { color: red }", [], id="nothing"),
    ],
)
def test_what_a_style_sheet_loads_is_found(css: str, loads: list[str]) -> None:
    assert site_links.loaded_by_css(css) == loads


def test_a_site_with_a_dead_link_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "index.html").write_text('<a href="gone/">', encoding="utf-8")
    (tmp_path / "pages.css").write_text("a { background: url(data:image/png;base64,AA) }", encoding="utf-8")
    assert site_links.main(str(tmp_path)) == 1
    assert "2 pages and style sheets, 1 problems" in capsys.readouterr().out
