"""Whether a reference answer is one value that can be verified: by rules, then by the type that math-verify reads."""

from __future__ import annotations

import re
from functools import lru_cache

import sympy
from sympy.core.function import AppliedUndef

from egpo.common.answer_text import read_answer
from egpo.common.answers import extract_boxed, normalize_answer, read_by_math_verify

NO_ANSWER = {"", "proof", "notfound", "not found", "none", "null", "nan", "n/a"}
TRUTH_VALUES = {"yes", "no", "true", "false"}

_SEVERAL = re.compile(
    r"[,;\n]|\b(?:or|and)\b|\\text\s*\{\s*(?:or|and)\s*\}|\\pm|\\mp|±|\\cup|\\(?:in|infty)(?![A-Za-z])|\binfinity\b|∞|"
    r"\\\{|\d\s*:\s*\d",
    re.IGNORECASE,
)
# Integers, decimals and fractions are one value; math-verify would take milliseconds to say so.
_PLAIN = re.compile(
    r"-?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?|-?\d+/\d+|-?\\d?frac\{-?\d+\}\{-?\d+\}|-?\d*\\sqrt\{\d+\}", re.ASCII
)
# So are sums of terms such as 3x^2, 2\sqrt{3}, \frac{\pi}{4}, n/2.
_COEFFICIENT = r"[1-9]\d{0,11}(?:\.\d{1,6})?"
_ATOM = r"(?:\\sqrt\{[1-9]\d{0,5}\}|\\pi(?![a-z])|(?<![a-z\\])[a-df-hj-z](?![a-z]))"
_PRODUCT = rf"(?:{_COEFFICIENT}{_ATOM}{{0,2}}|{_ATOM}{{1,2}})"
_POWER = r"\^(?:[1-9]|\{[1-9]\d?\})"
_FRACTION = rf"\\frac\{{-?{_PRODUCT}(?:[+-]{_PRODUCT})?\}}\{{{_PRODUCT}\}}"
_TERM = rf"(?:{_PRODUCT}(?:{_POWER})?|(?:{_COEFFICIENT})?{_FRACTION}|{_PRODUCT}/{_PRODUCT})"
_EXPRESSION = re.compile(rf"-?{_TERM}(?:[+-]{_TERM}){{0,4}}", re.ASCII)
# math-verify reads a whole number beside a fraction as their product.
_MIXED_NUMBER = re.compile(r"\d\s+\d+\s*/\s*\d")
_IN_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mbox)\s*\{([^}]*)\}")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_WORD = re.compile(r"[A-Za-z]{3,}")
_FUNCTIONS = set(
    ["sin", "cos", "tan", "cot", "sec", "csc", "log", "exp", "sqrt", "arcsin", "arccos", "arctan", "mod", "abs"]
)
_CHOICE = re.compile(r"\(?[A-H]\)?")


def unboxed(answer: str) -> str:
    r"""The answer without blanks, dollars or a `\boxed{...}` around it, which some sources leave there."""
    short = answer.strip()
    inner = extract_boxed(short)
    if inner is not None and short.strip("$ ") == f"\\boxed{{{inner}}}":
        short = inner
    return short.strip("$ ") if short.count("$") in (0, 2) and short.startswith("$") == short.endswith("$") else short


def is_missing(answer: str) -> bool:
    """Whether the answer is blank, or a word such as "proof" or "notfound" in place of one."""
    return answer.strip().lower() in NO_ANSWER


def is_truth_value(answer: str) -> bool:
    """Whether the answer is yes, no, true or false, which a guess gets right half of the time."""
    return _IN_TEXT.sub(r"\1", normalize_answer(answer)).lower() in TRUTH_VALUES


def several_values(answer: str) -> bool:
    """Whether an answer is not one value: a list, alternatives, plus-minus, a set, an interval, a ratio, infinity."""
    return bool(_SEVERAL.search(read_answer(answer).text))


@lru_cache(maxsize=100_000)
def not_a_value(answer: str) -> bool:
    """Whether math-verify does not read the answer as one finite expression or one assignment such as x = 5.

    Also True for words, letters of a choice and mixed numbers, all of which math-verify misreads.
    """
    short = normalize_answer(answer.strip())
    if not short or _PLAIN.fullmatch(short) or _EXPRESSION.fullmatch(short):
        return False
    words = _COMMAND.sub(" ", _IN_TEXT.sub(r" \1 ", short))
    if not re.search(r"\d", words) and set(_WORD.findall(words.lower())) - _FUNCTIONS:
        return True
    if _CHOICE.fullmatch(words.strip()) or _MIXED_NUMBER.search(answer):
        return True
    return not _is_expression(read_by_math_verify(answer), short)


def _is_expression(read: list[object], short: str) -> bool:
    if not read or isinstance(read[0], str):  # math-verify found a text to compare, but no expression
        return bool(read) and any(character.isdigit() for character in short)
    value = read[0]
    if isinstance(value, sympy.Equality):
        return isinstance(value.lhs, sympy.Symbol | AppliedUndef) and isinstance(value.rhs, sympy.Expr)
    return isinstance(value, sympy.Expr) and not value.has(sympy.oo, sympy.zoo, sympy.nan)
