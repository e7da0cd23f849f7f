"""Check the built site: no link or anchor is dead, and no page loads anything from another host.

`python scripts/site_links.py site` reads every page of the folder. Links that a reader may follow to another host are
not looked at: `test_document_claims.py` has the hosts that documents may name.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from posixpath import dirname, join, normpath
from urllib.parse import unquote, urlsplit

# What a browser fetches by itself, but for a link of these kinds: it leads somewhere, as an anchor does.
_LEADS = {"canonical", "next", "prev"}
LOADED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("link", "href")}
_CSS_URL = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")


@dataclass(slots=True)
class Page:
    """What one page names: its anchors, its links, and what a browser loads for it."""

    anchors: set[str] = field(default_factory=set[str])
    links: list[str] = field(default_factory=list[str])
    loads: list[str] = field(default_factory=list[str])


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        leads = tag == "link" and dict(attrs).get("rel") in _LEADS
        for name, value in attrs:
            if not value:
                continue
            if name == "id":
                self.page.anchors.add(value)
            elif (tag, name) in LOADED and not leads:
                self.page.loads.append(value)
            elif name == "href":
                self.page.links.append(value)


def read_page(html: str) -> Page:
    """Return what a page names."""
    reader = _Reader()
    reader.feed(html)
    return reader.page


def loaded_by_css(css: str) -> list[str]:
    """Return what a style sheet loads."""
    return [one or other for one, other in _CSS_URL.findall(css)]


def target_of(page: str, link: str) -> tuple[str, str]:
    """Return the file, relative to the site, and the anchor that a link of a page leads to."""
    parts = urlsplit(link)
    path = unquote(parts.path)
    file = normpath(join(dirname(page), path)) if path else page
    return (normpath(f"{file}/index.html") if path.endswith(("/", "..")) or path == "." else file), parts.fragment


def problems(pages: Mapping[str, Page], files: set[str]) -> Iterator[str]:
    """Yield what is wrong with pages, by their path in the site, among the files of the site."""
    for name, page in pages.items():
        for load in page.loads:
            if urlsplit(load).netloc:
                yield f"{name} loads {load} from another host"
        for link in page.links + page.loads:
            if urlsplit(link).scheme or urlsplit(link).netloc:
                continue
            file, anchor = target_of(name, link)
            if file not in files:
                yield f"{name} leads to {link}, which does not exist"
            elif anchor and file in pages and not anchor.startswith("__") and anchor not in pages[file].anchors:
                yield f"{name} leads to {link}, which has no such anchor"


def main(site: str) -> int:
    """Print every problem of a site."""
    root = Path(site)
    files = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}
    pages: dict[str, Page] = {}
    for name, path in files.items():
        if name.endswith(".html") and name != "404.html":  # served under every path, so its links begin at the root
            pages[name] = read_page(path.read_text(encoding="utf-8"))
        elif name.endswith(".css"):
            pages[name] = Page(loads=[one for one in loaded_by_css(path.read_text("utf-8")) if one[:5] != "data:"])
    found = list(problems(pages, set(files)))
    print("\n".join([*found, f"{len(pages)} pages and style sheets, {len(found)} problems"]))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
