"""One line of working for a problem with a single operation: a search among the numbers of its text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import permutations

NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")


def is_small(problem: str, answer: str, most: int = 100) -> bool:
    """Whether all numbers of a problem and its answer are whole and below `most`."""
    return all(text.isdigit() and int(text) < most for text in [*NUMBER.findall(problem), answer])


def _value(text: str) -> Fraction:
    return Fraction(text.replace(",", ""))


def _lines(numbers: list[str]) -> Iterator[tuple[str, Fraction]]:
    """Every operation on two of the numbers, with its value."""
    for (i, one), (j, other) in permutations(enumerate(numbers), 2):
        x, y = _value(one), _value(other)
        if i < j:
            yield f"{one} + {other}", x + y
            yield f"{one} * {other}", x * y
        yield f"{one} - {other}", x - y
        if y:
            yield f"{one} / {other}", x / y


def worked_line(problem: str, answer: str) -> str | None:
    """The only operation on two numbers of the text that gives the answer: "70 - 27 = 43".

    None if no operation gives it, if several do, and for an answer that is not a number.
    """
    if not NUMBER.fullmatch(answer):
        return None
    numbers = list(dict.fromkeys(NUMBER.findall(problem)))
    found = [line for line, value in _lines(numbers) if value == _value(answer)]
    return f"{found[0]} = {answer}" if len(found) == 1 else None
