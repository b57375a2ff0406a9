"""The filters of appendix A.2: one pure test per reason. A row is judged by all of them, and dropped by the first."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from egpo.boxed import last_boxed, normalised, same_answer
from egpo.config import Data
from egpo.data.schema import Row

# question_type of rows without a single value to check; the others of OpenR1-Math are word problems.
QUESTION_TYPES = {"mcq", "proof"}
NO_ANSWER = {"", "proof", "notfound", "not found", "none", "null", "nan", "n/a"}
TRUTH_VALUES = {"yes", "no", "true", "false"}

_PROOF = re.compile(r"\b(?:prove|show) that\b", re.IGNORECASE)
_FIGURE_OR_LINK = re.compile(r"!\[|https?://|\\includegraphics|\[asy\]", re.IGNORECASE)
_CHINESE_JAPANESE_KOREAN = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")
# A comma or blank that only groups digits by three, as in 10,000.
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:(?:,|\\,|,\\!|\{,\})\d{3})+(?!\d)")
_ROOT = re.compile(r"\\sqrt\s*\[[^\]]*\]")  # its brackets are no interval
_SEVERAL = re.compile(
    r"[,;\n]|\b(?:or|and)\b|\\text\s*\{\s*(?:or|and)\s*\}|\\pm|\\mp|±|\\cup|\\(?:in|infty)(?![A-Za-z])|\\\{|[\[\]]|\d\s*:\s*\d",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Measured:
    """A row and its lengths in tokens.

    prompt_tokens: the problem with instruction and chat template. response_tokens: the shortest
    generation that has a boxed answer; None if none has.
    """

    row: Row
    prompt_tokens: int
    response_tokens: int | None


def several_values(answer: str) -> bool:
    """Whether an answer is not one value: a list, alternatives, plus-minus, a set, an interval, a ratio, infinity."""
    return bool(_SEVERAL.search(_ROOT.sub("", _GROUPED.sub("0", answer.strip()))))


def boxed_match(row: Row) -> bool:
    """Stable mode: the last box of the solution or of any generation equals the answer.

    Boxes are compared as strings first, since math-verify takes milliseconds for each pair.
    """
    boxes = [last_boxed(text) for text in (row.solution, *row.generations)]
    candidates = dict.fromkeys(box for box in boxes if box)
    answer = normalised(row.answer)
    if any(normalised(box) == answer for box in candidates):
        return bool(answer)
    return any(same_answer(box, row.answer) for box in candidates)


# Reasons in their fixed order: the cheap and the plain ones first. Each says whether to drop.
REASONS: dict[str, Callable[[Measured, Data], bool]] = {
    "no-problem": lambda item, _: not item.row.problem.strip(),
    "question-type": lambda item, _: item.row.question_type.strip().lower() in QUESTION_TYPES,
    "proof-wording": lambda item, _: bool(_PROOF.search(item.row.problem)),
    "figure-or-link": lambda item, _: bool(_FIGURE_OR_LINK.search(item.row.problem)),
    "language": lambda item, _: bool(_CHINESE_JAPANESE_KOREAN.search(item.row.problem)),
    "no-answer": lambda item, _: item.row.answer.strip().lower() in NO_ANSWER,
    "yes-or-no": lambda item, _: normalised(item.row.answer).lower() in TRUTH_VALUES,
    "several-values": lambda item, _: several_values(item.row.answer),
    "few-generations": lambda item, data: len(item.row.generations) < data.min_generations,
    "no-boxed-match": lambda item, _: not boxed_match(item.row),
    "long-prompt": lambda item, data: item.prompt_tokens > data.max_prompt_tokens,
    "long-response": lambda item, data: item.response_tokens is None or item.response_tokens > data.max_response_tokens,
}


def judge(item: Measured, data: Data) -> dict[str, bool]:
    """Every reason with whether it applies to the row."""
    return {reason: test(item, data) for reason, test in REASONS.items()}


def bucket(correct: Iterable[bool]) -> str:
    """Bucket of a row by math-verify's verdicts on its generations: 'mixed', 'correct' or 'incorrect'."""
    verdicts = set(correct)
    if len(verdicts) == 2:
        return "mixed"
    return "correct" if True in verdicts else "incorrect"
