"""Check what a rule can find in the project's English: `python scripts/prose.py`.

It reads every Markdown page, and in the source every text that a user can meet: field descriptions, errors, log lines.
A finding is a sentence of more than 35 words, a phrase that reads as translated, or British spelling.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("*.md", "docs/**/*.md", "packages/*/README.md", "examples/*/README.md", "changelog.d/*.md", "benchmarks/*.md")
SOURCES = ("packages/*/src/**/*.py",)
SENTENCE_WORDS = 35
SHORTEST_TEXT = 4
"""Words from which on a string of the source counts as a text, not as a name or a key."""

# What to write instead stands beside the phrase.
PHRASES = {
    r"\bfor ever\b": "forever, or rather: never ends, never deleted",
    r"\bat the begin\b": "at the start",
    r"\bbeside (?:that|this|the point|others?)\b": "besides, or next to",
    r"\b(?:is|are|was|were) told\b": "is reported, is named",
    r"\b(?:is|are|was|were) said\b": "is stated",
    r"\bwhat lacks\b": "what is missing",
    r"\bof whoever\b": "of anyone who",
    r"\bwhat there is not\b": "what is not included",
    r"\bnone of them ends\b": "none of them stops",
    r"\bstands? (?:in|there|beside|behind) (?:the|its|a|only)\b": "is in, is next to",
    r"\btakes the way\b": "uses",
    r"\bthe way out\b": "the remedy",
    r"\bget(?:s)? valid\b": "becomes valid",
    r"\bthere is to be seen\b": "is found",
    r"\bis to be seen\b": "is found",
    r"\bdone away with\b": "removed",
    r"\ba wish(?:es)?\b|\bthe wish(?:es)?\b": "request",
    r"\bpreflights?\b(?! check)": "preflight check",
    r"\bcomes? to an end\b": "ends",
    r"\bin case that\b": "if",
    r"\binformations\b": "information",
    r"\bthe half of\b": "half of",
    r"\bmakes? sure of\b": "ensures",
}
BRITISH = {
    "analyse": "analyze",
    "behaviour": "behavior",
    "cancelled": "canceled",
    "cancelling": "canceling",
    "catalogue": "catalog",
    "centre": "center",
    "colour": "color",
    "favour": "favor",
    "honour": "honor",
    "initialise": "initialize",
    "labelled": "labeled",
    "licence": "license",
    "normalise": "normalize",
    "organise": "organize",
    "recognise": "recognize",
    "serialise": "serialize",
    "summarise": "summarize",
    "travelling": "traveling",
    "utilise": "utilize",
}
_BRITISH = re.compile(rf"\b({'|'.join(BRITISH)})(?:s|d|r|rs|ed|ing|able|isation)?\b", re.IGNORECASE)
_PHRASES = {re.compile(pattern, re.IGNORECASE): better for pattern, better in PHRASES.items()}
_CODE = re.compile(r"`[^`]*`")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_SENTENCE_END = re.compile(r"(?<=[.!?:])\s+(?=[A-Z`*(])|;\s")


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph, a table cell or a string, and where it is."""

    path: Path
    line: int
    words: str
    whole_sentences: bool = True
    """False for a table cell or a heading: a fragment is good there."""


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
    """Yield the string constants of a module that read as text, without docstrings, which are for developers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    statements = (node for node in ast.walk(tree) if isinstance(node, ast.Expr))
    docstrings = {id(statement.value) for statement in statements if isinstance(statement.value, ast.Constant)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in docstrings:
            continue
        words = node.value.split()
        if len(words) >= SHORTEST_TEXT:
            yield Text(path, node.lineno, " ".join(words))


def problems_of(text: Text) -> Iterator[str]:
    """Yield what the rules find in a text."""
    plain = _LINK.sub(r"\1", _CODE.sub("code", text.words))
    for pattern, better in _PHRASES.items():
        yield from (f'"{match[0]}": {better}' for match in pattern.finditer(plain))
    for match in _BRITISH.finditer(plain):
        yield f'"{match[0]}": US spelling, {BRITISH[match[1].lower()]}'
    for sentence in _SENTENCE_END.split(plain) if text.whole_sentences else ():
        words = len(sentence.split())
        if words > SENTENCE_WORDS:
            yield f"{words} words in one sentence: {sentence[:60]}…"


def main() -> int:
    """Print every finding with its place; return 1 if there is any."""
    found = 0
    for patterns, texts_of in ((PAGES, texts_of_page), (SOURCES, texts_of_source)):
        for path in sorted({path for pattern in patterns for path in ROOT.glob(pattern)}):
            for text in texts_of(path):
                for problem in problems_of(text):
                    found += 1
                    print(f"{path.relative_to(ROOT)}:{text.line}: {problem}")
    print(f"{found} findings")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
