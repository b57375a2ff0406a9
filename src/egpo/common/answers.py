"""The last boxed answer of a text, and whether two answers are equivalent; used by data, reward and evaluation."""

from __future__ import annotations

import re
import threading
from functools import lru_cache
from typing import Any

import sympy
from latex2sympy2_extended import NormalizationConfig, latex2sympy, normalize_latex
from latex2sympy2_extended.latex2sympy2 import ConversionConfig
from math_verify.errors import TimeoutException
from math_verify.grader import should_treat_as_complex
from math_verify.utils import timeout

from egpo.common.answer_numbers import read_number, same_number
from egpo.common.answer_text import (
    Answer,
    as_intervals,
    has_relation,
    plain_words,
    read_answer,
    squeeze,
    words_of,
)
from egpo.common.answer_values import grader

# A box that opens, an escaped character (such as \{, which does not count as a brace), or a brace.
_TOKEN = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)
_OPENING = re.compile(r"\\boxed\s*\{")
# What sympy may try to evaluate, in one step that no time-out interrupts: exponents of five digits or more, numbers
# raised to a power or multiplied in an exponent, large factorials. Without blanks.
_HUGE = re.compile(
    r"\^[{(]*[+-]?\d{5,}|\^(?:[{(][^{}]*)?\d+[)}]*\^|\^[{(][^{}]*!|\^\{(?:\d|\\cdot|\\times|[*+() -]){7,}\}"
    r"|\d{4,}\}?!|!!|[)}]!"
)
# No interval contains its infinite bound; sympy opens it without a word.
_INFINITE_BOUND = re.compile(r"\[ ?[-+]? ?\\infty|\\infty ?\]")
MAX_CHARACTERS = 500  # of an answer that math-verify may read
# Wall-clock time, so generous: an answer that takes 0.1 s must not become wrong on a busy machine.
PARSE_SECONDS = 6
COMPARE_SECONDS = 6
# Its list of units is off: it has single letters, such as t and m, which are variables as well.
_NORMALIZATION = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none")
_CONVERSION = ConversionConfig(lowercase_symbols=False)  # else R is r


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
    """The answer by the rules of `egpo.common.answer_text`, without its unit, on one line: equal means equivalent."""
    return squeeze(read_answer(answer).text)


def _same_text(one: str, other: str) -> bool | None:
    """Whether two texts are the same answer, where that shows without parsing: the same text, words, numbers."""
    if squeeze(one) == squeeze(other):
        return True
    words = words_of(other) or words_of(one)
    if words:
        return plain_words(one) == plain_words(other)
    number, reference = read_number(one), read_number(other)
    return same_number(number, reference) if number and reference else None


def _in_percent(text: str) -> str:
    """A number divided by 100, as text; other texts unchanged."""
    number = read_number(text)
    return text if number is None else f"{number.value.numerator}/{number.value.denominator * 100}"


def _same_share(one: Answer, other: Answer) -> bool:
    """Whether 50% is meant as 0.5 on the other side."""
    texts = [_in_percent(side.text) if side.unit == "%" else side.text for side in (one, other)]
    return one.unit != other.unit and "%" in (one.unit, other.unit) and bool(_same_text(*texts))


def _comparable(candidate: str, truth: str) -> tuple[Answer, Answer]:
    """Both answers taken apart; relations as intervals where only one side has any: 1 < x < 2 is (1, 2)."""
    one, other = read_answer(candidate), read_answer(truth)
    if has_relation(one.text) == has_relation(other.text):
        return one, other
    return one._replace(text=as_intervals(one.text)), other._replace(text=as_intervals(other.text))


def equivalent_as_text(candidate: str, truth: str) -> bool | None:
    """`answers_equivalent` where it shows without parsing; None where math-verify has to decide."""
    one, other = _comparable(candidate, truth)
    if not one.text or not other.text or (one.unit and other.unit and one.unit != other.unit):
        return False
    if bool(_INFINITE_BOUND.search(one.text)) != bool(_INFINITE_BOUND.search(other.text)):
        return False
    same = _same_text(one.text, other.text)
    return same if same is None else same or _same_share(one, other)


def answers_equivalent(candidate: str, truth: str) -> bool:
    """Whether `candidate` is the answer `truth`: by text, words or numbers, else by math-verify.

    A unit that only one side has does not count; two different units do. 50% is 50 as well as 0.5. What math-verify
    cannot read, or not within its time-out, does not match. The time-out works in the main thread only; length and size
    of powers are bounded in every thread.
    """
    same = equivalent_as_text(candidate, truth)
    return _verified(*(side.text for side in _comparable(candidate, truth))) if same is None else same


def _timeout(seconds: int) -> int | None:
    """math-verify's time-outs use a signal, which only the main thread can handle."""
    return seconds if threading.current_thread() is threading.main_thread() else None


def _expression(latex: str) -> Any:
    """What math-verify's grammar reads. Its `parse` would look for an answer in a longer text and ignore case."""
    settings = {"convert_degrees": False, "normalization_config": None, "conversion_config": _CONVERSION}
    return latex2sympy(latex, is_real=not should_treat_as_complex(latex), **settings)


@lru_cache(maxsize=10_000)
def _parsed_within(text: str, seconds: int | None) -> tuple[Any, ...]:
    latex = normalize_latex(text, _NORMALIZATION)
    try:
        found = timeout(seconds)(_expression)(latex)
    except (Exception, TimeoutException):  # it raises errors of every kind
        return (latex,)
    # What contains an undefined value is equal to whatever contains one.
    return (latex,) if found.has(sympy.zoo, sympy.nan) else (found, latex)


def _parsed(text: str) -> list[Any]:
    """What math-verify reads, cached: a reference is compared with many answers, and reading takes the longest."""
    if len(text) > MAX_CHARACTERS or _HUGE.search(squeeze(text)):
        return []
    return list(_parsed_within(text, _timeout(PARSE_SECONDS)))


def read_by_math_verify(answer: str) -> list[Any]:
    """What math-verify reads in an answer: an expression and its text, the text alone, or nothing.

    The bounds are those of `answers_equivalent`; beyond them it is nothing.
    """
    try:
        return _parsed(read_answer(answer).text)
    except Exception:  # as below
        return []


def _verified(candidate: str, truth: str) -> bool:
    try:
        gold, answer = _parsed(truth), _parsed(candidate)
        return bool(
            grader().verify(gold, answer, allow_set_relation_comp=True, timeout_seconds=_timeout(COMPARE_SECONDS))
        )
    except Exception:  # math-verify and sympy raise errors of every kind on unusual input
        return False
