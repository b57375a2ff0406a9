"""Tests of a problem's text for its type and language."""

from __future__ import annotations

import re
from collections.abc import Callable

# As a request: "records show that" and "a show that" are parts of a story.
_PROOF = re.compile(
    r"\bprove that\b|^\W*(?:\([^)]*\)\W*)?prove\b|\b(?-i:Show|Demonstrate|Verify) that\b|"
    r"(?:^\s*|[^\w\s'\u2019-]\s*|\b(?:and|or|also|then|please|to|we|you|can|must|hence|thus) )"
    r"(?:show|demonstrate|verify) that\b",
    re.IGNORECASE,
)
_FIGURE = re.compile(
    r"!\[|\\includegraphics|\[asy\]|\\begin\{(?:tikzpicture|asy)\}|"
    r"\b(?:in|see|as shown in|shown in) the (?:\w+ )?(?:figure|diagram|picture|drawing)\b",
    re.IGNORECASE,
)
_LINK = re.compile(r"https?://|\bwww\.\w|(?<!!)\[[^\]]*\]\((?!\s*\))[^)\s]*\.[a-z]{2,4}", re.IGNORECASE)
_CHINESE_JAPANESE_KOREAN = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")
# What can hold letters and brackets that label nothing: code of a drawing, and brackets around more than a label.
_DRAWING = re.compile(r"\[asy\].*?(?:\[/asy\]|$)", re.DOTALL)
_BRACKETS = re.compile(r"(?!\((?:[A-Za-z]|[ivxIVX]{1,4}|\d\d?)\))[(\[][^()\[\]]*[)\]]")
# "(a)" or "a)" at the start of a word; not the argument of f(1), nor the end of \frac{a}{b)}.
_PART = r"(?<![\w\\}}^_])(?:\({0}\)|(?<!\(){0}\))"
_PARTS = [
    re.compile(_PART.format(first) + ".*?" + _PART.format(second), re.DOTALL)
    for first, second in (("a", "b"), ("A", "B"), ("i", "ii"), ("I", "II"), ("1", "2"))
]
# A) ... B) ... C), with any bracket, full stop or bold type; not the corners of a square ABCD.
_OPTIONS = re.compile(
    r"(?<![\w\\])\(?A(?:[).:]|\}).*?(?<![\w\\])\(?B(?:[).:]|\}).*?(?<![\w\\])\(?C(?:[).:]|\})", re.DOTALL
)


def _labelled(problem: str) -> str:
    """The text without drawings and mathematics in brackets, such as (x - a)(x - b) or [0, 1), but with (a) and a)."""
    text = _DRAWING.sub(" ", problem)
    while (shorter := _BRACKETS.sub(" ", text)) != text:
        text = shorter
    return text


def has_options(problem: str) -> bool:
    """Whether the text offers answers to choose from."""
    return bool(_OPTIONS.search(_labelled(problem)))


def has_parts(problem: str) -> bool:
    """Whether the text asks several questions, each under a letter or number."""
    text = _labelled(problem)
    return any(parts.search(text) for parts in _PARTS)


TESTS: dict[str, Callable[[str], bool]] = {
    "no-problem": lambda problem: not problem.strip(),
    "proof-wording": lambda problem: bool(_PROOF.search(problem)),
    "options": has_options,
    "multi-part": lambda problem: has_parts(problem) and not has_options(problem),
    "figure": lambda problem: bool(_FIGURE.search(problem)),
    "link": lambda problem: bool(_LINK.search(problem)),
    "language": lambda problem: bool(_CHINESE_JAPANESE_KOREAN.search(problem)),
}
