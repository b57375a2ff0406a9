"""A sum as a question with four options, in the words that evalscope's MMLU asks with and the form that it reads."""

from __future__ import annotations

from random import Random

from egpo.synthetic.problems import Problem, correct_generation

LETTERS = "ABCD"
# evalscope's template of a question without worked examples; a test compares them.
QUESTION = (
    "Answer the following multiple choice question. The last line of your response should be of the following format: "
    "'ANSWER: [LETTER]' (without quotes) where [LETTER] is one of A,B,C,D. Think step by step before answering.\n\n"
    "{question}\n\n{options}"
)


def options(problem: Problem) -> tuple[list[str], int]:
    """The right answer among three wrong ones, and its place, which depends on its value."""
    right = int(problem.answer)
    place = right % len(LETTERS)
    choices = [str(right + slip) for slip in (1, 10, 2)]
    choices.insert(place, problem.answer)
    return choices, place


def choice_prompt(problem: Problem) -> list[dict[str, str]]:
    """The chat messages that ask for the letter of a problem's answer."""
    choices, _ = options(problem)
    lines = "\n".join(f"{letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=True))
    return [{"role": "user", "content": QUESTION.format(question=problem.text, options=lines)}]


def letter_generation(problem: Problem, rng: Random) -> str:
    """As `correct_generation`, with the letter in place of the box."""
    thought, _, _ = correct_generation(problem, rng).rpartition("\\boxed")
    return f"{thought}ANSWER: {LETTERS[options(problem)[1]]}"
