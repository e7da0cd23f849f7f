"""Check what a rule can find in the project's English: `python scripts/prose.py`.

It reads every Markdown page and the titles of the navigation, and in the source every text that a user can meet: field
descriptions, errors, log lines. A finding is a sentence of more than 35 words, a phrase that reads as translated, a
noun that lacks its article, or British spelling. Docstrings, which the API reference shows, may be longer.
"""

import ast
import functools
import itertools
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("*.md", "docs/**/*.md", "packages/*/README.md", "examples/*/README.md", "changelog.d/*.md", "benchmarks/*.md")
SOURCES = ("packages/*/src/**/*.py", "tests-integration/fault_cells_*.py", "tests-integration/fault_terms.py")
QUOTED = {"packages/dagster-ray-kuberay/src/dagster_ray/kuberay/_operator_rules/names.py"}
"""Modules whose texts are Kubernetes' own words."""
SENTENCE_WORDS = 35
SHORTEST_TEXT = 4
"""Words from which on a string of the source counts as a text, not as a name or a key."""

# What to write instead follows the phrase.
PHRASES = {
    r"\bfor ever\b": "forever, or rather: never ends, never deleted",
    r"\bat the begin\b": "at the start",
    r"\bbeside (?!(?:the|an?|its?|each|them|our|your|their)\b|`|(?-i:[A-Z]))": "besides, or next to",
    r"\bbesides? (?:that|this)\b": "also, or next to it",
    r"\b(?:is|are|was|were|be|been) told\b": "is reported, is named",
    r"\b(?:is|are|was|were|be|been) said\b": "is stated",
    r"\btells? (?:of|it|when|how|what|which|where|whether|nothing)\b": "reports, shows, lists",
    r"\bnothing tells\b": "it is not recorded",
    r"\bwhat lacks\b": "what is missing",
    r"\bof whoever\b": "of anyone who",
    r"\bwhat there is not\b": "what is not included",
    r"\bnone of them ends\b": "none of them stops",
    r"\bstands? (?:in|there|beside|behind|below|above|at|first|on) ": "is in, is next to",
    r"\bstands? still\b": "is paused",
    r"\bStands in:": "Used in:",
    r"\btakes the way\b": "uses",
    r"\bthe way out\b": "the remedy",
    r"\bthe way to the\b": "the path to the, a round trip to the",
    r"\bget(?:s)? valid\b": "becomes valid",
    r"\b(?:is|are) to be seen\b": "is found",
    r"\bdone away with\b": "removed",
    r"\ba wish(?:es)?\b|\bthe wish(?:es)?\b": "request",
    r"\bpreflights?\b(?! check|:)": "preflight check",
    r"\bcomes? to an end\b": "ends",
    r"\bin case that\b": "if",
    r"\b(?:information|advice|software|evidence)s\b": "a word without a plural",
    r"\bthe half of\b": "half of",
    r"\bmakes? sure of\b": "ensures",
    r"\bshall\b": "must, should, will",
    r"\ball the same\b": "anyway",
    r"(?<!there )\b(?:is|are|was) (?-i:none)(?: (?:of|that|where|for)\b|[.,;:])": "is not one",
    r"\b(?:allow|enable|permit)s? to\b": "lets you, allows ...ing",
    r"\bothers than\b": "other than",
    r"\bthere where\b": "where",
    r"\btill\b": "until",
    r"\bwho (?:submits|comes from)\b": "a sentence with a subject",
    r"\bso (?:it )?is (?:it with|a \w+ whose)\b": "the same applies to",
    r"\bholds? (?:it )?against\b": "why it rejects",
    r"\b(?:is|are) such an? (?:death|case|end)\b": "counts as one",
    r"\bas well as possible\b": "a promise that can be checked",
    r"\bdoes not do\b(?! it\b| this\b| that\b| so\b| anything\b)": "is not enough",
    r"\bon its own account\b": "itself",
    r"\bmay be that\b": "perhaps",
}
# A countable noun that follows a preposition and ends its phrase needs an article or a plural.
_NOUNS = "cluster|driver|file|head|namespace|node|object|operator|page|pod|process|queue|sensor|server|step"
_BARE = re.compile(
    rf"(?<!kind )\b(?:in|of|for|from|into|with|without|on|under) (?:{_NOUNS})(?=[.,;:)]|$| (?:that|which|is|has|was)\b)"
)
BRITISH = {
    "amongst": "among",
    "analyse": "analyze",
    "artefact": "artifact",
    "behaviour": "behavior",
    "cancelled": "canceled",
    "cancelling": "canceling",
    "catalogue": "catalog",
    "centre": "center",
    "colour": "color",
    "defence": "defense",
    "favour": "favor",
    "fulfil": "fulfill",
    "grey": "gray",
    "honour": "honor",
    "initialise": "initialize",
    "judgement": "judgment",
    "labelled": "labeled",
    "learnt": "learned",
    "licence": "license",
    "misspelt": "misspelled",
    "modelled": "modeled",
    "neighbour": "neighbor",
    "normalise": "normalize",
    "organise": "organize",
    "programme": "program",
    "recognise": "recognize",
    "serialise": "serialize",
    "signalled": "signaled",
    "spelt": "spelled",
    "summarise": "summarize",
    "towards": "toward",
    "travelling": "traveling",
    "utilise": "utilize",
    "whilst": "while",
}
_BRITISH = re.compile(rf"\b({'|'.join(BRITISH)})(?:s|d|r|rs|ed|ing|able|isation)?\b", re.IGNORECASE)
_PHRASES = {re.compile(pattern, re.IGNORECASE): better for pattern, better in PHRASES.items()}
_CODE = re.compile(r"`[^`]*`")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_SENTENCE_END = re.compile(r"(?<=[.!?:])\s+(?=[A-Z`*([])|(?<=\.)\s+(?=\w+: )|;\s")


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph, a table cell or a string, and where it is."""

    path: Path
    line: int
    words: str
    whole_sentences: bool = True
    """False for a table cell, a heading or a docstring: its length is not looked at."""


def texts_of_page(path: Path) -> Iterator[Text]:
    """Yield the paragraphs and table cells of a Markdown page, without its code."""
    paragraph: list[str] = []
    start = 0
    fenced = False
    for number, line in enumerate([*path.read_text(encoding="utf-8").splitlines(), ""], start=1):
        text = line.strip()
        if text.startswith(("```", "~~~")):
            fenced = not fenced
        begins_anew = fenced or not text or re.match(r"```|~~~|#|\||[-*] |\d+\. |<!--|--8<--|!!! ", text) is not None
        if begins_anew and paragraph:
            yield Text(path, start, " ".join(paragraph))
            paragraph = []
        if fenced or text.startswith(("```", "~~~", "<!--", "--8<--")):
            continue
        if text.startswith("|"):
            yield from (Text(path, number, cell.strip(), whole_sentences=False) for cell in text.strip("|").split("|"))
        elif text.startswith("#"):
            yield Text(path, number, text.lstrip("# "), whole_sentences=False)
        elif text:
            start = start if paragraph else number
            paragraph.append(re.sub(r"^(?:[-*]|\d+\.) ", "", text))


def texts_of_source(path: Path) -> Iterator[Text]:
    """Yield the strings of a module that read as text; values in an f-string count as one word."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = dict(_docstrings(tree))
    if tree.body and isinstance(first := tree.body[0], ast.Expr):
        docstrings[id(first.value)] = not _is_private(path)
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "`x`" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            text = node.value
        else:
            continue
        is_shown = docstrings.get(id(node), True)
        if is_shown and len(words := text.split()) >= SHORTEST_TEXT:
            yield Text(path, node.lineno, " ".join(words), whole_sentences=id(node) not in docstrings)


def _docstrings(tree: ast.AST, *, is_public: bool = False) -> Iterator[tuple[int, bool]]:
    """Yield the docstrings below a node, and whether the API reference shows them."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield id(node.value), is_public
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            shown = not node.name.startswith("_") and (is_public or node.name in _public_names())
            yield from _docstrings(node, is_public=shown)


def _is_private(path: Path) -> bool:
    return re.search(r"/_(?!_)", path.as_posix()) is not None


@functools.cache
def _public_names() -> frozenset[str]:
    """Return every name that a package lists in its `__all__`."""
    public = (path for path in ROOT.glob(SOURCES[0]) if not _is_private(path))
    lists = (re.findall(r"__all__ = \[(.*?)\]", path.read_text("utf-8"), re.DOTALL) for path in public)
    return frozenset(re.findall(r'"(\w+)"', "".join(itertools.chain.from_iterable(lists))))


def texts_of_navigation(path: Path) -> Iterator[Text]:
    """Yield the titles of mkdocs.yml."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if match := re.match(r"\s+- ([A-Z][^:]+):", line):
            yield Text(path, number, match[1], whole_sentences=False)


def problems_of(text: Text) -> Iterator[str]:
    """Yield what the rules find in a text."""
    plain = _LINK.sub(r"\1", _CODE.sub("`code`", text.words))
    for pattern, better in _PHRASES.items():
        yield from (f'"{match[0]}": {better}' for match in pattern.finditer(plain))
    yield from (f'"{match[0]}": lacks an article' for match in _BARE.finditer(plain))
    for match in _BRITISH.finditer(plain):
        yield f'"{match[0]}": US spelling, {BRITISH[match[1].lower()]}'
    for sentence in _SENTENCE_END.split(plain) if text.whole_sentences else ():
        words = len(sentence.split())
        if words > SENTENCE_WORDS:
            yield f"{words} words in one sentence: {sentence[:60]}…"


KINDS = ((PAGES, texts_of_page), (SOURCES, texts_of_source), (("mkdocs.yml",), texts_of_navigation))


def main() -> int:
    """Print every finding with its place; return 1 if there is any."""
    found = 0
    for patterns, texts_of in KINDS:
        for path in sorted(
            {path for pattern in patterns for path in ROOT.glob(pattern)} - {ROOT / one for one in QUOTED}
        ):
            for text in texts_of(path):
                for problem in problems_of(text):
                    found += 1
                    print(f"{path.relative_to(ROOT)}:{text.line}: {problem}")
    print(f"{found} findings")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
