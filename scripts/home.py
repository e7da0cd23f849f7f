"""Give the project its home: `python scripts/home.py https://host/owner/name [DOCUMENTATION]`.

Writes `[project.urls]` into each pyproject.toml, and makes the links and images of the READMEs absolute, so that they
read the same on a package index. To move, run it again with `--before` and the old address.
"""

import argparse
import re
from collections.abc import Mapping

from versions import FILES, ROOT

_LINK = re.compile(r"(!?)(\[[^\]]*\])\((?!https?://|#|mailto:)([^)\s]+)\)")
_URLS = re.compile(r"(?ms)^\[project\.urls\]\n.*?(?=^\[|\Z)")


def urls_of(address: str, documentation: str | None) -> dict[str, str]:
    """Return what a package index shows beside the project. Pure."""
    urls = {"Source": address, "Issues": f"{address}/issues", "Changelog": f"{address}/blob/HEAD/CHANGELOG.md"}
    return {**urls, "Documentation": documentation or f"{address}/blob/HEAD/docs/index.md"}


def with_urls(pyproject: str, urls: Mapping[str, str]) -> str:
    """Return a pyproject.toml with this `[project.urls]`, in place of what it had. Pure."""
    table = "".join(["[project.urls]\n", *(f'{name} = "{url}"\n' for name, url in urls.items()), "\n"])
    without = _URLS.sub("", pyproject)
    project, following = re.split(r"(?m)^(?=\[(?!project\]|build-system\]))", without, maxsplit=1)
    return f"{project}{table}{following}"


def absolute(readme: str, folder: str, address: str) -> str:
    """Return a README whose relative links lead to an address. Pure.

    Args:
        readme: Its Markdown.
        folder: Its folder, relative to the root; empty for the root's own.
        address: Where the repository is. A link shows a page there, an image is the file itself.
    """

    def led(found: re.Match[str]) -> str:
        mark, text, target = found.groups()
        path, hash_, anchor = target.partition("#")
        place = (ROOT / folder / path).resolve().relative_to(ROOT)
        return f"{mark}{text}({address}/{'raw' if mark else 'blob'}/HEAD/{place.as_posix()}{hash_}{anchor})"

    return _LINK.sub(led, readme)


def main(address: str, documentation: str | None, before: str | None) -> None:
    """Rewrite the files."""
    for file in FILES:
        file.write_text(with_urls(file.read_text("utf-8"), urls_of(address, documentation)), "utf-8")
        page = file.with_name("README.md")
        text = page.read_text("utf-8")
        folder = file.parent.relative_to(ROOT).as_posix()
        page.write_text(absolute(text.replace(before, address) if before else text, folder, address), "utf-8")
    print(f"{len(FILES)} packages are at home at {address}. Look at the changes with git diff.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", type=lambda text: text.rstrip("/"), help="where the repository is")
    parser.add_argument("documentation", nargs="?", help="where the site is (default: the pages in the repository)")
    parser.add_argument("--before", type=lambda text: text.rstrip("/"), help="where it was, when the project moves")
    given = parser.parse_args()
    main(given.address, given.documentation, given.before)
