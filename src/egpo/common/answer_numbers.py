r"""Numbers in digits, read exactly and compared as far as they are written."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from egpo.common.answer_text import squeeze

# A decimal of at least this many digits stands for every number that rounds to it: 0.333333 is 1/3, 0.33 is not.
SIGNIFICANT = 6
NOISE = Fraction(1, 10**12)  # relative; what binary arithmetic adds to a decimal, as in 0.30000000000000004
MAX_EXPONENT = 5000
MAX_CHARACTERS = 1000

_DIGITS = r"(?:\d+\.?\d*|\.\d+)"
_EXPONENT = r"10\^(?:\{([+-]?\d{1,4})\}|(\d))"
_DECIMAL = re.compile(rf"([+-]?)({_DIGITS})(?:(?:\\times|\\cdot|\*){_EXPONENT})?", re.ASCII)
_POWER_OF_TEN = re.compile(rf"([+-]?)()(?:{_EXPONENT})", re.ASCII)
_RATIO = re.compile(rf"([+-]?)(?:\\frac\{{([+-]?{_DIGITS})\}}\{{([+-]?{_DIGITS})\}}|({_DIGITS})/({_DIGITS}))", re.ASCII)
_MIXED = re.compile(r"([+-]?)(\d+) ?(?:(?<= )(\d+)/(\d+)|\\frac\{(\d+)\}\{(\d+)\})", re.ASCII)


class Number(NamedTuple):
    """A number as it is written.

    Attributes:
        value: what is written, exactly.
        unit: one unit in the last place of a number with a decimal point, else 0.
        digits: number of significant digits.
    """

    value: Fraction
    unit: Fraction = Fraction(0)
    digits: int = 0


def _exact(digits: str) -> Fraction:
    return Fraction(digits.removesuffix(".").replace("+", "").replace("-.", "-0."))


def _decimal(short: str) -> Number | None:
    found = _DECIMAL.fullmatch(short) or _POWER_OF_TEN.fullmatch(short)
    if found is None:
        return None
    sign, digits, *exponents = found.groups()
    exponent = int(next(filter(None, exponents), 0))
    if abs(exponent) > MAX_EXPONENT:
        return None
    value = Fraction(sign + "1") * _exact(digits or "1") * Fraction(10) ** exponent
    whole, point, places = digits.partition(".")
    if not point:
        return Number(value)
    return Number(value, Fraction(10) ** (exponent - len(places)), len((whole + places).lstrip("0")))


def read_number(text: str) -> Number | None:
    """An integer, decimal, power of ten, ratio of decimals, or mixed number; None for anything else.

    A mixed number has a proper fraction, and its sign holds for both parts.
    """
    if len(text) > MAX_CHARACTERS:
        return None
    short = squeeze(text)
    number = _decimal(short)
    if number:
        return number
    ratio, mixed = _RATIO.fullmatch(short), _MIXED.fullmatch(text)
    found = ratio or mixed
    if found is None:
        return None
    sign, *parts = found.groups()
    *whole, above, below = map(_exact, filter(None, parts))
    if below == 0 or (whole and above >= below):
        return None
    return Number(Fraction(sign + "1") * (sum(whole) + above / below))


def same_number(one: Number, other: Number) -> bool:
    """Whether two numbers are equal: exactly or, if one is a decimal, as far as the coarser decimal is written."""
    difference = abs(one.value - other.value)
    coarser = max(one, other, key=lambda number: number.unit)
    if difference == 0 or not coarser.unit:
        return difference == 0
    rounding = coarser.unit / 2 if coarser.digits >= SIGNIFICANT else 0
    return difference <= max(rounding, NOISE * max(abs(one.value), abs(other.value)))
