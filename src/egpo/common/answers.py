"""The last boxed answer of a text, and whether two answers are the same: for data, reward and evaluation alike."""

from __future__ import annotations

import re
import threading
from fractions import Fraction
from functools import lru_cache
from typing import Any

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

# A box that opens, an escaped character (such as \{, which is no brace), or a brace.
_TOKEN = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)
_OPENING = re.compile(r"\\boxed\s*\{")
# What LaTeX writes in more than one way without a change of meaning.
_INVISIBLE = re.compile(r"\\(?:left|right)(?![A-Za-z])|\\[!,;: ]|\$|(?<!\d)\s+|\s+(?!\d)")
_FRACTION = re.compile(r"\\[dt]frac(?![A-Za-z])")
# Powers with an exponent of five digits or more, and towers: sympy may try to write them out.
_ENDLESS = re.compile(r"(?:\^|\*\*)\s*[{(]*\s*[+-]?\d{5,}|(?:\^|\*\*)[^\s+\-=,]*(?:\^|\*\*)|\d{4,}\s*!|!\s*!")
_INTEGER = re.compile(r"-?\d{1,100}", re.ASCII)
_NUMBER = re.compile(
    r"(-?)(?:\\frac\{(\d{1,15})\}\{(\d{1,15})\}|(\d{1,15})/(\d{1,15})|(\d{1,15}(?:\.\d{1,15})?))", re.ASCII
)
ROUNDING = Fraction(1, 10**6)  # to which math-verify compares where one side is a decimal
LONGEST = 300
# By the clock, so generous: on a busy machine an answer that takes a tenth of a second must not become wrong.
PARSE_SECONDS = 6
COMPARE_SECONDS = 6


def _opens(text: str, start: int) -> re.Match[str] | None:
    """The opening of the box whose backslash is at `start`, unless that backslash is itself escaped."""
    before = text[:start]
    escaped = (len(before) - len(before.rstrip("\\"))) % 2
    return None if escaped else _OPENING.match(text, start)


def _closing(text: str, start: int) -> int | None:
    """Where the brace that is open at `start` closes."""
    depth = 1
    for token in _TOKEN.finditer(text, start):
        if token[0] == "}":
            depth -= 1
        elif token[0] == "{":
            depth += 1
        if depth == 0:
            return token.start()
    return None


def extract_boxed(text: str) -> str | None:
    r"""Content of the `\boxed{...}` that opens last among those that close; None if there is none.

    Braces nest, escaped braces do not count. The last box is tried alone first: it is near the end of a long text.
    """
    start = text.rfind("\\boxed")
    opening = _opens(text, start) if start >= 0 else None
    if opening:
        end = _closing(text, opening.end())
        if end is not None:
            return text[opening.end() : end]
    return _last_closed(text) if start >= 0 else None


def _last_closed(text: str) -> str | None:
    """The same in one pass over all of it, so that a text full of unclosed boxes costs no more."""
    open_braces: list[int | None] = []  # where the content of a box starts; None for any other brace
    start, content = -1, None
    for token in _TOKEN.finditer(text):
        if token[0].startswith("\\boxed"):
            open_braces.append(token.end())
        elif token[0] == "{":
            open_braces.append(None)
        elif token[0] == "}" and open_braces:
            opened = open_braces.pop()
            if opened is not None and opened > start:
                start, content = opened, text[opened : token.start()]
    return content


def normalize_answer(answer: str) -> str:
    r"""An answer without blanks, `$`, `\left`, `\right` and a final full stop, and with one kind of fraction.

    A blank between two digits stays: 1 1/2 is not 11/2.
    """
    plain = _INVISIBLE.sub("", _FRACTION.sub(r"\\frac", answer))
    return plain.removesuffix(".")


def _number(short: str) -> Fraction | None:
    """The value of an integer, decimal or fraction of integers in digits; None for anything else."""
    found = _NUMBER.fullmatch(short)
    if found is None:
        return None
    sign, *parts = found.groups()
    above, below, over, under, decimal = parts
    denominator = int(below or under or 1)
    return Fraction(sign + (above or over or decimal)) / denominator if denominator else None


def _plainly(short: str, reference: str) -> bool | None:
    """What math-verify says of two numbers, a hundred times faster; None where it has to be asked."""
    if _INTEGER.fullmatch(short) and _INTEGER.fullmatch(reference):
        return int(short) == int(reference)
    one, other = _number(short), _number(reference)
    if one is None or other is None:
        return None
    if one == other:
        return True
    # What differs by less may be one number after rounding.
    return False if abs(one - other) > 2 * ROUNDING else None


def answers_equivalent(candidate: str, truth: str) -> bool:
    """Whether `candidate` is the answer `truth`: as strings after normalising, else by math-verify.

    Not symmetric: math-verify reads `truth` as the reference. Whatever math-verify cannot read, or not
    within its time-out, is no match. Its time-out needs the main thread; in another thread only the
    length and the size of powers are bounded (in the main thread as well, so that both agree).
    """
    short, reference = normalize_answer(candidate), normalize_answer(truth)
    if not short or not reference:
        return False
    if short == reference:
        return True
    plainly = _plainly(short, reference)
    if plainly is not None:
        return plainly
    if any(len(text) > LONGEST or _ENDLESS.search(text) for text in (candidate, truth)):
        return False
    return _verified(candidate, truth)


def _timeout(seconds: int) -> int | None:
    """math-verify keeps time by a signal, which only the main thread can take."""
    return seconds if threading.current_thread() is threading.main_thread() else None


@lru_cache(maxsize=10_000)
def _parsed_within(text: str, seconds: int | None) -> tuple[Any, ...]:
    settings = (LatexExtractionConfig(), ExprExtractionConfig())
    return tuple(parse(text, settings, parsing_timeout=seconds))


def _parsed(text: str) -> list[Any]:
    """What math-verify reads, remembered: a reference is compared with many answers, and reading takes longest."""
    return list(_parsed_within(f"\\boxed{{{text.strip().strip('$')}}}", _timeout(PARSE_SECONDS)))


def read_by_math_verify(answer: str) -> list[Any]:
    """What math-verify makes of an answer: an expression and its text, the text alone, or nothing.

    Nothing as well for what would take it too long; the same bounds hold as in `answers_equivalent`.
    """
    if len(answer) > LONGEST or _ENDLESS.search(answer):
        return []
    try:
        return _parsed(answer)
    except Exception:  # as below
        return []


def _verified(candidate: str, truth: str) -> bool:
    try:
        gold, answer = _parsed(truth), _parsed(candidate)
        return bool(verify(gold, answer, timeout_seconds=_timeout(COMPARE_SECONDS)))
    except Exception:  # math-verify and sympy raise errors of every kind on odd input
        return False
