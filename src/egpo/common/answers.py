"""The last boxed answer of a text, and whether two answers are equivalent; used by data, reward and evaluation."""

from __future__ import annotations

import re
import threading
from fractions import Fraction
from functools import lru_cache
from typing import Any

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

# A box that opens, an escaped character (such as \{, which does not count as a brace), or a brace.
_TOKEN = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)
_OPENING = re.compile(r"\\boxed\s*\{")
# LaTeX that does not change the meaning.
_INVISIBLE = re.compile(r"\\(?:left|right)(?![A-Za-z])|\\[!,;: ]|\$|(?<!\d)\s+|\s+(?!\d)")
_FRACTION = re.compile(r"\\[dt]frac(?![A-Za-z])")
# Powers with an exponent of five digits or more, towers, large factorials: sympy may try to evaluate them.
_HUGE = re.compile(r"(?:\^|\*\*)\s*[{(]*\s*[+-]?\d{5,}|(?:\^|\*\*)[^\s+\-=,]*(?:\^|\*\*)|\d{4,}\s*!|!\s*!")
_INTEGER = re.compile(r"-?\d{1,100}", re.ASCII)
_NUMBER = re.compile(
    r"(-?)(?:\\frac\{(\d{1,15})\}\{(\d{1,15})\}|(\d{1,15})/(\d{1,15})|(\d{1,15}(?:\.\d{1,15})?))", re.ASCII
)
ROUNDING = Fraction(1, 10**6)  # math-verify rounds to this where one side is a decimal
MAX_CHARACTERS = 300  # of an answer that math-verify may read
# Wall-clock time, so generous: an answer that takes 0.1 s must not become wrong on a busy machine.
PARSE_SECONDS = 6
COMPARE_SECONDS = 6


def _opens(text: str, start: int) -> re.Match[str] | None:
    """The opening of the box whose backslash is at `start`, unless that backslash is itself escaped."""
    before = text[:start]
    escaped = (len(before) - len(before.rstrip("\\"))) % 2
    return None if escaped else _OPENING.match(text, start)


def _closing(text: str, start: int) -> int | None:
    """Position of the brace that closes the one open at `start`; None without one."""
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
    r"""Content of the `\boxed{...}` that opens last among those that close; None without one.

    Braces nest; escaped braces do not count. The last box is tried first, because it is near the end of a long text.
    """
    start = text.rfind("\\boxed")
    opening = _opens(text, start) if start >= 0 else None
    if opening:
        end = _closing(text, opening.end())
        if end is not None:
            return text[opening.end() : end]
    return _last_closed(text) if start >= 0 else None


def _last_closed(text: str) -> str | None:
    """The same in one pass over the whole text, so that many unclosed boxes do not cost more."""
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
    r"""Remove spaces, `$`, `\left`, `\right` and a final full stop, and write every fraction as `\frac`.

    A space between two digits is kept: 1 1/2 is not 11/2.
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


def _compare_numbers(short: str, reference: str) -> bool | None:
    """What math-verify says about two numbers, a hundred times faster; None where math-verify has to decide."""
    if _INTEGER.fullmatch(short) and _INTEGER.fullmatch(reference):
        return int(short) == int(reference)
    one, other = _number(short), _number(reference)
    if one is None or other is None:
        return None
    if one == other:
        return True
    # A smaller difference may disappear by rounding.
    return False if abs(one - other) > 2 * ROUNDING else None


def answers_equivalent(candidate: str, truth: str) -> bool:
    """Whether `candidate` is the answer `truth`: as normalised strings, else by math-verify.

    Not symmetric: math-verify takes `truth` as the reference. What it cannot read, or not within its time-out, does not
    match. The time-out works in the main thread only; length and size of powers are bounded in every thread.
    """
    short, reference = normalize_answer(candidate), normalize_answer(truth)
    if not short or not reference:
        return False
    if short == reference:
        return True
    same_number = _compare_numbers(short, reference)
    if same_number is not None:
        return same_number
    if any(len(text) > MAX_CHARACTERS or _HUGE.search(text) for text in (candidate, truth)):
        return False
    return _verified(candidate, truth)


def _timeout(seconds: int) -> int | None:
    """math-verify's time-outs use a signal, which only the main thread can handle."""
    return seconds if threading.current_thread() is threading.main_thread() else None


@lru_cache(maxsize=10_000)
def _parsed_within(text: str, seconds: int | None) -> tuple[Any, ...]:
    settings = (LatexExtractionConfig(), ExprExtractionConfig())
    return tuple(parse(text, settings, parsing_timeout=seconds))


def _parsed(text: str) -> list[Any]:
    """What math-verify reads, cached: a reference is compared with many answers, and reading takes the longest."""
    return list(_parsed_within(f"\\boxed{{{text.strip().strip('$')}}}", _timeout(PARSE_SECONDS)))


def read_by_math_verify(answer: str) -> list[Any]:
    """What math-verify reads in an answer: an expression and its text, the text alone, or nothing.

    The bounds are those of `answers_equivalent`; beyond them it is nothing.
    """
    if len(answer) > MAX_CHARACTERS or _HUGE.search(answer):
        return []
    try:
        return _parsed(answer)
    except Exception:  # as below
        return []


def _verified(candidate: str, truth: str) -> bool:
    try:
        gold, answer = _parsed(truth), _parsed(candidate)
        return bool(verify(gold, answer, timeout_seconds=_timeout(COMPARE_SECONDS)))
    except Exception:  # math-verify and sympy raise errors of every kind on unusual input
        return False
