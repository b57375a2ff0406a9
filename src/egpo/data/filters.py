"""The row filters of appendix A.2: one pure test per reason. A row gets every flag and is dropped by the first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from egpo.common.answers import answers_equivalent, equivalent_as_text
from egpo.config.data import Data, ProblemsSource
from egpo.data import reference_answers as answers
from egpo.data import wording
from egpo.data.schema import Row


@dataclass(frozen=True)
class ParsedRow:
    """A row with its boxed answers and lengths.

    Attributes:
        boxes: last boxed answer of the solution and of each generation, None where there is none.
        prompt_tokens: length of the problem with instruction and chat template.
        response_tokens: see `egpo.data.lengths.parse`.
    """

    row: Row
    boxes: tuple[str | None, ...]
    prompt_tokens: int
    response_tokens: int | None


def boxed_match(boxes: Iterable[str | None], answer: str) -> bool:
    """Stable mode: whether one of the boxes is the answer.

    Texts are compared first, since math-verify takes milliseconds for each pair.
    """
    candidates = dict.fromkeys(box for box in boxes if box)
    by_text = {box: equivalent_as_text(box, answer) for box in candidates}
    return True in by_text.values() or any(
        answers_equivalent(box, answer) for box, same in by_text.items() if same is None
    )


def _wording(name: str) -> Callable[[ParsedRow, Data], bool]:
    return lambda item, _: wording.TESTS[name](item.row.problem)


# Reasons in their fixed order: type and language, single-value ground truth, generations, boxed match, lengths.
REASONS: dict[str, Callable[[ParsedRow, Data], bool]] = {
    "no-problem": _wording("no-problem"),
    "question-type": lambda item, data: item.row.question_type.strip().lower() in data.question_types,
    "proof-wording": _wording("proof-wording"),
    "options": _wording("options"),
    "multi-part": _wording("multi-part"),
    "figure": _wording("figure"),
    "link": _wording("link"),
    "language": _wording("language"),
    "no-answer": lambda item, _: answers.is_missing(item.row.answer),
    "yes-or-no": lambda item, _: answers.is_truth_value(item.row.answer),
    "several-values": lambda item, _: answers.several_values(item.row.answer),
    "not-a-value": lambda item, _: answers.not_a_value(item.row.answer),
    "few-generations": lambda item, data: len(item.row.generations) < data.min_generations,
    "no-boxed-match": lambda item, _: not boxed_match(item.boxes, item.row.answer),
    "long-prompt": lambda item, data: item.prompt_tokens > data.max_prompt_tokens,
    "long-response": lambda item, data: item.response_tokens is None or item.response_tokens > data.max_response_tokens,
}


# Reasons that say nothing of a row without generations.
ABOUT_GENERATIONS = ("few-generations", "no-boxed-match", "long-response")


def noted_reasons(data: Data) -> tuple[str, ...]:
    """Reasons that drop no row: those of `keep` and, where rows have no generations, those about generations."""
    return (*data.keep, *(ABOUT_GENERATIONS if isinstance(data.source, ProblemsSource) else ()))


def flags(item: ParsedRow, data: Data) -> dict[str, bool]:
    """Whether each reason applies to the row."""
    return {reason: test(item, data) for reason, test in REASONS.items()}


def bucket(correct: Iterable[bool]) -> str:
    """Bucket of a row by math-verify's verdicts on its generations: 'mixed', 'correct' or 'incorrect'."""
    verdicts = set(correct)
    if len(verdicts) == 2:
        return "mixed"
    return "correct" if True in verdicts else "incorrect"
