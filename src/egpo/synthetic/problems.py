"""Synthetic problems that a tiny model can learn: sums of rising difficulty, with computed answers.

The stand-in dataset, the warm-up of the synthetic backbones and the synthetic benchmarks are made of them. The wordings
of training and of evaluation are disjoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

LEVELS = (1, 2, 3, 4, 5)
# Shares of the levels in training data. After the warm-up some problems are nearly always solved and some never, so
# that groups of each kind occur whatever the rest of the model can do.
LEVEL_WEIGHTS = (0.2, 0.45, 0.2, 0.05, 0.1)
# Shares in the warm-up: many sums of two digits, which are soon solved, and none of three terms, which stay unsolved.
TAUGHT_WEIGHTS = (0.5, 0.25, 0.2, 0.05, 0.0)

# {e} is the sum, with blanks around its plus signs.
SUMS = {
    "train": (
        "What is {e}?",
        "Compute {e}.",
        "Find the value of {e}.",
        "Calculate the sum {e}.",
        "Add the numbers: {e}.",
        "Find the sum of the numbers {l}.",
        "What do you get when you add {l}?",
    ),
    "held-out": (
        "Find {e}.",
        "What is the value of {e}?",
        "Compute the sum of {l}.",
        "Add {l}.",
    ),
}
# {l} is the list of the numbers, {n} a name, {t} a thing.
STORIES = {
    "train": (
        "{n} has {l} {t} in different boxes. How many {t} does {n} have?",
        "{n} finds {l} {t} on different days. How many {t} is that in all?",
        "A shop sells {l} {t}. How many {t} does the shop sell in all?",
        "There are {l} {t} in the boxes of {n}. How many {t} are there?",
    ),
    "held-out": (
        "{n} sells {l} {t} on different days. How many {t} does {n} sell?",
        "A shop has {l} {t} in boxes. How many {t} are there in all?",
        "There are {l} {t} in a shop. How many {t} is that?",
    ),
}
NAMES = ("Ann", "Ben", "Chen", "Dora", "Emil", "Fatima", "Goran", "Hana")
THINGS = ("apples", "books", "coins", "eggs", "lamps", "pens", "shells", "stones")


@dataclass(frozen=True)
class Problem:
    """A sum in words: its text, its terms and its difficulty (1 to 5)."""

    text: str
    terms: tuple[int, ...]
    level: int
    wording: str

    @property
    def answer(self) -> str:
        return str(sum(self.terms))


def draw_terms(rng: Random, level: int) -> tuple[int, ...]:
    """Terms of a sum: one digit each, two and one, two and two, three and two, three of two digits."""
    sizes = {1: (1, 1), 2: (2, 1), 3: (2, 2), 4: (3, 2), 5: (2, 2, 2)}[level]
    return tuple(rng.randint(10 ** (size - 1), 10**size - 1) for size in sizes)


def draw_problem(
    rng: Random,
    split: str,
    wording: str | None = None,
    level: int | None = None,
    weights: Sequence[float] | None = None,
) -> Problem:
    """A random problem.

    Args:
        split: "train" or "held-out", which share no wording.
        wording: "sums" or "stories"; drawn evenly if None.
        level: 1 to 5; drawn by `weights` if None.
        weights: of the levels; LEVEL_WEIGHTS if None.
    """
    wording = wording or rng.choice(("sums", "stories"))
    level = level or rng.choices(LEVELS, weights or LEVEL_WEIGHTS)[0]
    terms = draw_terms(rng, level)
    words = [str(term) for term in terms]
    template = rng.choice({"sums": SUMS, "stories": STORIES}[wording][split])
    text = template.format(
        e=" + ".join(words), l=", ".join(words[:-1]) + " and " + words[-1], n=rng.choice(NAMES), t=rng.choice(THINGS)
    )
    return Problem(text=text, terms=terms, level=level, wording=wording)


def _steps(terms: tuple[int, ...]) -> str:
    """The sum worked out, e.g. '47+38: 7+8=15, 40+30=70, 70+15=85'."""
    total = sum(terms)
    expression = "+".join(str(term) for term in terms)
    if len(terms) == 3:
        first = terms[0] + terms[1]
        return f"{expression}: {terms[0]}+{terms[1]}={first}, {first}+{terms[2]}={total}"
    a, b = terms
    if a < 10:
        return f"{expression}={total}"
    if a >= 100:
        low = a % 100 + b
        return f"{expression}: {a % 100}+{b}={low}, {a - a % 100}+{low}={total}"
    low, high = a % 10 + b % 10, a - a % 10 + b - b % 10
    if b < 10:
        return f"{expression}: {a % 10}+{b}={low}, {a - a % 10}+{low}={total}"
    return f"{expression}: {a % 10}+{b % 10}={low}, {a - a % 10}+{b - b % 10}={high}, {high}+{low}={total}"


def correct_generation(problem: Problem, rng: Random, worked: float = 0.5) -> str:
    """A right answer in DeepSeek-R1's format: a thought, then the boxed answer.

    With probability `worked` the thought goes step by step, else straight to the result. A tiny model makes fewer
    errors step by step: this is what reinforcement can learn.
    """
    direct = "+".join(str(term) for term in problem.terms) + f"={problem.answer}"
    thought = _steps(problem.terms) if rng.random() < worked else direct
    return f"<think>\n{thought}\n</think>\n\n\\boxed{{{problem.answer}}}"


def wrong_generation(problem: Problem, rng: Random) -> str:
    """A generation with a wrong digit in the boxed result."""
    answer = int(problem.answer)
    # Not below zero: without its sign, a negative result could be the right answer (5 - 10).
    result = rng.choice([answer + slip for slip in (-10, -2, -1, 1, 2, 10) if answer + slip >= 0])
    expression = "+".join(str(term) for term in problem.terms)
    return f"<think>\n{expression}={result}\n</think>\n\n\\boxed{{{result}}}"


def without_think_tags(generation: str) -> str:
    """The same generation for a model that does not mark its thoughts: 'thought. \\boxed{answer}'."""
    thought, _, rest = generation.removeprefix("<think>\n").partition("\n</think>\n\n")
    return f"{thought}. {rest}"
